//! What happens while the server runs: the configuration is read again when its file changes, and caches with values that
//! could not be decrypted are filled again once they can be.

use std::sync::Arc;

use crate::core::Core;
use crate::file_changes::FileChanges;

/// Follows the file and the plug-ins until the server stops.
pub(crate) fn follow(core: &Arc<Core>) {
    tokio::spawn(refill(Arc::clone(core)));
    if core.at_rest.settings().is_some_and(|settings| settings.reload) {
        tokio::spawn(reload(Arc::clone(core)));
    }
}

async fn refill(core: Arc<Core>) {
    loop {
        let prefixes = tokio::select! {
            prefixes = core.at_rest.healed() => prefixes,
            () = core.stopping.cancelled() => return,
        };
        for prefix in prefixes {
            if let Err(error) = core.hub.refill(&prefix).await {
                tracing::warn!(%error, prefix, "a cache with values that could not be decrypted stays as it is");
            }
        }
    }
}

async fn reload(core: Arc<Core>) {
    let Some(settings) = core.at_rest.settings() else {
        return;
    };
    let file = &settings.file;
    let mut changes = FileChanges::of(file);
    loop {
        match core.at_rest.reload(file).await {
            Ok(false) => {}
            Ok(true) => {
                core.at_rest.count_reload(true);
                tracing::info!(file = %file.display(), "the encryption configuration was read again");
            }
            Err(error) => {
                core.at_rest.count_reload(false);
                tracing::error!(%error, "the encryption configuration stays as it was");
            }
        }
        tokio::select! {
            () = changes.next() => {}
            () = core.stopping.cancelled() => return,
        }
    }
}
