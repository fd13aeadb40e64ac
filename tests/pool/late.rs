//! Joins that fail when much has been done already: by a clock that is wrong, by a server that goes away in the middle, by
//! a certificate that is refused. Each says why in one line and leaves nothing behind, and the machine may join later.

use std::process::Output;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use testkit::pool::Pool;

use crate::joining::{Traces, refused, told};
use crate::otherwise::Otherwise;
use crate::stage::{eventually, machines, readiness, until, with_client};

#[test]
fn a_wrong_clock_is_told_before_anything_is_made() {
    let pool = machines(2);
    let check = |server: &Otherwise, words: &[&str]| {
        refused(&pool, &["join", &server.url(), "--token", server.token()], words);
    };
    let late = Otherwise::start(&pool, 0, 2000, "Tue, 24 Nov 2020 15:04:19 GMT");
    check(&late, &["clock", "ahead of the server's", "join again"]);
    let early = Otherwise::start(&pool, 0, 2000, "Sat, 24 Nov 2096 15:04:19 GMT");
    check(&early, &["clock", "behind the server's", "join again"]);
    // So far off that the certificate isn't valid yet.
    let far = Otherwise::start(&pool, 0, 2090, "Sat, 24 Nov 2096 15:04:19 GMT");
    check(&far, &["clock", "not valid", "join again"]);
}

/// Joins while the process of the node waits at a point for some seconds, cuts the link then, and waits for the end.
fn cut_while_at(pool: &Pool, point: &str) -> Output {
    let token = pool.token(&[]).unwrap();
    let url = pool.url();
    let join = ["join", &url, "--token", &token, "--node-name", "m1", "--wait", "12s"];
    let mut command = pool.command(1, &join);
    command.env("GANTRY_FAILPOINTS", format!("{point}=sleep(4000)"));
    let machine = pool.world().machine(1);
    std::thread::scope(|scope| {
        let joining = scope.spawn(|| machine.namespace().output(&mut command).unwrap());
        // The node's process is there; the server is asked no more before the point is over.
        let sign = pool.data(1).join("run/node.pid");
        eventually("the node's process", || {
            sign.exists().then_some(()).ok_or("it isn't there".to_owned())
        });
        if point.ends_with("registered") {
            with_client(pool, |client| async move {
                until("the Node", async || {
                    let node = Api::<Node>::all(client.clone()).get("m1").await;
                    node.map(drop).map_err(|error| error.to_string())
                })
                .await;
            });
        }
        machine.link().cut();
        joining.join().unwrap()
    })
}

#[test]
fn a_server_that_goes_away_in_the_middle_is_told() {
    let pool = machines(2);
    pool.start_server(&[]).unwrap();
    for point in ["node.certificate.wanted", "node.registered"] {
        let traces = Traces::before(&pool);
        let output = cut_while_at(&pool, point);
        told(&output, &["not ready after 12 s", "6443"]);
        traces.none_left(&format!("cut at {point}"));
        pool.world().machine(1).link().mend();
    }
    // The same name again, and not ready in time with the server there: neither the machine nor the server keeps it.
    with_client(&pool, |client| async move {
        let nodes: Api<Node> = Api::all(client);
        nodes.delete("m1", &DeleteParams::default()).await.unwrap();
    });
    let traces = Traces::before(&pool);
    let token = pool.token(&[]).unwrap();
    let url = pool.url();
    let join = ["join", &url, "--token", &token, "--node-name", "m1", "--wait", "4s"];
    let mut command = pool.command(1, &join);
    command.env("GANTRY_FAILPOINTS", "node.registered=sleep(60000)");
    told(
        &pool.world().machine(1).namespace().output(&mut command).unwrap(),
        &["not ready after 4 s"],
    );
    traces.none_left("a node that isn't ready");
    with_client(&pool, |client| async move {
        let node = Api::<Node>::all(client).get_opt("m1").await.unwrap();
        assert!(node.is_none(), "{node:?}");
    });
    pool.join(1, &[]).unwrap();
    with_client(&pool, |client| async move {
        assert_eq!(readiness(&client, "m1").await, "True");
    });
}

#[test]
fn a_certificate_that_is_refused_ends_the_join() {
    let pool = machines(2);
    pool.start_server(&[]).unwrap();
    let (url, token) = (pool.url(), pool.token(&[]).unwrap());
    // Nobody grants certificates by himself any more; an administrator looks at each.
    with_client(&pool, |client| async move {
        let bindings: Api<ClusterRoleBinding> = Api::all(client);
        let name = "gantry:node-autoapprove-bootstrap";
        bindings.delete(name, &DeleteParams::default()).await.unwrap();
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            with_client(&pool, |client| async move { deny(&client).await });
        });
        let join = ["join", &url, "--token", &token, "--node-name", "m1"];
        refused(&pool, &join, &["m1", "no certificate", "this machine is not ours"]);
    });
}

/// Denies the next request.
async fn deny(client: &Client) {
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let pending = until("a request", async || {
        let all = requests.list(&ListParams::default()).await;
        let all = all.map_err(|error| error.to_string())?.items;
        let conditions = |request: &CertificateSigningRequest| {
            let conditions = request.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|conditions| !conditions.is_empty())
        };
        let undecided = all.into_iter().find(|request| !conditions(request));
        undecided
            .and_then(|request| request.metadata.name)
            .ok_or("none".to_owned())
    })
    .await;
    let condition = json!({
        "type": "Denied", "status": "True", "reason": "Unknown", "message": "this machine is not ours",
    });
    let body = json!({"status": {"conditions": [condition]}});
    let (params, body) = (PatchParams::default(), Patch::Strategic(body));
    let denied = requests.patch_subresource("approval", &pending, &params, &body);
    denied.await.unwrap();
}
