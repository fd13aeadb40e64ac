//! `gantry node`: this machine's node as a process.

use anyhow::Context as _;
use cli::Instance;
use cli::args::SettingsArgs;
use cli::process::{Role, one_line};
use node::Config;

/// Runs it in the foreground until told to end. Pods go on.
pub(crate) async fn run(instance: Instance, given: SettingsArgs) -> anyhow::Result<()> {
    let settings = instance.settings(&given)?;
    instance.take_role(Role::Node)?;
    let cancel = crate::until_told_to_end()?;
    let joined = settings.server.is_some();
    let config = Config {
        name: settings.node_name.clone(),
        data_dir: instance.dir().to_path_buf(),
        instance: instance.id(),
        bootstrap: settings.bootstrap_kubeconfig(&instance),
        node_ip: settings.node_address(),
        cluster_cidr: settings.pod_cidr,
        service_cidr: settings.service_cidr,
        cluster_domain: settings.cluster_domain.clone(),
        labels: settings.labels.clone(),
    };
    let work = async {
        cli::preflight::can_run_node(&cli::preflight::Machine)?;
        let bootstrap = async {
            if joined {
                return Ok(());
            }
            wait_for_bootstrap(&instance).await
        };
        let ((), found) = tokio::join!(add_carried_image(&instance), bootstrap);
        found?;
        let ready = || {
            if let Err(error) = instance.set_ready(Role::Node) {
                tracing::warn!(%error, "saying that the node is ready");
            }
            crate::footprint::settle_later();
        };
        Box::pin(node::run(config, cancel, ready)).await.context("the node")
    };
    let result = Box::pin(work).await;
    match &result {
        Ok(()) => instance.clear_role(Role::Node),
        Err(error) => instance.set_failed(Role::Node, &one_line(error)),
    }
    result
}

/// Every node has the image that the binary carries, so that a first pod needs no registry. It goes on without it.
async fn add_carried_image(instance: &Instance) {
    let owned = instance.clone();
    let added = tokio::task::spawn_blocking(move || cli::image::add_demo(&owned, cli::demo::IMAGE)).await;
    if let Err(error) = added.map_err(anyhow::Error::from).flatten() {
        tracing::warn!(
            error = one_line(&error),
            image = cli::demo::IMAGE,
            "adding the image that the binary carries"
        );
    }
}

/// Both processes start at the same time; the server writes the node's first credentials.
async fn wait_for_bootstrap(instance: &Instance) -> anyhow::Result<()> {
    let path = instance.bootstrap_kubeconfig();
    let limit = std::time::Duration::from_secs(300);
    let watched = instance.clone();
    let look = move || {
        let server = watched.dir().join("server");
        cli::wait::for_sign(&server, limit, || watched.bootstrap_kubeconfig().exists().then_some(()))
    };
    let found = tokio::task::spawn_blocking(look).await??;
    found.with_context(|| format!("{} is not there; is the server running?", path.display()))
}
