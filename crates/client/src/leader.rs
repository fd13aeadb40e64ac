//! Leader election: of several processes that could do some work, the one that holds a Lease does it.
//!
//! The protocol is that of client-go's `leaderelection`, with its times, so that its rules hold for whoever looks at the
//! Lease: a holder renews it; who sees it unchanged for its whole duration, by a clock of its own, may take it. It is
//! written by updates, not by patches, because that is what Kubernetes' bootstrap roles let its components do.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{is_conflict, is_exists, is_not_found};

/// Where components keep their Leases.
const NAMESPACE: &str = "kube-system";
/// A Lease that isn't renewed for so long may be taken.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that can't renew it for so long stops working.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often it is renewed, or looked at.
const RETRY: Duration = Duration::from_secs(2);

/// Does `work` whenever this process is the one that holds the Lease, until `cancel`.
///
/// `work` must end soon after the token that it is given is cancelled. The identity is that of the process, also after a
/// restart: a Lease that it still holds from before is its own.
pub async fn lead<W: Future<Output = ()>>(
    client: Client,
    lease: &str,
    identity: &str,
    cancel: CancellationToken,
    work: impl Fn(CancellationToken) -> W,
) {
    let mut election = Election {
        leases: Api::namespaced(client, NAMESPACE),
        lease,
        identity,
        seen: None,
    };
    while !cancel.is_cancelled() {
        tokio::select! {
            () = election.win() => {}
            () = cancel.cancelled() => return,
        }
        tracing::info!(lease, "leading");
        let term = cancel.child_token();
        let mut working = std::pin::pin!(work(term.clone()));
        tokio::select! {
            () = &mut working => {}
            () = election.hold() => {
                tracing::warn!(lease, "no longer leading");
                term.cancel();
                working.await;
                continue;
            }
        }
        // The next one needn't wait until it runs out.
        if timeout(RETRY, election.release()).await.is_err() {
            tracing::debug!(lease, "the lease could not be given back");
        }
        if !cancel.is_cancelled() {
            // The work ended by itself.
            tokio::time::sleep(RETRY).await;
        }
    }
}

struct Election<'a> {
    leases: Api<Lease>,
    lease: &'a str,
    identity: &'a str,
    /// The Lease as it was seen last, and since when it is as it is.
    seen: Option<(Lease, Instant)>,
}

impl Election<'_> {
    /// Waits until the Lease is held.
    async fn win(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(lease = self.lease, %error, "the lease could not be taken"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Renews the Lease until that fails for too long.
    async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(RETRY).await;
            let left = DEADLINE.saturating_sub(renewed.elapsed());
            match timeout(left, self.attempt()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::debug!(lease = self.lease, %error, "the lease could not be renewed"),
                Err(_) => {}
            }
            if renewed.elapsed() >= DEADLINE {
                return;
            }
        }
    }

    /// Takes or renews the Lease, if that may be done; true when it is held.
    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let written = match self.leases.get(self.lease).await {
            Ok(lease) => {
                self.see(lease);
                let Some((lease, since)) = &self.seen else {
                    return Ok(false);
                };
                let Some(wanted) = next(lease, self.identity, since.elapsed(), Timestamp::now()) else {
                    return Ok(false);
                };
                self.leases.replace(self.lease, &PostParams::default(), &wanted).await
            }
            Err(error) if is_not_found(&error) => {
                let wanted = first(self.lease, self.identity, Timestamp::now());
                self.leases.create(&PostParams::default(), &wanted).await
            }
            Err(error) => return Err(error),
        };
        match written {
            Ok(lease) => {
                self.see(lease);
                Ok(true)
            }
            // Somebody was faster; the next look shows who has it.
            Err(error) if is_conflict(&error) || is_exists(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn see(&mut self, lease: Lease) {
        let same = |seen: &(Lease, Instant)| seen.0.spec == lease.spec;
        if !self.seen.as_ref().is_some_and(same) {
            self.seen = Some((lease, Instant::now()));
        } else if let Some(seen) = &mut self.seen {
            seen.0 = lease;
        }
    }

    /// Gives the Lease back, so that another one can take it at once.
    async fn release(&mut self) {
        let Some((lease, _)) = &self.seen else { return };
        let mut lease = lease.clone();
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        if let Err(error) = self.leases.replace(self.lease, &PostParams::default(), &lease).await {
            tracing::debug!(lease = self.lease, %error, "the lease could not be given back");
        }
    }
}

/// A Lease that isn't there yet.
fn first(name: &str, identity: &str, now: Timestamp) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(identity.to_owned()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(MicroTime(now)),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(0),
            ..LeaseSpec::default()
        }),
    }
}

/// The Lease as `identity` writes it, or none when another one holds it: it has been as it is for `unchanged`.
fn next(lease: &Lease, identity: &str, unchanged: Duration, now: Timestamp) -> Option<Lease> {
    let mut wanted = lease.clone();
    let spec = wanted.spec.get_or_insert_default();
    let holder = spec.holder_identity.clone().unwrap_or_default();
    let lasts = spec.lease_duration_seconds.unwrap_or_default();
    let lasts = Duration::from_secs(u64::try_from(lasts).unwrap_or_default());
    if !holder.is_empty() && holder != identity && unchanged < lasts {
        return None;
    }
    if holder != identity {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default().saturating_add(1));
    }
    spec.holder_identity = Some(identity.to_owned());
    spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
    spec.renew_time = Some(MicroTime(now));
    Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn spec(lease: &Lease) -> (String, i32, Option<Timestamp>, Option<Timestamp>) {
        let spec = lease.spec.clone().unwrap_or_default();
        (
            spec.holder_identity.unwrap_or_default(),
            spec.lease_transitions.unwrap_or_default(),
            spec.acquire_time.map(|time| time.0),
            spec.renew_time.map(|time| time.0),
        )
    }

    #[test]
    fn a_holder_renews_and_others_wait() {
        let lease = first("l", "a", at(10));
        assert_eq!(spec(&lease), ("a".into(), 0, Some(at(10)), Some(at(10))));
        let renewed = next(&lease, "a", Duration::ZERO, at(12)).expect("its own");
        assert_eq!(spec(&renewed), ("a".into(), 0, Some(at(10)), Some(at(12))));
        assert_eq!(next(&renewed, "b", Duration::from_secs(14), at(26)), None);
        let taken = next(&renewed, "b", Duration::from_secs(15), at(27)).expect("it has run out");
        assert_eq!(spec(&taken), ("b".into(), 1, Some(at(27)), Some(at(27))));
    }

    #[test]
    fn what_was_given_back_is_free() {
        let mut lease = first("l", "a", at(10));
        lease.spec.get_or_insert_default().holder_identity = Some(String::new());
        let taken = next(&lease, "b", Duration::ZERO, at(11)).expect("nobody has it");
        assert_eq!(spec(&taken).0, "b");
        assert!(next(&Lease::default(), "b", Duration::ZERO, at(11)).is_some());
    }
}
