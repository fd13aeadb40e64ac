//! Over TLS, as clients on other machines come.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use server::User;

use crate::world::World;

pub(crate) async fn connect(text: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(text).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

#[tokio::test]
async fn kube_rs_works_over_tls_and_in_process() {
    let world = World::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(world.server.serve(listener));
    let client = connect(&world.server.admin_kubeconfig("t", &url).unwrap()).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let map = ConfigMap {
        metadata: kube::api::ObjectMeta {
            name: Some("x".into()),
            ..Default::default()
        },
        ..Default::default()
    };
    maps.create(&PostParams::default(), &map).await.unwrap();
    let inside: Api<ConfigMap> = Api::namespaced(world.client(User::admin()), "default");
    assert_eq!(inside.list(&ListParams::default()).await.unwrap().items.len(), 1);
    let bootstrap = connect(&world.server.bootstrap_kubeconfig("t", &url).unwrap()).await;
    let namespaces: Api<Namespace> = Api::all(bootstrap);
    let refused = namespaces.list(&ListParams::default()).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    world.server.shutdown();
    tokio::time::timeout(std::time::Duration::from_secs(10), serving)
        .await
        .unwrap()
        .unwrap();
}
