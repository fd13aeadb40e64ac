//! How long ownership takes on the write path, for docs/design/apply.md:
//! `cargo run --release -p api --example merge_bench`. Prints microseconds.

use std::hint::black_box;
use std::time::Instant;

use api::merge::apply::{Config, OneVersion, ResetFields, Target, apply, track_update};
use api::merge::{fields, strategic};
use api::schema::Schema;
use jiff::Timestamp;
use serde_json::{Value, json};

fn main() {
    let schema = Schema::builtin();
    let Some(ty) = schema.named("io.k8s.api.apps.v1.Deployment") else {
        eprintln!("the table has no Deployment");
        return;
    };
    let (main, status) = (
        ResetFields::these(&["status"]),
        ResetFields::these(&["spec", "metadata.labels"]),
    );
    let target = |subresource, reset| Target {
        schema,
        ty,
        api_version: "apps/v1",
        kind: "Deployment",
        subresource,
        reset,
        versions: &OneVersion,
    };
    let (spec, of_status) = (target("", &main), target("status", &status));
    let now = Timestamp::UNIX_EPOCH;

    let mut live = deployment();
    track_update(&spec, None, &mut live, "kubectl-client-side-apply", now);
    live["metadata"]["uid"] = "some-uid".into();
    let mut counted = live.clone();
    counted["status"] = json!({"replicas": 3, "updatedReplicas": 3, "observedGeneration": 1});
    track_update(&of_status, Some(&live), &mut counted, "deployment-controller", now);
    let live = counted;
    println!(
        "the object is {} bytes, {} of them managedFields",
        text(&live),
        text(&live["metadata"]["managedFields"])
    );

    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = 5.into();
    measure(
        "update of the replicas",
        || scaled.clone(),
        |new| track_update(&spec, Some(&live), new, "kubectl", now),
    );
    let mut ready = live.clone();
    ready["status"]["readyReplicas"] = 2.into();
    measure(
        "update of the status",
        || ready.clone(),
        |new| {
            track_update(&of_status, Some(&live), new, "deployment-controller", now);
        },
    );
    measure(
        "update that changes nothing",
        || live.clone(),
        |new| {
            track_update(&spec, Some(&live), new, "kubectl", now);
        },
    );
    measure(
        "creation",
        || deployment_template(&live),
        |new| track_update(&spec, None, new, "kubectl", now),
    );
    measure("copy of the object, for comparison", || (), |()| live.clone());

    let config = deployment();
    let applied = apply(
        &spec,
        None,
        Config {
            object: &config,
            manager: "me",
            force: false,
        },
        now,
    );
    let Ok(applied) = applied else { return };
    let mut next = config.clone();
    next["spec"]["replicas"] = 7.into();
    for (what, object) in [
        ("apply that changes nothing", &config),
        ("apply of other replicas", &next),
    ] {
        let config = Config {
            object,
            manager: "me",
            force: false,
        };
        measure(what, || (), |()| apply(&spec, Some(&applied), config, now));
    }
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "other"}]}}}});
    measure(
        "strategic merge of an image",
        || (),
        |()| strategic(schema, ty, &live, &patch),
    );
    let wire = &live["metadata"]["managedFields"][1]["fieldsV1"];
    measure("decoding of one field set", || (), |()| fields::decode(wire));
}

/// The live object as it would be created: without what only the server writes.
fn deployment_template(live: &Value) -> Value {
    let mut object = live.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        metadata.remove("uid");
    }
    object
}

/// Runs it many times and prints the fastest run: on a busy machine the others say more about the neighbours. What is
/// changed in place is prepared outside of the measured time.
fn measure<S, T>(what: &str, prepare: impl Fn() -> S, mut run: impl FnMut(&mut S) -> T) {
    const RUNS: u32 = 20_000;
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        let mut prepared = prepare();
        let start = Instant::now();
        let result = black_box(run(black_box(&mut prepared)));
        best = best.min(start.elapsed().as_secs_f64() * 1e6);
        drop(result);
    }
    println!("{best:8.2} us  {what}");
}

fn text(value: &Value) -> usize {
    value.to_string().len()
}

/// A Deployment as kubectl and the defaults make it, with two containers.
fn deployment() -> Value {
    let container = |name: &str| {
        json!({
            "name": name, "image": "registry.example/app:1.2.3", "imagePullPolicy": "IfNotPresent",
            "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
            "env": [{"name": "MODE", "value": "production"}, {"name": "LEVEL", "value": "info"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
            "readinessProbe": {
                "httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"},
                "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3,
            },
            "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        })
    };
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web", "tier": "front"}},
        "spec": {
            "replicas": 3, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "template": {
                "metadata": {"labels": {"app": "web", "tier": "front"}},
                "spec": {
                    "containers": [container("web"), container("sidecar")],
                    "volumes": [{"name": "config", "configMap": {"name": "web", "defaultMode": 420}}],
                    "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
                    "securityContext": {}, "terminationGracePeriodSeconds": 30,
                },
            },
        },
    })
}
