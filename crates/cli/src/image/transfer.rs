//! `gantry image pull` and `push`, and what a build pulls: who asks, and showing how far it is, a line for each layer as
//! Docker has it.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};

use image::{
    Cluster, Hosts, Keyring, LayerState, Platform, Reference, Store, Transfer, TransferOptions, TransferProgress,
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use kube::client::ConfigExt as _;

use super::size;
use crate::instance::Instance;
use crate::progress::show;

/// How a pull was asked for.
pub(super) struct How {
    pub(super) insecure: bool,
    pub(super) platform: Option<Platform>,
    pub(super) quiet: bool,
}

pub(super) fn pull(store: Store, instance: &Instance, name: &str, how: How) -> anyhow::Result<()> {
    let name: Reference = name.parse()?;
    let lines = (!how.quiet).then(|| Arc::new(Lines::new("Pull complete", "Downloading")));
    let options = TransferOptions {
        platform: how.platform,
        insecure: how.insecure,
        keyring: keyring()?,
        progress: lines.clone().map(|lines| lines as Arc<dyn TransferProgress>),
    };
    run(async {
        let pulled = Box::pin(transfer(store, instance).await.pull(&name, &options)).await?;
        let digest = pulled.digest.clone();
        let (fetched, took) = (pulled.fetched, pulled.took);
        tokio::task::spawn_blocking(move || pulled.settle()).await??;
        if let Some(lines) = &lines {
            lines.end();
            println!("{name}: {} fetched in {}", size(fetched), show(took));
        }
        println!("{digest}");
        Ok(())
    })
}

pub(super) fn push(store: Store, instance: &Instance, name: &str, insecure: bool) -> anyhow::Result<()> {
    let name: Reference = name.parse()?;
    let lines = Arc::new(Lines::new("Pushed", "Pushing"));
    let options = TransferOptions {
        insecure,
        keyring: keyring()?,
        progress: Some(lines.clone()),
        ..TransferOptions::default()
    };
    run(async {
        let pushed = Box::pin(transfer(store, instance).await.push(&name, &options)).await?;
        lines.end();
        println!("{name}: {} in {}", size(pushed.size), show(pushed.took));
        println!("{}", pushed.digest);
        Ok(())
    })
}

fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    // A provider of TLS that is there already is the same one.
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// The credentials of `docker login`.
pub(crate) fn keyring() -> anyhow::Result<Keyring> {
    Ok(match Keyring::docker_config() {
        Some(path) => Keyring::from_file(&path)?,
        None => Keyring::default(),
    })
}

/// Between a store and the registries, as this machine's files say how they are reached.
pub(crate) async fn transfer(store: Store, instance: &Instance) -> Transfer {
    let hosts = Hosts {
        dir: Some(node::hosts_dir(instance.dir())),
        cluster: cluster(instance).await,
    };
    Transfer::new(store, hosts)
}

/// The cluster's registry, as this machine's administrator or its node; `None` when there is no cluster.
async fn cluster(instance: &Instance) -> Option<Cluster> {
    let files = [instance.admin_kubeconfig(), node::kubeconfig(instance.dir())];
    let path = files.into_iter().find(|path| path.exists())?;
    let kubeconfig = kube::config::Kubeconfig::read_from(path).ok()?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default())
        .await
        .ok()?;
    Some(Cluster {
        name: node::REGISTRY.to_string(),
        url: config.cluster_url.to_string(),
        tls: Arc::new(config.rustls_client_config().ok()?),
    })
}

/// A line for each layer: moving on a terminal, plain elsewhere.
struct Lines {
    done: &'static str,
    moving: &'static str,
    all: MultiProgress,
    bars: Mutex<HashMap<String, ProgressBar>>,
    terminal: bool,
}

impl Lines {
    fn new(done: &'static str, moving: &'static str) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let target = if terminal {
            ProgressDrawTarget::stdout_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            done,
            moving,
            all: MultiProgress::with_draw_target(target),
            bars: Mutex::default(),
            terminal,
        }
    }

    fn end(&self) {
        for bar in self.bars.lock().unwrap_or_else(PoisonError::into_inner).values() {
            bar.abandon();
        }
    }

    fn say(&self, id: &str, text: &str) {
        if !self.terminal {
            println!("{id}: {text}");
        }
    }
}

impl TransferProgress for Lines {
    fn resolved(&self, name: &Reference, digest: &str) {
        let _ = self.all.println(format!("{name}: {digest}"));
        if !self.terminal {
            println!("{name}: {digest}");
        }
    }

    fn layer(&self, digest: &str, state: LayerState) {
        let id: String = digest.trim_start_matches("sha256:").chars().take(12).collect();
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bars.entry(digest.to_string()).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(0));
            if let Ok(style) = ProgressStyle::with_template("{prefix}: {msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(id.clone());
            bar
        });
        match state {
            LayerState::Waiting { .. } => bar.set_message("Waiting"),
            LayerState::Downloading { done, total } => {
                bar.set_message(format!(
                    "{} {} {}/{}",
                    self.moving,
                    meter(done, total),
                    size(done),
                    size(total)
                ));
            }
            LayerState::Retrying { done } => {
                bar.set_message(format!("Retrying after {}", size(done)));
                self.say(&id, &format!("connection lost, going on after {}", size(done)));
            }
            LayerState::Extracting => bar.set_message("Extracting"),
            LayerState::Done => {
                bar.set_message(self.done);
                self.say(&id, self.done);
            }
            LayerState::Exists => {
                bar.set_message("Already exists");
                self.say(&id, "Already exists");
            }
        }
    }
}

/// `[=====>    ]`
fn meter(done: u64, total: u64) -> String {
    const WIDTH: u64 = 30;
    let full = usize::try_from(done.min(total) * WIDTH / total.max(1)).unwrap_or(0);
    format!("[{:<width$}]", format!("{}>", "=".repeat(full)), width = 31)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_meter_fills() {
        assert_eq!(super::meter(0, 10).len(), super::meter(10, 10).len());
        assert!(super::meter(5, 10).starts_with("[===============>"));
        assert_eq!(super::meter(1, 0).len(), super::meter(1, 1).len());
    }
}
