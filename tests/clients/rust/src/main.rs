//! A while of real work through kube-rs: a watcher with a reflector, and a controller. It fails when something that was
//! written was not seen, was seen twice or out of order, or wasn't acted upon. The server may be killed meanwhile.
//!
//! It knows nothing of Gantry: any cluster that a kubeconfig leads to will do.

mod copies;
mod sightings;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// Works through kube-rs for a while.
#[derive(clap::Parser)]
struct Arguments {
    /// Credentials.
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Where to work.
    #[arg(long, default_value = "default")]
    namespace: String,
    /// For how long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(&arguments.kubeconfig).context("reading the kubeconfig")?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = kube::Client::try_from(config)?;
    let length = Duration::from_secs(arguments.seconds);
    let (watched, copied) = tokio::try_join!(
        sightings::work(client.clone(), &arguments.namespace, length),
        copies::work(client.clone(), &arguments.namespace, length),
    )?;
    println!("kube-rs: {watched}; {copied}");
    Ok(())
}
