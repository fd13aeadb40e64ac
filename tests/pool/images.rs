//! Images between nodes: what was built on one runs on all, also when nobody can call the one that has it; what somebody
//! outside pushes with a token does too; and pods find the registry under its name.

use std::net::SocketAddr;
use std::path::Path;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config};
use serde_json::{Value, json};
use testkit::ask;
use testkit::pool::Pool;

use crate::stage::{REPORT, add_image, machines, make, until, with_client, within};
use crate::view::View;

const NODES: [usize; 3] = [0, 1, 2];
/// A machine that is no node, where somebody builds and pushes.
const OUTSIDE: usize = 3;
/// A name without a tag: each start of a pod asks for it anew.
const LATEST: &str = "everyday";

#[test]
fn an_image_of_one_node_runs_on_all() {
    let pool = machines(3);
    pool.start_server(&[]).unwrap();
    // The node that has the images calls out only.
    pool.world().machine(1).link().close();
    for node in [1, 2] {
        pool.join(node, &[]).unwrap();
    }
    add_image(&pool, 1, "report", shim::REPORT, REPORT);
    add_image(&pool, 1, "hello", shim::HELLO, LATEST);
    with_client(&pool, |client| async move {
        for node in NODES {
            let name = format!("report-m{node}");
            start(&client, &name, node, REPORT, &["/bin/report", "stop"]).await;
            start(&client, &format!("hello-m{node}"), node, LATEST, &["/bin/hello"]).await;
        }
        for node in NODES {
            running(&client, &format!("report-m{node}")).await;
            running(&client, &format!("hello-m{node}")).await;
        }
    });
}

#[test]
fn an_image_that_is_pushed_with_a_token_runs_on_all() {
    let pool = machines(4);
    pool.start_server(&[]).unwrap();
    for node in [1, 2] {
        pool.join(node, &[]).unwrap();
    }
    let registry = format!("{}:6443", pool.world().machine(0).address());
    let name = format!("{registry}/team/shop:v1");
    add_image(&pool, OUTSIDE, "report", shim::REPORT, &name);
    trust(&pool, &registry);
    let refused = push(&pool, &name, &json!({})).unwrap_err();
    assert!(refused.contains("credentials"), "{refused}");
    let [reader, writer] = ["reader", "writer"].map(|role| {
        let role = role.to_owned();
        with_client(&pool, move |client| async move { token(&client, &role).await })
    });
    let login = |token: &str| json!({"auths": {&registry: {"username": "token", "password": token}}});
    let refused = push(&pool, &name, &login(&reader)).unwrap_err();
    assert!(refused.contains("may not"), "{refused}");
    push(&pool, &name, &login(&writer)).unwrap();
    with_client(&pool, |client| async move {
        for node in NODES {
            let image = "registry.gantry.local/team/shop:v1";
            start(&client, &format!("shop-m{node}"), node, image, &["/bin/report", "stop"]).await;
        }
        for node in NODES {
            running(&client, &format!("shop-m{node}")).await;
        }
    });
    for node in NODES {
        let pod = View::of_pod(&pool, node, &format!("shop-m{node}"));
        let tags = tags_from_a_pod(&pod, pool.kubeconfig().as_path(), &reader);
        assert_eq!(tags["tags"], json!(["v1"]), "{tags}");
    }
}

/// Makes a pod that must run on a node, whatever it takes to get its image there.
async fn start(client: &Client, name: &str, node: usize, image: &str, command: &[&str]) {
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": format!("m{node}")},
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": image, "command": command}],
        },
    });
    let _: Pod = make(client, pod).await;
}

async fn running(client: &Client, name: &str) {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let runs = Box::pin(await_condition(api, name, conditions::is_pod_running()));
    within(&format!("pod {name} to run"), runs).await.unwrap();
}

/// A token of a service account that may read, or also write, what the registry has.
async fn token(client: &Client, role: &str) -> String {
    let _: ServiceAccount = make(client, json!({"metadata": {"name": role}})).await;
    let binding = json!({
        "metadata": {"name": format!("registry-{role}")},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("gantry:registry-{role}")},
        "subjects": [{"kind": "ServiceAccount", "namespace": "default", "name": role}],
    });
    let binding: ClusterRoleBinding = serde_json::from_value(binding).unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    bindings.create(&PostParams::default(), &binding).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let request = TokenRequest {
        spec: Some(TokenRequestSpec::default()),
        ..TokenRequest::default()
    };
    until("a token", async || {
        let answer = accounts
            .create_token_request(role, &PostParams::default(), &request)
            .await;
        let status = answer.map_err(|error| error.to_string())?.status;
        status
            .and_then(|status| status.token)
            .ok_or_else(|| "no token".to_owned())
    })
    .await
}

/// The machine outside is given the cluster's authority, as Docker has it.
fn trust(pool: &Pool, registry: &str) {
    let dir = pool.data(OUTSIDE).join("certs.d").join(registry);
    std::fs::create_dir_all(&dir).unwrap();
    let ca = with_client(pool, |client| async move {
        let maps: Api<ConfigMap> = Api::default_namespaced(client);
        until("the cluster's authority", async || {
            let map = maps.get("kube-root-ca.crt").await.map_err(|error| error.to_string())?;
            map.data
                .and_then(|mut data| data.remove("ca.crt"))
                .ok_or("no ca.crt".to_owned())
        })
        .await
    });
    std::fs::write(dir.join("ca.crt"), ca).unwrap();
}

/// Pushes from outside with such a configuration of Docker's: what was said when it failed.
fn push(pool: &Pool, name: &str, config: &Value) -> Result<(), String> {
    let docker = pool.dir().join("docker");
    std::fs::create_dir_all(&docker).unwrap();
    std::fs::write(docker.join("config.json"), config.to_string()).unwrap();
    let mut command = pool.command(OUTSIDE, &["image", "push", name]);
    command.env("DOCKER_CONFIG", docker);
    let output = pool.world().machine(OUTSIDE).namespace().output(&mut command).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    output.status.success().then_some(()).ok_or(said)
}

/// What a program in a pod is told of an image: it asks by the registry's name, at the port that HTTPS has, with the
/// authority that every pod is given.
fn tags_from_a_pod(pod: &View, kubeconfig: &Path, token: &str) -> Value {
    const NAME: &str = "registry.gantry.local";
    let dns = SocketAddr::from(([10, 124, 0, 10], 53));
    let address = pod.ask(|| ask::name(dns, NAME)).unwrap()[0];
    pod.block_on(|| async {
        let file = Kubeconfig::read_from(kubeconfig).unwrap();
        let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .unwrap();
        config.cluster_url = format!("https://{address}").parse().unwrap();
        config.tls_server_name = Some(NAME.to_owned());
        config.auth_info = kube::config::AuthInfo {
            token: Some(token.to_owned().into()),
            ..Default::default()
        };
        let client = Client::try_from(config).unwrap();
        let request = http::Request::get("/v2/team/shop/tags/list").body(Vec::new()).unwrap();
        within("the registry's answer", client.request(request)).await.unwrap()
    })
}
