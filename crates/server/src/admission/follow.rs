//! Keeps what is compiled of webhooks and policies up to date: whenever a configuration changes, also by another server on
//! the same store.

use std::sync::Arc;

use super::webhook::GROUP;
use super::{policy, webhook};
use crate::changes::Changes;
use crate::core::Core;

/// Compiles now, and follows every source until the server stops.
pub(crate) fn follow(core: &Arc<Core>) {
    tokio::spawn(run(Arc::clone(core)));
}

async fn run(core: Arc<Core>) {
    let sources: Vec<&str> = webhook::SOURCES.into_iter().chain(policy::SOURCES).collect();
    let Some(mut changes) = Changes::of(&core, GROUP, &sources) else {
        return;
    };
    loop {
        core.admission.compile(&core);
        if !changes.next(&core).await {
            return;
        }
    }
}
