//! First light: from an empty directory to an application that answers through a Service, and on through its life.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{
    Api, AttachParams, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use testkit::cluster::Cluster;
use tokio::io::AsyncReadExt as _;

use crate::stage::{self, http, until, within};
use crate::web;

#[tokio::test(flavor = "multi_thread")]
async fn an_application_lives() {
    let cluster = stage::cluster();
    let said = cluster.up();
    assert!(said.contains("ready after "), "{said}");
    let client = stage::client(&cluster).await;
    the_node_is_ready(&client).await;
    stage::add_images(&cluster);
    the_deployment_answers(&client).await;
    a_command_runs_and_the_log_is_read(&client).await;
    it_rolls_and_scales(&client).await;
    down_and_up_keeps_everything(&cluster, &client).await;
    deletion_cascades(&client).await;
    purge_leaves_nothing(&cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_watch_and_apply() {
    let cluster = stage::cluster();
    cluster.up();
    let client = stage::client(&cluster).await;
    a_watch_resumes(&client).await;
    appliers_conflict(&client).await;
}

async fn the_node_is_ready(client: &Client) {
    let nodes: Api<Node> = Api::all(client.clone());
    let list = nodes.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), 1);
    let conditions = list.items[0].status.clone().unwrap().conditions.unwrap();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!(ready.status, "True");
}

/// `web`: a Deployment of two web servers, and a Service before them.
async fn the_deployment_answers(client: &Client) {
    web::deploy(client, 2).await;
    web::available(client, 2).await;
    it_answers(client).await;
}

/// Through the Service's own address and through the node's port.
async fn it_answers(client: &Client) {
    let (cluster_ip, node_port) = web::addresses(client).await;
    for address in [cluster_ip, node_port] {
        let page = until("an answer", async || http(address)).await;
        assert!(page.starts_with("Hello from web-"), "{page:?}");
    }
}

async fn a_command_runs_and_the_log_is_read(client: &Client) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    stage::create_pod(client, &stage::report_pod("talker", &["lines", "100000", "20"])).await;
    stage::running(client, "talker").await;
    let parameters = AttachParams::default().stderr(false);
    let command = ["report", "print", "as ", "told"];
    let mut process = within("an exec", pods.exec("talker", command, &parameters))
        .await
        .unwrap();
    let mut said = String::new();
    let mut out = process.stdout().unwrap();
    within("its output", out.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "as told");
    let status = process.take_status().unwrap().await.unwrap();
    assert_eq!(status.status.as_deref(), Some("Success"), "{status:?}");
    let failing = ["report", "exit", "3"];
    let mut process = within("an exec", pods.exec("talker", failing, &parameters))
        .await
        .unwrap();
    let status = within("its end", process.take_status().unwrap()).await.unwrap();
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"), "{status:?}");
    drop(process);
    let follow = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let stream = pods.log_stream("talker", &follow).await.unwrap();
    let lines = futures::AsyncBufReadExt::lines(stream).take(20).try_collect::<Vec<_>>();
    let lines = within("twenty lines", lines).await.unwrap();
    let expected: Vec<String> = (1..=20).map(|line| format!("line {line}")).collect();
    assert_eq!(lines, expected);
}

async fn it_rolls_and_scales(client: &Client) {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let of_web = ListParams::default().labels("app=web");
    let names = async || -> Vec<String> {
        pods.list(&of_web)
            .await
            .unwrap()
            .iter()
            .map(|pod| pod.name_any())
            .collect()
    };
    let before = names().await;
    deployments.restart("web").await.unwrap();
    web::available(client, 2).await;
    until("all pods are new", async || {
        let now = names().await;
        let new = now.len() == 2 && now.iter().all(|name| !before.contains(name));
        new.then_some(()).ok_or(format!("{before:?} became {now:?}"))
    })
    .await;
    it_answers(client).await;
    let patch = Patch::Merge(json!({"spec": {"replicas": 4}}));
    deployments
        .patch_scale("web", &PatchParams::default(), &patch)
        .await
        .unwrap();
    web::available(client, 4).await;
    let patch = Patch::Merge(json!({"spec": {"replicas": 1}}));
    deployments
        .patch_scale("web", &PatchParams::default(), &patch)
        .await
        .unwrap();
    web::available(client, 1).await;
}

/// Objects and pods are there again, with the same names and uids.
async fn down_and_up_keeps_everything(cluster: &Cluster, client: &Client) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let known = async || -> Vec<(String, Option<String>)> {
        let list = pods.list(&ListParams::default()).await.unwrap();
        list.iter().map(|pod| (pod.name_any(), pod.uid())).collect()
    };
    // What was scaled away may still be ending.
    let before = until("only `talker` and one `web` are left", async || {
        let left = known().await;
        if left.len() == 2 {
            Ok(left)
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
    cluster.run(&["down"]);
    let status = cluster.status();
    assert!(
        status["server"]["pid"].is_null() && status["node"]["pid"].is_null(),
        "{status}"
    );
    cluster.up();
    assert_eq!(known().await, before);
    web::available(client, 1).await;
    it_answers(client).await;
    until("the pod that ended with the instance runs again", async || {
        let talker = stage::running(client, "talker").await;
        let container = &talker.status.unwrap().container_statuses.unwrap()[0];
        let again = container.restart_count == 1 && container.ready;
        again.then_some(()).ok_or(format!("{container:?}"))
    })
    .await;
}

async fn deletion_cascades(client: &Client) {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let sets: Api<ReplicaSet> = Api::default_namespaced(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    deployments.delete("web", &DeleteParams::background()).await.unwrap();
    until("nothing of the deployment is left", async || {
        let of_web = ListParams::default().labels("app=web");
        let left = sets.list(&of_web).await.unwrap().items.len() + pods.list(&of_web).await.unwrap().items.len();
        let gone = left == 0 && deployments.get_opt("web").await.unwrap().is_none();
        gone.then_some(()).ok_or(format!("{left} objects"))
    })
    .await;
    pods.delete("talker", &DeleteParams::default()).await.unwrap();
    until("the pod is gone", async || {
        match pods.get_opt("talker").await.unwrap() {
            None => Ok(()),
            Some(pod) => Err(format!("{:?}", pod.status)),
        }
    })
    .await;
}

fn purge_leaves_nothing(cluster: &Cluster) {
    let id = cluster.id();
    assert!(
        !cluster.snapshot().is_empty(),
        "a running instance has no traces: the search is wrong"
    );
    cluster.run(&["down", "--purge"]);
    let (links, cgroups) = (format!("g{id}"), format!("gantry-{id}"));
    let data = cluster.data().to_string_lossy();
    let left = testkit::leaks::Snapshot::take(&[&links, &cgroups, &data]);
    assert!(left.is_empty(), "left behind: {:#?}", left.lines().collect::<Vec<_>>());
    assert!(!cluster.data().exists());
}

/// Every change is seen once and in order, also by one who went away in between.
async fn a_watch_resumes(client: &Client) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let map = |name: &str| ConfigMap {
        metadata: stage::named(name),
        ..ConfigMap::default()
    };
    let version = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    maps.create(&PostParams::default(), &map("first")).await.unwrap();
    let of_ours = WatchParams::default().labels("app in (first, second)");
    let mut watch = maps.watch(&of_ours, &version).await.unwrap().boxed();
    let Some(Ok(WatchEvent::Added(first))) = within("an event", watch.next()).await else {
        panic!("not the first map");
    };
    assert_eq!(first.name_any(), "first");
    drop(watch);
    maps.create(&PostParams::default(), &map("second")).await.unwrap();
    let patch = Patch::Merge(json!({"data": {"key": "value"}}));
    maps.patch("first", &PatchParams::default(), &patch).await.unwrap();
    maps.delete("second", &DeleteParams::default()).await.unwrap();
    let watch = maps.watch(&of_ours, &first.resource_version().unwrap()).await.unwrap();
    let events: Vec<String> = within("three events", watch.take(3).map_ok(shown).try_collect())
        .await
        .unwrap();
    assert_eq!(events, ["added second", "modified first", "deleted second"]);
}

fn shown(event: WatchEvent<ConfigMap>) -> String {
    match event {
        WatchEvent::Added(map) => format!("added {}", map.name_any()),
        WatchEvent::Modified(map) => format!("modified {}", map.name_any()),
        WatchEvent::Deleted(map) => format!("deleted {}", map.name_any()),
        other => format!("{other:?}"),
    }
}

/// Whoever applies a field of somebody else's is told so, unless they insist.
async fn appliers_conflict(client: &Client) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let wanted = |value: &str| {
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}, "data": {"key": value}});
        Patch::Apply(map)
    };
    maps.patch("shared", &PatchParams::apply("one"), &wanted("1"))
        .await
        .unwrap();
    let refused = maps.patch("shared", &PatchParams::apply("two"), &wanted("2")).await;
    let Err(kube::Error::Api(status)) = refused else {
        panic!("no conflict: {refused:?}");
    };
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    assert!(
        status.message.contains("conflict with \"one\": .data.key"),
        "{}",
        status.message
    );
    let forced = maps
        .patch("shared", &PatchParams::apply("two").force(), &wanted("2"))
        .await
        .unwrap();
    assert_eq!(forced.data.unwrap()["key"], "2");
    let managers: Vec<_> = forced
        .metadata
        .managed_fields
        .unwrap()
        .into_iter()
        .filter_map(|field| field.manager)
        .collect();
    assert_eq!(managers, ["two"], "who owns nothing any more is no manager");
}
