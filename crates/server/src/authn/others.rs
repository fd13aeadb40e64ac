//! Those who are believed beside the server's own credentials, as the configuration has them now, and what it says of
//! requests without any.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::configuration::{AuthenticationSettings, Compiled};
use super::jwt::{Authenticator, untrusted_issuer};
use super::metrics::Counters;
use crate::core::Core;
use crate::file_changes::FileChanges;

/// Who else is believed.
pub(crate) struct Others {
    now: ArcSwap<Now>,
    /// The file that says so, and its text as it was looked at last.
    file: Option<(std::path::PathBuf, Mutex<String>)>,
    /// The issuer that nobody else may be.
    own: String,
    count: Arc<Counters>,
}

#[derive(Default)]
struct Now {
    issuers: Vec<Arc<Authenticator>>,
    /// None: every path is open to requests without credentials, as far as authorization goes.
    open: Option<Vec<String>>,
}

impl Now {
    fn of(compiled: Compiled, count: &Arc<Counters>) -> Now {
        let open = compiled
            .anonymous
            .and_then(|anonymous| match (anonymous.enabled, anonymous.conditions) {
                (true, conditions) if conditions.is_empty() => None,
                (true, conditions) => Some(conditions.into_iter().map(|condition| condition.path).collect()),
                (false, _) => Some(Vec::new()),
            });
        let issuers = compiled.authenticators.into_iter();
        let issuers = issuers.map(|issuer| Arc::new(issuer.counted(count)));
        let now = Now {
            issuers: issuers.collect(),
            open,
        };
        count.believed(now.issuers.iter().map(|issuer| issuer.url()));
        now
    }
}

impl Others {
    /// Reads the configuration, if there is one.
    pub(crate) fn open(
        settings: Option<&AuthenticationSettings>,
        own: &str,
        server_id: &str,
    ) -> Result<Others, crate::Error> {
        let count = Arc::new(Counters::new(server_id));
        let wrong = crate::Error::Authentication;
        let now = match settings {
            None => Now::default(),
            Some(settings) => Now::of(Compiled::of(settings, own).map_err(wrong)?, &count),
        };
        let file = match settings {
            Some(AuthenticationSettings::File(file)) => {
                let text = std::fs::read_to_string(file).unwrap_or_default();
                count.holds(&text);
                Some((file.clone(), Mutex::new(text)))
            }
            _ => None,
        };
        Ok(Others {
            now: ArcSwap::from_pointee(now),
            file,
            own: own.to_owned(),
            count,
        })
    }

    /// The issuer that a token names, if it is believed.
    pub(super) fn for_token(&self, token: &str) -> Option<Arc<Authenticator>> {
        let now = self.now.load();
        if now.issuers.is_empty() {
            return None;
        }
        let named = untrusted_issuer(token)?;
        now.issuers.iter().find(|issuer| issuer.is_for(&named)).cloned()
    }

    /// Whether a request for a path may do without credentials.
    pub(super) fn lets_anonymous(&self, path: &str) -> bool {
        let now = self.now.load();
        now.open.as_ref().is_none_or(|open| open.iter().any(|one| one == path))
    }

    /// Reads the file again; false when it says what it did.
    fn reload(&self, file: &Path, holds: &Mutex<String>) -> Result<bool, String> {
        let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        if *holds.lock() == text {
            return Ok(false);
        }
        let compiled = Compiled::parse(&text, &self.own);
        // What can't be used won't be later, and is told once.
        holds.lock().clone_from(&text);
        self.now.store(Arc::new(Now::of(compiled?, &self.count)));
        self.count.holds(&text);
        Ok(true)
    }

    /// Appends what is counted, in the Prometheus text format.
    pub(crate) fn write_metrics(&self, out: &mut String) {
        self.count.write(out);
    }
}

/// Reads the configuration again whenever its file changes, until the server stops.
pub(crate) fn follow(core: &Arc<Core>) {
    if core.others.file.is_none() {
        return;
    }
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let Some((file, holds)) = &core.others.file else {
            return;
        };
        let mut changes = FileChanges::of(file);
        loop {
            match core.others.reload(file, holds) {
                Ok(false) => {}
                Ok(true) => {
                    core.others.count.reloaded(true);
                    tracing::info!(file = %file.display(), "the authentication configuration was read again");
                }
                Err(error) => {
                    core.others.count.reloaded(false);
                    tracing::error!(error, file = %file.display(), "the authentication configuration stays as it was");
                }
            }
            tokio::select! {
                () = changes.next() => {}
                () = core.stopping.cancelled() => return,
            }
        }
    });
}
