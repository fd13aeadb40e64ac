//! `bench pull`: from an image in a registry of this machine to its started container, here and by containerd, in turns
//! in the same run.
//!
//! Each turn has an image of its own that nobody has seen, so nothing needs to be forgotten in between. What the peers
//! get is the same: the registry is in this process, its bytes are in memory's cache, and what others have written is on
//! the disk before a turn begins.

mod containerd;
mod content;
mod pod;
mod serve;

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::args::PullArgs;
use crate::{connect, namespace, report};

/// Runs it as often as asked for.
pub(crate) async fn run(args: &PullArgs) -> anyhow::Result<Value> {
    let dir = tempfile::Builder::new()
        .prefix("gantry-bench-pull-")
        .tempdir()
        .context("making a directory")?;
    let store = image::Store::open(dir.path().join("registry"))?;
    let registry = serve::Serving::start(registry::Registry::new(store.clone(), "bench")).await?;
    report::progress(format!("a registry answers at {}", registry.address));
    let peer = match args.no_peer {
        true => None,
        false => Some(containerd::Containerd::start(&dir.path().join("containerd")).await?),
    };
    let config = connect::config(&args.cluster).await?;
    let client = connect::client(&config)?;
    let setting = report::setting(&client).await;
    let limit = Duration::from_secs(args.timeout);
    let measuring = namespace::within(&client, "pull", |namespace| {
        let (client, registry, peer, store) = (&client, &registry, &peer, &store);
        async move {
            namespace::accounts(client, &namespace, limit).await?;
            let mut measured = Measured::default();
            for number in 0..args.runs {
                let turn = Turn {
                    number,
                    args,
                    store,
                    address: &registry.address,
                };
                Box::pin(turn.run(&mut measured, client, &namespace, peer.as_ref(), limit)).await?;
            }
            Ok(measured)
        }
    });
    let measured = Box::pin(measuring).await;
    if let Some(peer) = peer {
        peer.end().await;
    }
    let measured = measured?;
    Ok(json!({
        "bench": "pull",
        "setting": setting,
        "megabytes": args.megabytes,
        "layers": args.layers,
        "compressed_bytes": measured.compressed,
        "here": report::of_samples(&measured.here),
        "containerd": report::of_samples(&measured.peer),
        "times_faster": measured.ratio(),
    }))
}

#[derive(Default)]
struct Measured {
    here: Vec<Duration>,
    peer: Vec<Duration>,
    compressed: u64,
}

impl Measured {
    /// Of the medians.
    fn ratio(&self) -> Value {
        let median = |samples: &[Duration]| {
            let mut sorted = samples.to_vec();
            sorted.sort_unstable();
            sorted.get(sorted.len() / 2).map(Duration::as_secs_f64)
        };
        match (median(&self.here), median(&self.peer)) {
            (Some(here), Some(peer)) if here > 0.0 => report::millis(peer / here),
            _ => Value::Null,
        }
    }
}

struct Turn<'a> {
    number: u32,
    args: &'a PullArgs,
    store: &'a image::Store,
    address: &'a str,
}

impl Turn<'_> {
    async fn run(
        &self,
        measured: &mut Measured,
        client: &kube::Client,
        namespace: &str,
        peer: Option<&containerd::Containerd>,
        limit: Duration,
    ) -> anyhow::Result<()> {
        // Who begins changes from turn to turn.
        for half in 0..2 {
            if (half + self.number).is_multiple_of(2) {
                let image = self.image("here", measured).await?;
                let taken = pod::start(client, namespace, &image, limit).await?;
                report::progress(format!("turn {}: here {:.2} s", self.number + 1, taken.as_secs_f64()));
                measured.here.push(taken);
            } else if let Some(peer) = peer {
                let image = self.image("peer", measured).await?;
                let taken = peer.start_container(&image, limit).await?;
                report::progress(format!(
                    "turn {}: containerd {:.2} s",
                    self.number + 1,
                    taken.as_secs_f64()
                ));
                measured.peer.push(taken);
            }
        }
        Ok(())
    }

    /// A new image in the registry; what was written for it is on the disk.
    async fn image(&self, whom: &str, measured: &mut Measured) -> anyhow::Result<String> {
        let name = format!("{whom}-{}", self.number);
        let (store, layers, megabytes) = (self.store.clone(), self.args.layers, self.args.megabytes);
        let seed = u64::from(self.number) * 2 + u64::from(whom == "here");
        let repository = name.clone();
        let size = tokio::task::spawn_blocking(move || {
            let size = content::push(&store, &repository, layers, megabytes, seed)?;
            rustix::fs::sync();
            Ok::<_, anyhow::Error>(size)
        })
        .await??;
        measured.compressed = size;
        Ok(format!("{}/{name}:1", self.address))
    }
}
