//! Leases: by them, records end by themselves.
//!
//! Records that end at about the same time share one, as in kube-apiserver: a lease costs etcd more than a record.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::members::Members;
use super::proto::{LeaseGrantRequest, LeaseGrantResponse};
use crate::Error;

const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
/// etcd deletes the records of a lease in one transaction.
const MOST: usize = 1000;
/// A record ends so much too late at most; the contract allows a minute, and etcd itself takes a moment.
const SLACK: Duration = Duration::from_secs(50);
/// The time that a put may take from here into etcd.
const MARGIN: Duration = Duration::from_secs(1);

/// The leases that records can be put on.
#[derive(Default)]
pub(crate) struct Leases {
    /// By ttl: the lease that was granted last for it.
    last: Mutex<HashMap<Duration, Lease>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    /// It ends then or a little later.
    pub(crate) ends: Instant,
    /// How many records were put on it.
    pub(crate) records: usize,
}

impl Leases {
    /// A lease for a record that is to live for `ttl` from now on.
    pub(crate) async fn lease(&self, members: &Members, ttl: Duration) -> Result<i64, Error> {
        let mut last = self.last.lock().await;
        let now = Instant::now();
        if let Some(lease) = last.get_mut(&ttl).filter(|lease| lease.fits(now, ttl)) {
            lease.records += 1;
            return Ok(lease.id);
        }
        let wanted = LeaseGrantRequest { ttl: seconds(ttl) };
        // One that was granted without our knowledge ends by itself: a lost answer has done nothing.
        let granted: LeaseGrantResponse = members
            .repeat(GRANT, wanted)
            .await
            .map_err(|failure| failure.error(None))?;
        let lease = Lease {
            id: granted.id,
            ends: now + Duration::from_secs(granted.ttl.unsigned_abs()),
            records: 1,
        };
        last.retain(|_, lease| lease.ends > now);
        last.insert(ttl, lease);
        Ok(lease.id)
    }

    /// Takes another lease for the one that there is.
    #[cfg(test)]
    pub(crate) async fn replace(&self, ttl: Duration, id: i64) {
        if let Some(lease) = self.last.lock().await.get_mut(&ttl) {
            lease.id = id;
        }
    }

    /// Forgets leases that etcd doesn't know.
    pub(crate) async fn forget(&self, ids: &[i64]) {
        self.last.lock().await.retain(|_, lease| !ids.contains(&lease.id));
    }
}

impl Lease {
    /// Whether a record that is to live for `ttl` can be put on it: it lasts long enough, has few enough, and was granted
    /// for this ttl, so that it never lasts too long.
    pub(crate) fn fits(&self, now: Instant, ttl: Duration) -> bool {
        self.records < MOST && now + ttl + MARGIN <= self.ends
    }
}

/// How long a lease for a ttl is granted: a twentieth more, so that later records can share it.
pub(crate) fn seconds(ttl: Duration) -> i64 {
    let slack = (ttl / 20).min(SLACK);
    let all = ttl + slack + MARGIN;
    let whole = all.as_secs() + u64::from(all.subsec_nanos() > 0);
    i64::try_from(whole).unwrap_or(i64::MAX)
}
