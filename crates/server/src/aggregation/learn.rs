//! What remotes say of themselves: their discovery and OpenAPI documents, asked for when a remote appears or becomes
//! available, and again every minute.

use std::sync::Arc;
use std::time::Duration;

use api::discovery::AGGREGATED;
use api::openapi::foreign::Foreign;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderMap, HeaderName};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::discovery;
use super::remote::{Answer, Question, Remote, same};
use crate::core::Core;
use crate::user::{MASTERS, User};

/// Documents are asked for again after this time.
const AGAIN: Duration = Duration::from_secs(60);
/// When they could not be had, after this time, and then after twice that, and so on.
const SOON: Duration = Duration::from_millis(500);
/// A discovery document takes no longer, and an OpenAPI document no longer than the second.
const PATIENCE: Duration = Duration::from_secs(5);
const LONG_PATIENCE: Duration = Duration::from_secs(60);
const JSON: &str = "application/json";

/// What a remote says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Learned {
    /// Its version's entry in the aggregated discovery document.
    pub(crate) discovery: Value,
    /// Its OpenAPI document of version 3.
    pub(crate) three: Three,
    /// Its part of its OpenAPI document of version 2.
    pub(crate) two: Option<Arc<Foreign>>,
}

/// Where an OpenAPI document of version 3 comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Three {
    /// There is none.
    #[default]
    None,
    /// The remote has it, at this address.
    Own(String),
    /// The remote has one of version 2 only, which was converted.
    Made { address: String, document: Bytes },
}

/// The tags of the documents that are known.
#[derive(Default)]
struct Tags {
    discovery: Option<String>,
    two: Option<String>,
}

/// A document could not be had. The remote's availability says why.
struct Unheard;

/// Keeps what is known of a remote up to date until it is another one's turn, or the server stops.
pub(super) async fn tend(core: Arc<Core>, remote: Arc<Remote>, end: CancellationToken) {
    let (mut tags, mut delay) = (Tags::default(), SOON);
    let mut known = {
        let routes = core.aggregation.now();
        let route = routes.get(&remote.group, &remote.version);
        let learned = route.and_then(|route| route.learned.as_deref());
        learned.cloned().unwrap_or_default()
    };
    loop {
        let well = known.renew(&core, &remote, &mut tags).await.is_ok();
        publish(&core, &remote, &known);
        let next = if well { AGAIN } else { delay };
        delay = if well { SOON } else { (delay * 2).min(AGAIN) };
        tokio::select! {
            () = end.cancelled() => return,
            () = core.stopping.cancelled() => return,
            () = remote.wake.notified() => {}
            () = tokio::time::sleep(next) => {}
        }
    }
}

/// Puts what is known where requests find it, if the remote is still served.
fn publish(core: &Core, remote: &Arc<Remote>, known: &Learned) {
    core.aggregation.change(|routes| {
        let route = routes.by_version.get(&remote.key())?;
        if !same(&route.remote, remote) || route.learned.as_deref() == Some(known) {
            return None;
        }
        let mut next = routes.clone();
        next.generation += 1;
        let route = next.by_version.get_mut(&remote.key())?;
        route.learned = Some(Arc::new(known.clone()));
        Some(next)
    });
}

impl Learned {
    /// Asks for everything again. What can't be had now stays as it was, but for discovery, which is stale then.
    async fn renew(&mut self, core: &Core, remote: &Remote, tags: &mut Tags) -> Result<(), Unheard> {
        match discover(core, remote, tags).await {
            Ok(Some(entry)) => self.discovery = entry,
            Ok(None) => {}
            Err(Unheard) => {
                self.discovery = discovery::stale(&remote.version);
                tags.discovery = None;
                return Err(Unheard);
            }
        }
        let is_old = match three(core, remote).await? {
            Some(three) => {
                self.three = three;
                false
            }
            None => true,
        };
        self.renew_two(core, remote, tags, is_old).await
    }

    async fn renew_two(&mut self, core: &Core, remote: &Remote, tags: &mut Tags, is_old: bool) -> Result<(), Unheard> {
        let question = Question {
            path: "/openapi/v2",
            accept: JSON,
            known: tags.two.as_deref(),
            user: &aggregator(),
            patience: LONG_PATIENCE,
        };
        let answer = ask(core, remote, question).await?;
        match answer.code.as_u16() {
            304 => return Ok(()),
            404 => self.two = None,
            200 => {
                let spec: Value = parse(&answer)?;
                self.two = Some(Arc::new(Foreign::of(&spec, &format!("{}/", remote.path()))));
                tags.two = header(&answer.headers, &ETAG).map(str::to_owned);
            }
            _ => return Err(Unheard),
        }
        if is_old {
            self.three = self.two.as_deref().map_or(Three::None, |two| made(remote, two));
        }
        Ok(())
    }
}

/// The entry of the remote's version in the aggregated document; none when it is still the one that is known.
async fn discover(core: &Core, remote: &Remote, tags: &mut Tags) -> Result<Option<Value>, Unheard> {
    let asker = User {
        name: "system:kube-aggregator".to_owned(),
        groups: vec![MASTERS.to_owned()],
        ..User::default()
    };
    let question = Question {
        path: "/apis",
        accept: AGGREGATED,
        known: tags.discovery.as_deref(),
        user: &asker,
        patience: PATIENCE,
    };
    let answer = ask(core, remote, question).await?;
    let is_aggregated = discovery::is_aggregated(header(&answer.headers, &CONTENT_TYPE).unwrap_or_default());
    match answer.code.as_u16() {
        304 => return Ok(None),
        503 => return Err(Unheard),
        200 if is_aggregated => {
            let entry = discovery::pick(&parse(&answer)?, &remote.group, &remote.version);
            tags.discovery = header(&answer.headers, &ETAG).map(str::to_owned);
            return Ok(Some(entry));
        }
        _ => {}
    }
    let question = Question {
        path: &remote.path(),
        accept: JSON,
        known: None,
        user: &asker,
        patience: PATIENCE,
    };
    let answer = ask(core, remote, question).await?;
    if answer.code.as_u16() != 200 {
        return Err(Unheard);
    }
    match discovery::from_list(&parse(&answer)?, &remote.version) {
        Ok(entry) => Ok(Some(entry)),
        Err(why) => {
            tracing::warn!(service = %remote.name, %why, "a discovery document can't be read");
            Err(Unheard)
        }
    }
}

/// Where the remote's document of version 3 is; none when it knows no such version.
async fn three(core: &Core, remote: &Remote) -> Result<Option<Three>, Unheard> {
    let question = Question {
        path: "/openapi/v3",
        accept: JSON,
        known: None,
        user: &aggregator(),
        patience: LONG_PATIENCE,
    };
    let answer = ask(core, remote, question).await?;
    match answer.code.as_u16() {
        404 => Ok(None),
        200 => {
            let index: Value = parse(&answer)?;
            let address = &index["paths"][format!("apis/{}", remote.key())]["serverRelativeURL"];
            let address = address.as_str().map(str::to_owned);
            Ok(Some(address.map_or(Three::None, Three::Own)))
        }
        _ => Err(Unheard),
    }
}

fn made(remote: &Remote, two: &Foreign) -> Three {
    let document = two.three().to_string();
    let hash = hex::encode_upper(Sha256::digest(&document));
    Three::Made {
        address: format!("/openapi/v3/apis/{}?hash={hash}", remote.key()),
        document: document.into(),
    }
}

/// In whose name OpenAPI documents are asked for.
fn aggregator() -> User {
    User {
        name: "system:aggregator".to_owned(),
        ..User::default()
    }
}

async fn ask(core: &Core, remote: &Remote, question: Question<'_>) -> Result<Answer, Unheard> {
    remote.ask(core, &question).await.map_err(|why| {
        tracing::debug!(service = %remote.name, path = question.path, %why, "an extension server can't be asked");
        Unheard
    })
}

fn parse(answer: &Answer) -> Result<Value, Unheard> {
    serde_json::from_slice(&answer.body).map_err(|error| {
        tracing::debug!(%error, "an extension server's document can't be read");
        Unheard
    })
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
