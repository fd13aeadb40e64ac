//! What a kubelet answers by itself, for those who reach it through the Node's `proxy`: health, pods, configuration,
//! statistics, the machine's logs.

mod files;
mod metrics;
mod summary;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::{Value, json};
use tunnel::Body;

use super::{logs, text};
use crate::pods::Context;
use crate::stats;

/// Answers a request for `path`.
pub(super) async fn answer(ctx: &Arc<Context>, request: &Request<Incoming>, path: &str) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["healthz"] | ["healthz", "ping" | "syncloop" | "log"] => text(StatusCode::OK, "ok"),
        ["pods"] => json(&pods(ctx)),
        ["configz"] => json(&configz(ctx)),
        ["metrics"] => exposition(metrics::own(ctx)),
        ["metrics", "resource"] => exposition(metrics::resource(&stats::of_host(ctx), &stats::of_pods(ctx).await)),
        ["metrics", "cadvisor"] => exposition(metrics::cadvisor(&stats::of_host(ctx), &stats::of_pods(ctx).await)),
        ["stats", "summary"] => {
            let pods = stats::of_pods(ctx).await;
            json(&summary::of(ctx, &stats::of_host(ctx), &pods))
        }
        ["containerLogs", namespace, pod, container] => logs::answer(ctx, request, namespace, pod, container),
        ["logs", below @ ..] => files::answer(path.ends_with('/'), below).await,
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

/// What the server makes `metrics.k8s.io` of.
pub(super) async fn usage(ctx: &Context) -> Response<Body> {
    let window = |usage: &stats::Usage| usage.window.as_secs_f64();
    let numbers =
        |usage: &stats::Usage| json!({"cpuNanocores": usage.cpu_nanocores, "memoryBytes": usage.memory_working_set});
    let pods = stats::of_pods(ctx).await;
    let pods: Vec<Value> = pods
        .iter()
        .filter_map(|pod| {
            let (namespace, name) = pod.key();
            // The containers of a pod are looked at one right after the other.
            let shortest = pod.containers.iter().min_by_key(|container| container.usage.window)?;
            let containers: Vec<Value> = pod
                .containers
                .iter()
                .map(|container| json!({"name": container.name, "usage": numbers(&container.usage)}))
                .collect();
            Some(json!({
                "namespace": namespace, "name": name, "uid": pod.pod.metadata.uid,
                "timestamp": shortest.usage.at, "windowSeconds": window(&shortest.usage),
                "containers": containers,
            }))
        })
        .collect();
    let host = stats::of_host(ctx);
    json(&json!({
        "node": {"timestamp": host.at, "windowSeconds": window(&host), "usage": numbers(&host)},
        "pods": pods,
    }))
}

fn json(value: &Value) -> Response<Body> {
    typed("application/json", value.to_string())
}

fn exposition(text: String) -> Response<Body> {
    typed("text/plain; version=0.0.4; charset=utf-8", text)
}

fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The pods of this node, as the API has them.
fn pods(ctx: &Context) -> Value {
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": ctx.pods.all()})
}

/// The settings by which this node behaves, in a kubelet's words.
fn configz(ctx: &Context) -> Value {
    json!({"kubeletconfig": {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "syncFrequency": "0s",
        "enableServer": false,
        "rotateCertificates": true,
        "clusterDomain": ctx.names.cluster_domain,
        "clusterDNS": ctx.names.cluster_dns.iter().collect::<Vec<_>>(),
        "nodeStatusReportFrequency": "5m0s",
        "nodeLeaseDurationSeconds": 40,
        "maxPods": crate::register::MAX_PODS,
        "resolvConf": "/etc/resolv.conf",
        "cpuCFSQuota": true,
        "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": 5,
        "enableSystemLogHandler": true,
        "seccompDefault": true,
    }})
}

/// Seconds since 1970 with their fraction.
fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
