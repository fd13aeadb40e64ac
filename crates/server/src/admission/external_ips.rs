//! DenyServiceExternalIPs: no Service takes addresses from outside that it hasn't had already.

use async_trait::async_trait;
use meta::Status;
use serde_json::Value;

use super::{Operation, Plugin, Review};

pub(crate) struct DenyServiceExternalIps;

#[async_trait]
impl Plugin for DenyServiceExternalIps {
    fn concerns(&self, review: &Review<'_>) -> bool {
        review.operation != Operation::Delete && review.is("", "services", "")
    }

    async fn validate(&self, review: &Review<'_>, service: Option<&Value>) -> Result<(), Status> {
        let Some(service) = service else { return Ok(()) };
        let list = |service: &Value| service["spec"]["externalIPs"].as_array().cloned().unwrap_or_default();
        let before = review.old.map(list).unwrap_or_default();
        if list(service).iter().all(|ip| before.contains(ip)) {
            return Ok(());
        }
        Err(review.forbidden("Use of external IPs is denied by admission control"))
    }
}
