//! Pulling what FROM and `--from` name, as `gantry image pull` does; how far it is becomes lines of the build's step.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use image::{LayerState, Reference, Store, Stream, TransferOptions, TransferProgress};
use tokio::sync::mpsc;

use crate::image::{size, transfer};
use crate::instance::Instance;

/// How often a layer on its way is worth a line.
const EVERY: Duration = Duration::from_secs(2);

/// Where images come from and go to.
pub(super) struct Puller {
    images: PathBuf,
    instance: Instance,
}

impl Puller {
    pub(super) fn new(instance: &Instance) -> Self {
        Self {
            images: node::image_dir(instance.dir()),
            instance: instance.clone(),
        }
    }

    /// Pulls an image and tells how far it is.
    pub(super) async fn pull(&self, name: &str, tell: &mut dyn FnMut(Stream, &[u8])) -> anyhow::Result<()> {
        let name: Reference = name.parse()?;
        let store = Store::open(self.images.clone())?;
        let (lines, mut told) = mpsc::unbounded_channel();
        let options = TransferOptions {
            keyring: transfer::keyring()?,
            progress: Some(Arc::new(Lines {
                lines,
                layers: Mutex::default(),
            })),
            ..TransferOptions::default()
        };
        let transfer = transfer::transfer(store, &self.instance).await;
        let mut pulling = Box::pin(async move {
            let pulled = transfer.pull(&name, &options).await?;
            tokio::task::spawn_blocking(move || pulled.settle()).await??;
            anyhow::Ok(())
        });
        let done = loop {
            tokio::select! {
                Some(line) = told.recv() => tell(Stream::Err, line.as_bytes()),
                done = &mut pulling => break done,
            }
        };
        while let Ok(line) = told.try_recv() {
            tell(Stream::Err, line.as_bytes());
        }
        done
    }
}

/// A line where a layer begins to come, now and then while it comes, and where it is there.
struct Lines {
    lines: mpsc::UnboundedSender<String>,
    /// When something was last said of a layer.
    layers: Mutex<HashMap<String, Instant>>,
}

impl Lines {
    fn say(&self, line: String) {
        // Nobody listens any more to a pull that was given up.
        let _ = self.lines.send(line + "\n");
    }
}

impl TransferProgress for Lines {
    fn resolved(&self, name: &Reference, digest: &str) {
        self.say(format!("resolved {name} as {digest}"));
    }

    fn layer(&self, digest: &str, state: LayerState) {
        let id: String = digest.chars().take("sha256:".len() + 12).collect();
        let text = match state {
            LayerState::Waiting { .. } => return,
            LayerState::Downloading { done, total } => {
                let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
                let last = layers.entry(digest.to_string()).or_insert_with(Instant::now);
                if last.elapsed() < EVERY {
                    return;
                }
                *last = Instant::now();
                format!("{} / {}", size(done), size(total))
            }
            LayerState::Retrying { done } => format!("connection lost, going on after {}", size(done)),
            LayerState::Extracting => "extracting".to_string(),
            LayerState::Done => "done".to_string(),
            LayerState::Exists => "already here".to_string(),
        };
        self.say(format!("{id} {text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_on_its_way_is_told_of_now_and_then() {
        let (lines, mut told) = mpsc::unbounded_channel();
        let progress = Lines {
            lines,
            layers: Mutex::default(),
        };
        let digest = format!("sha256:{}", "ab".repeat(32));
        for done in 0..100 {
            progress.layer(&digest, LayerState::Downloading { done, total: 100 });
        }
        progress.layer(&digest, LayerState::Done);
        assert_eq!(told.try_recv().unwrap(), "sha256:abababababab done\n");
        assert!(told.try_recv().is_err());
    }
}
