//! What a write may contain, decided with the object at hand: a chain of plug-ins, first those that change the object,
//! then those that only look at it. At the end of both stand those that people put in while the server runs: policies, then
//! webhooks.

mod always_pull;
mod certificates;
mod default_class;
mod default_toleration_seconds;
mod escalation;
mod event_rate;
mod extended_resource;
mod external_ips;
mod follow;
mod limit_ranger;
mod matching;
mod namespace_lifecycle;
mod namespace_scheduling;
mod node_restriction;
mod owner_references;
mod plugins;
mod pod_resize;
mod pod_security;
mod pod_topology;
mod policy;
mod priority;
mod quota;
mod rounds;
mod runtime_class;
mod service_account;
mod settings;
mod storage;
mod taint_nodes;
mod toleration;
mod webhook;

use async_trait::async_trait;
use meta::Status;
use serde_json::Value;

use crate::core::Core;
use crate::kinds::Kind;
use crate::rest::commit::Extra;
use crate::rest::{Call, options};
use crate::traces;
use crate::user::User;

use rounds::Rounds;

pub(crate) use follow::follow;
pub(crate) use quota::Turn;
pub use settings::{AdmissionSettings, EventLimit, EventLimitBy, PodSecuritySettings, SettingsError};
pub(crate) use webhook::GROUP;

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// A write under review.
#[derive(Clone, Copy)]
pub(crate) struct Review<'a> {
    pub(crate) call: &'a Call,
    pub(crate) core: &'a Core,
    pub(crate) user: &'a User,
    pub(crate) kind: &'a Kind,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) operation: Operation,
    pub(crate) old: Option<&'a Value>,
}

impl<'a> Review<'a> {
    /// A request to a subresource whose body is of a kind of its own.
    pub(crate) fn of_subresource(call: &'a Call, name: &'a str, operation: Operation) -> Review<'a> {
        Review {
            call,
            core: &call.core,
            user: &call.user,
            kind: &call.kind,
            namespace: call.namespace().unwrap_or_default(),
            name,
            subresource: call.subresource(),
            operation,
            old: None,
        }
    }
}

impl Review<'_> {
    /// Whether it is about a resource itself or this subresource of it.
    pub(crate) fn is(&self, group: &str, resource: &str, subresource: &str) -> bool {
        self.kind.resource.group == group && self.kind.resource.resource == resource && self.subresource == subresource
    }

    /// The namespace that it is in; a namespace counts as being in itself.
    pub(crate) fn space(&self) -> &str {
        match (self.kind.resource.group.as_str(), self.kind.resource.resource.as_str()) {
            ("", "namespaces") => self.name,
            _ => self.namespace,
        }
    }

    /// The options of the request, as an object.
    pub(crate) fn options(&self) -> Value {
        options::told(self.call, self.operation)
    }

    /// Whether nothing is to be written.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.options()["dryRun"].as_array().is_some_and(|list| !list.is_empty())
    }

    /// Tells the client something in a `Warning` header.
    pub(crate) fn warn(&self, text: String) {
        self.call.warn(text);
    }

    /// A refusal.
    pub(crate) fn forbidden(&self, why: impl std::fmt::Display) -> Status {
        Status::forbidden(&self.kind.resource, self.name, why)
    }
}

/// One plug-in.
#[async_trait]
pub(crate) trait Plugin: Send + Sync {
    /// Whether it has anything to say about this write.
    fn concerns(&self, review: &Review<'_>) -> bool;

    /// Changes the object.
    async fn mutate(&self, _review: &Review<'_>, _object: &mut Value) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses the object as it would be stored; none for deletions.
    async fn validate(&self, _review: &Review<'_>, _object: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }
}

/// The plug-ins in their order.
pub(crate) struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
    quota: Option<quota::ResourceQuota>,
    policies: policy::Policies,
    webhooks: webhook::Webhooks,
}

impl Chain {
    /// Those that are built in and switched on.
    pub(crate) fn builtin(settings: &AdmissionSettings) -> Result<Chain, SettingsError> {
        let is_on = plugins::switches(settings)?;
        let mut plugins: Vec<Box<dyn Plugin>> = plugins::ROWS
            .iter()
            .filter(|row| is_on(row))
            .filter_map(|row| row.make.map(|make| make(settings)))
            .collect();
        // No plug-ins of Kubernetes', where they are part of the resources themselves.
        plugins.push(Box::new(escalation::Escalation));
        plugins.push(Box::new(policy::ParamAccess));
        let quota = plugins::ROWS.iter().any(|row| row.name == plugins::QUOTA && is_on(row));
        Ok(Chain {
            plugins,
            quota: quota.then(quota::ResourceQuota::default),
            policies: policy::Policies::default(),
            webhooks: webhook::Webhooks::default(),
        })
    }

    /// Compiles what people have put in, as the caches have it now.
    pub(crate) fn compile(&self, core: &Core) {
        self.policies.compile(core);
        self.webhooks.compile(core);
    }

    pub(crate) async fn mutate(&self, review: &Review<'_>, object: &mut Value) -> Result<(), Status> {
        let _span = traces::enter("mutating admission");
        let mut rounds = Rounds::default();
        self.round(review, object, &mut rounds).await?;
        if rounds.wanted {
            rounds.second = true;
            self.round(review, object, &mut rounds).await?;
        }
        Ok(())
    }

    async fn round(&self, review: &Review<'_>, object: &mut Value, rounds: &mut Rounds) -> Result<(), Status> {
        for plugin in self.plugins.iter().filter(|plugin| plugin.concerns(review)) {
            plugin.mutate(review, object).await?;
        }
        self.policies.mutate(review, Some(object), rounds).await?;
        Box::pin(self.webhooks.mutate(review, Some(object), rounds)).await
    }

    pub(crate) async fn validate(&self, review: &Review<'_>, object: Option<&Value>) -> Result<(), Status> {
        let _span = traces::enter("validating admission");
        for plugin in self.plugins.iter().filter(|plugin| plugin.concerns(review)) {
            plugin.validate(review, object).await?;
        }
        self.policies.validate(review, object).await?;
        Box::pin(self.webhooks.validate(review, object)).await
    }

    /// A deletion: there is no object to change, and still the mutating ones are asked.
    pub(crate) async fn remove(&self, review: &Review<'_>) -> Result<(), Status> {
        let mut rounds = Rounds::default();
        let span = traces::enter("mutating admission");
        self.policies.mutate(review, None, &mut rounds).await?;
        self.webhooks.mutate(review, None, &mut rounds).await?;
        drop(span);
        self.validate(review, None).await
    }

    /// A request that is written nowhere, or elsewhere in another form: its body may be changed, then it is looked at.
    pub(crate) async fn pass(&self, review: &Review<'_>, body: &mut Value) -> Result<(), Status> {
        self.mutate(review, body).await?;
        self.validate(review, Some(body)).await
    }

    /// Charges the quotas of the namespace for an object that everybody else has let pass. What is to be written with it
    /// goes into `extra`; the turn is to be held until that is done.
    pub(crate) async fn charge(
        &self,
        review: &Review<'_>,
        object: &Value,
        extra: &mut Extra,
    ) -> Result<Option<Turn>, Status> {
        match &self.quota {
            Some(quota) => quota.charge(review, object, extra).await,
            None => Ok(None),
        }
    }
}
