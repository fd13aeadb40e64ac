//! What webhooks and policies match a request by: rules about resources, and selectors of namespaces and objects.

mod request;
mod rule;
mod version;

use std::sync::Arc;

use meta::labels::Selector;
use meta::{GroupResource, ObjectKey, Status};
use serde_json::Value;

use super::{Operation, Review};
use crate::kinds::Kind;

pub(crate) use request::{body, request, scope};
pub(crate) use rule::{Rule, rules};
pub(crate) use version::shape;

/// In which version of its resource a request was matched.
#[derive(Clone)]
pub(crate) enum Matched {
    /// That of the request.
    Own,
    /// Another one, which the rules name.
    Other(Arc<Kind>),
}

impl Matched {
    /// The kind in that version.
    pub(crate) fn kind<'a>(&'a self, review: &Review<'a>) -> &'a Kind {
        match self {
            Matched::Own => review.kind,
            Matched::Other(kind) => kind,
        }
    }
}

/// Compiled criteria.
pub(crate) struct Criteria {
    pub(crate) rules: Vec<Rule>,
    pub(crate) excluded: Vec<Rule>,
    /// Whether no rules mean everything.
    pub(crate) open: bool,
    /// Whether other versions of the same resource count.
    pub(crate) equivalent: bool,
    pub(crate) namespaces: Selector,
    pub(crate) objects: Selector,
}

impl Criteria {
    /// Those of a webhook.
    pub(crate) fn of_webhook(hook: &Value) -> Criteria {
        Criteria::new(hook, "rules", false)
    }

    /// Those of a policy or of a binding.
    pub(crate) fn of_policy(matching: &Value) -> Criteria {
        Criteria::new(matching, "resourceRules", true)
    }

    fn new(owner: &Value, list: &str, open: bool) -> Criteria {
        // What validation let pass can be read; what an older version stored and can't be read selects nothing.
        let selector = |key: &str| match owner.get(key) {
            Some(selector) => Selector::from_label_selector(Some(selector)).unwrap_or_else(|_| Selector::nothing()),
            None => Selector::everything(),
        };
        Criteria {
            rules: rules(&owner[list]),
            excluded: rules(&owner["excludeResourceRules"]),
            open,
            equivalent: owner["matchPolicy"] == "Equivalent",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// Whether a request is meant, and in which version.
    pub(crate) async fn matches(&self, review: &Review<'_>, object: Option<&Value>) -> Result<Option<Matched>, Status> {
        let Some(matched) = self.by_rules(review) else {
            return Ok(None);
        };
        if !self.by_object(review, object) {
            return Ok(None);
        }
        Ok(self.by_namespace(review, object).await?.then_some(matched))
    }

    fn by_rules(&self, review: &Review<'_>) -> Option<Matched> {
        if self.any(&self.excluded, review).is_some() {
            return None;
        }
        if self.open && self.rules.is_empty() {
            return Some(Matched::Own);
        }
        self.any(&self.rules, review)
    }

    fn any(&self, rules: &[Rule], review: &Review<'_>) -> Option<Matched> {
        if rules.iter().any(|rule| rule.matches(review, review.kind)) {
            return Some(Matched::Own);
        }
        if !self.equivalent || !rules.iter().any(|rule| rule.could_match(review)) {
            return None;
        }
        let siblings = review.core.kinds.now().siblings(review.kind);
        let pairs = rules
            .iter()
            .flat_map(|rule| siblings.iter().map(move |kind| (rule, kind)));
        let mut found = pairs.filter(|(rule, kind)| rule.matches(review, kind));
        found.next().map(|(_, kind)| Matched::Other(Arc::clone(kind)))
    }

    fn by_object(&self, review: &Review<'_>, object: Option<&Value>) -> bool {
        let selected = |object: &Value| self.objects.matches(&object["metadata"]["labels"]);
        self.objects.is_everything() || object.is_some_and(selected) || review.old.is_some_and(selected)
    }

    async fn by_namespace(&self, review: &Review<'_>, object: Option<&Value>) -> Result<bool, Status> {
        let of_namespaces = review.kind.resource.resource == "namespaces";
        if self.namespaces.is_everything() || (review.space().is_empty() && !of_namespaces) {
            return Ok(true);
        }
        let itself =
            review.is("", "namespaces", "") && matches!(review.operation, Operation::Create | Operation::Update);
        if let Some(object) = object.filter(|_| itself) {
            return Ok(self.namespaces.matches(&object["metadata"]["labels"]));
        }
        let namespace = namespace(review).await?;
        Ok(self.namespaces.matches(&namespace["metadata"]["labels"]))
    }
}

/// The namespace that a request is in.
pub(crate) async fn namespace(review: &Review<'_>) -> Result<Value, Status> {
    let name = review.space();
    let key = ObjectKey::cluster(name);
    if let Some(namespace) = review.core.cached_tree("", "namespaces", &key) {
        return Ok(namespace);
    }
    // It may have been made a moment ago.
    let found = review.core.fresh_tree("", "namespaces", &key).await?;
    found.ok_or_else(|| Status::not_found(&GroupResource::new("", "namespaces"), name))
}

/// Whether nobody's webhook or policy is asked: their own configurations, and questions about who may do what.
pub(crate) fn is_exempt(review: &Review<'_>) -> bool {
    match review.kind.resource.group.as_str() {
        "admissionregistration.k8s.io" => true,
        "authentication.k8s.io" | "authorization.k8s.io" => review.kind.cache().is_err(),
        _ => false,
    }
}
