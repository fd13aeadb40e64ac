//! What of a request is written down: an audit.k8s.io/v1 `Policy`, whose first rule that matches decides.
//!
//! <https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/#audit-k8s-io-v1-Policy>

use serde::{Deserialize, Serialize};

use crate::authz::Attributes;

/// How much is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Nothing.
    None,
    /// Who, what, when, and how it ended.
    Metadata,
    /// And the object that was sent.
    Request,
    /// And the object that was answered.
    RequestResponse,
}

/// When it is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Before anything is decided.
    RequestReceived,
    /// The head of a long answer has been sent.
    ResponseStarted,
    /// The answer is complete.
    ResponseComplete,
    /// The server failed while it answered.
    Panic,
}

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policy {
    api_version: String,
    kind: String,
    metadata: serde_json::Value,
    rules: Vec<Rule>,
    omit_stages: Vec<Stage>,
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// What a policy says of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) omit_stages: Vec<Stage>,
    pub(super) omit_managed_fields: bool,
}

impl Policy {
    /// Reads a policy from YAML or JSON.
    ///
    /// # Errors
    /// When it is none, with the field and the remedy.
    pub fn parse(text: &str) -> Result<Policy, String> {
        let policy: Policy = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if policy.kind != "Policy" || policy.api_version != "audit.k8s.io/v1" {
            return Err("apiVersion and kind: must be audit.k8s.io/v1, Policy".to_owned());
        }
        if policy.rules.is_empty() {
            return Err("rules: at least one rule is needed; without any nothing would be written down".to_owned());
        }
        for (index, rule) in policy.rules.iter().enumerate() {
            rule.check()
                .map_err(|(field, why)| format!("rules[{index}].{field}: {why}"))?;
        }
        Ok(policy)
    }

    /// What holds for a request; a request that no rule matches is not written down. A request whose user is unknown
    /// matches no rule that names users.
    pub(super) fn judge(&self, asked: &Attributes<'_>, is_known: bool) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(asked, is_known)) else {
            return Verdict {
                level: Level::None,
                omit_stages: Vec::new(),
                omit_managed_fields: false,
            };
        };
        Verdict {
            level: rule.level,
            omit_stages: self.omit_stages.iter().chain(&rule.omit_stages).copied().collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Rule {
    fn check(&self) -> Result<(), (&'static str, String)> {
        let about_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if about_resources && !self.non_resource_urls.is_empty() {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            return Err(("nonResourceURLs", why.to_owned()));
        }
        for url in self.non_resource_urls.iter().filter(|url| *url != "*") {
            if !url.starts_with('/') {
                return Err(("nonResourceURLs", format!("{url:?} must begin with \"/\"")));
            }
            if url.trim_end_matches('*').contains('*') || url.ends_with("**") {
                let why = format!("{url:?}: a wildcard \"*\" must be the last character of the path");
                return Err(("nonResourceURLs", why));
            }
        }
        for named in &self.resources {
            if named.resources.is_empty() && !named.resource_names.is_empty() {
                let why = "using resourceNames requires at least one resource";
                return Err(("resources", why.to_owned()));
            }
        }
        Ok(())
    }

    fn matches(&self, asked: &Attributes<'_>, is_known: bool) -> bool {
        let user_fits = self.users.is_empty() || (is_known && self.users.contains(&asked.user.name));
        let in_group = |group: &String| self.user_groups.contains(group);
        let group_fits = self.user_groups.is_empty() || (is_known && asked.user.groups.iter().any(in_group));
        let verb_fits = self.verbs.is_empty() || self.verbs.iter().any(|verb| verb == asked.verb);
        if !(user_fits && group_fits && verb_fits) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return asked.path.is_none() && self.matches_resource(asked);
        }
        match (self.non_resource_urls.is_empty(), asked.path) {
            (true, _) => true,
            (false, None) => false,
            (false, Some(path)) => self.non_resource_urls.iter().any(|url| match url.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => path == url,
            }),
        }
    }

    fn matches_resource(&self, asked: &Attributes<'_>) -> bool {
        if !self.namespaces.is_empty() && !self.namespaces.iter().any(|namespace| namespace == asked.namespace) {
            return false;
        }
        self.resources.is_empty() || self.resources.iter().any(|named| named.matches(asked))
    }
}

impl GroupResources {
    fn matches(&self, asked: &Attributes<'_>) -> bool {
        if self.group != asked.group {
            return false;
        }
        let name_fits = self.resource_names.is_empty() || self.resource_names.iter().any(|name| name == asked.name);
        self.resources.is_empty() || (name_fits && self.resources.iter().any(|named| fits(named, asked)))
    }
}

/// `pods` is the resource itself, `pods/log` a subresource, `pods/*` all of them, `*/scale` that of any, `*` everything.
fn fits(named: &str, asked: &Attributes<'_>) -> bool {
    match named.split_once('/') {
        None if named == "*" => true,
        None => named == asked.resource && asked.subresource.is_empty(),
        Some(("*", subresource)) => subresource == asked.subresource,
        Some((resource, "*")) => resource == asked.resource && !asked.subresource.is_empty(),
        Some((resource, subresource)) => resource == asked.resource && subresource == asked.subresource,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::User;

    const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:kube-proxy"]
  verbs: [watch]
  resources: [{group: "", resources: [endpoints]}]
- level: None
  nonResourceURLs: ["/healthz*", /version]
- level: Metadata
  resources: [{group: "", resources: [secrets, "pods/log"]}]
  omitManagedFields: true
- level: Request
  namespaces: [kube-system]
  omitStages: [ResponseStarted]
- level: RequestResponse
  userGroups: [writers]
"#;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = Policy::parse(POLICY).unwrap();
        let (proxy, writer) = (User::new("system:kube-proxy", &[]), User::new("w", &["writers"]));
        let level = |asked: Attributes<'_>| policy.judge(&asked, true).level;
        assert_eq!(
            level(Attributes::resource(&proxy, "watch", "", "endpoints")),
            Level::None
        );
        assert_eq!(
            level(Attributes::resource(&proxy, "get", "", "secrets")),
            Level::Metadata
        );
        let mut logs = Attributes::resource(&writer, "get", "", "pods");
        assert_eq!(level(logs), Level::RequestResponse);
        logs.subresource = "log";
        assert_eq!(level(logs), Level::Metadata);
        let mut health = Attributes::resource(&writer, "get", "", "");
        health.path = Some("/healthz/etcd");
        assert_eq!(level(health), Level::None);
        health.path = Some("/versions");
        assert_eq!(level(health), Level::RequestResponse);
        let mut inside = Attributes::resource(&proxy, "create", "apps", "deployments");
        assert_eq!(level(inside), Level::None);
        inside.namespace = "kube-system";
        let verdict = policy.judge(&inside, true);
        assert_eq!(verdict.level, Level::Request);
        assert_eq!(verdict.omit_stages, [Stage::RequestReceived, Stage::ResponseStarted]);
        let unknown = Attributes::resource(&writer, "create", "apps", "deployments");
        assert_eq!(policy.judge(&unknown, false).level, Level::None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
        for (text, why) in [
            ("kind: Policy\nrules: [{level: None}]", "apiVersion and kind"),
            (&format!("{head}rules: []"), "rules: at least one"),
            (&format!("{head}rules: [{{level: Everything}}]"), "Everything"),
            (
                &format!("{head}rules: [{{level: None, namespaces: [a], nonResourceURLs: [/b]}}]"),
                "rules[0].nonResourceURLs",
            ),
            (
                &format!("{head}rules: [{{level: None, nonResourceURLs: ['/a*b']}}]"),
                "wildcard",
            ),
            (&format!("{head}rules: [{{level: None, user: [a]}}]"), "user"),
        ] {
            let told = Policy::parse(text).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
