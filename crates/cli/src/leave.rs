//! `gantry leave`: a machine goes out of the cluster that it joined, as the node itself: its pods are moved away, its Node
//! is deleted, and nothing of it stays here.

use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::DeleteParams;
use kube::{Api, Client};

use crate::args::{DrainOptions, LeaveArgs};
use crate::down;
use crate::drain::drain;
use crate::instance::Instance;
use crate::process::is_root;

/// How long the server may take to take the node out.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command.
pub async fn run(instance: Instance, args: LeaveArgs) -> anyhow::Result<()> {
    let Some(settings) = instance.stored_settings()? else {
        println!("nothing in {}", instance.dir().display());
        return Ok(());
    };
    let Some(server) = &settings.server else {
        bail!("this machine runs the server itself; `gantry down --purge` removes it with all objects")
    };
    if !is_root() {
        bail!("stopping a node needs root: run `sudo gantry leave`");
    }
    down::check_is_ours(instance.dir())?;
    let name = &settings.node_name;
    if !args.force {
        let moved = async {
            let client = as_node(&instance).await?;
            // Nobody else could end these pods once the node is gone.
            let how = DrainOptions {
                force: true,
                ignore_daemonsets: true,
                delete_emptydir_data: true,
                grace_period: -1,
                timeout: args.timeout,
                ..DrainOptions::default()
            };
            drain(&client, name, &how).await
        };
        moved.await.with_context(|| {
            format!("moving the pods of {name} away from {server} (`gantry leave --force` goes without)")
        })?;
    }
    down::stop(&instance).await?;
    let deleted = async { delete_node(&as_node(&instance).await?, name).await };
    match deleted.await {
        Ok(()) => {}
        Err(error) if args.force => {
            eprintln!("gantry: {server} still knows the node ({error:#}); `kubectl delete node {name}` there");
        }
        Err(error) => return Err(error.context(format!("deleting node {name} (`gantry leave --force` goes without)"))),
    }
    down::purge(&instance).await?;
    println!("node {name} has left {server}");
    Ok(())
}

/// A client by the node's own certificate, which is all that such a machine has.
pub(crate) async fn as_node(instance: &Instance) -> anyhow::Result<Client> {
    let path = instance.node_kubeconfig();
    client::from_kubeconfig(&path, None)
        .await
        .with_context(|| format!("using {}", path.display()))
}

/// Deletes the Node; one that isn't there is no error.
pub(crate) async fn delete_node(client: &Client, name: &str) -> anyhow::Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let params = DeleteParams::default();
    match tokio::time::timeout(PATIENCE, api.delete(name, &params)).await {
        Err(_) => bail!("the server doesn't answer"),
        Ok(Err(error)) if !client::is_not_found(&error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}
