//! Which schema a request matches, and which level it goes to. Pure.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use http::HeaderValue;
use serde_json::Value;

use crate::authz::Attributes;
use crate::object::{self, text};

use super::level::{Bounds, Level};
use super::{Limits, SEATS};

/// Compiled schemas, in the order in which they are asked, and the levels.
#[derive(Default)]
pub(crate) struct Plan {
    schemas: Vec<Schema>,
    levels: HashMap<String, Arc<Target>>,
}

pub(crate) struct Schema {
    pub(crate) header: HeaderValue,
    name: String,
    precedence: i64,
    by: By,
    rules: Vec<Rule>,
    level: Arc<Target>,
}

/// A level as schemas point to it.
pub(crate) struct Target {
    pub(crate) header: HeaderValue,
    /// None: the level is exempt.
    pub(crate) limits: Option<Limits>,
}

/// What tells flows apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    User,
    Namespace,
    Nothing,
}

struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    urls: Vec<UrlRule>,
}

enum Subject {
    User(String),
    Group(String),
    /// Namespace and name, or all of the namespace.
    Account(String, Option<String>),
}

struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    cluster: bool,
}

struct UrlRule {
    verbs: Vec<String>,
    urls: Vec<String>,
}

/// A request's schema and level.
pub(crate) struct Found<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) level: &'a Target,
}

impl Found<'_> {
    /// The flow's hash, by which it is dealt its queues.
    pub(crate) fn flow(&self, asked: &Attributes<'_>) -> u64 {
        let mut hash = DefaultHasher::new();
        self.schema.name.hash(&mut hash);
        match self.schema.by {
            By::User => asked.user.name.hash(&mut hash),
            By::Namespace => asked.namespace.hash(&mut hash),
            By::Nothing => {}
        }
        hash.finish()
    }
}

impl Plan {
    /// Compiles objects. Levels that were there keep their seats and who waits for them.
    pub(crate) fn compile(schemas: &[Value], levels: &[Value], before: &Plan) -> Plan {
        let shares = |level: &Value| {
            let spec = &level["spec"];
            let of = if spec["limited"].is_object() {
                "limited"
            } else {
                "exempt"
            };
            spec[of]["nominalConcurrencyShares"].as_u64().unwrap_or(0)
        };
        let total = levels.iter().map(shares).sum::<u64>().max(1);
        let mut targets = HashMap::new();
        for level in levels {
            let name = object::name(level).to_owned();
            let limits = level["spec"]["limited"].as_object().map(|_| {
                let seats = (u64::from(SEATS) * shares(level)).div_ceil(total);
                let bounds = bounds(&level["spec"]["limited"], u32::try_from(seats).unwrap_or(SEATS));
                match before.levels.get(&name).and_then(|old| old.limits.clone()) {
                    Some(old) => {
                        old.rebound(bounds);
                        old
                    }
                    None => Level::new(bounds),
                }
            });
            let header = uid(level);
            targets.insert(name, Arc::new(Target { header, limits }));
        }
        let mut compiled: Vec<Schema> = schemas.iter().filter_map(|one| schema(one, &targets)).collect();
        compiled.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        Plan {
            schemas: compiled,
            levels: targets,
        }
    }

    /// The first schema that matches.
    pub(crate) fn classify(&self, asked: &Attributes<'_>) -> Option<Found<'_>> {
        let schema = self.schemas.iter().find(|schema| schema.matches(asked))?;
        Some(Found {
            schema,
            level: &schema.level,
        })
    }
}

fn bounds(limited: &Value, seats: u32) -> Bounds {
    let queuing = &limited["limitResponse"]["queuing"];
    let number = |key: &str| queuing[key].as_u64().and_then(|value| usize::try_from(value).ok());
    Bounds {
        seats,
        queues: number("queues").unwrap_or(0),
        hand: number("handSize").unwrap_or(0),
        length: number("queueLengthLimit").unwrap_or(0),
    }
}

fn uid(object: &Value) -> HeaderValue {
    HeaderValue::from_str(text(object, &["metadata", "uid"])).unwrap_or(HeaderValue::from_static(""))
}

/// A schema whose level isn't there catches nothing.
fn schema(object: &Value, levels: &HashMap<String, Arc<Target>>) -> Option<Schema> {
    let spec = &object["spec"];
    let level = levels.get(text(spec, &["priorityLevelConfiguration", "name"]))?;
    Some(Schema {
        header: uid(object),
        name: object::name(object).to_owned(),
        precedence: spec["matchingPrecedence"].as_i64().unwrap_or(0),
        by: match text(spec, &["distinguisherMethod", "type"]) {
            "ByUser" => By::User,
            "ByNamespace" => By::Namespace,
            _ => By::Nothing,
        },
        rules: items(&spec["rules"]).map(rule).collect(),
        level: Arc::clone(level),
    })
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> Vec<String> {
    items(value)
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn rule(rule: &Value) -> Rule {
    let resources = items(&rule["resourceRules"]).map(|rule| ResourceRule {
        verbs: texts(&rule["verbs"]),
        groups: texts(&rule["apiGroups"]),
        resources: texts(&rule["resources"]),
        namespaces: texts(&rule["namespaces"]),
        cluster: rule["clusterScope"].as_bool().unwrap_or(false),
    });
    let urls = items(&rule["nonResourceRules"]).map(|rule| UrlRule {
        verbs: texts(&rule["verbs"]),
        urls: texts(&rule["nonResourceURLs"]),
    });
    Rule {
        subjects: items(&rule["subjects"]).filter_map(subject).collect(),
        resources: resources.collect(),
        urls: urls.collect(),
    }
}

fn subject(subject: &Value) -> Option<Subject> {
    let name = |kind: &str| text(subject, &[kind, "name"]).to_owned();
    Some(match text(subject, &["kind"]) {
        "User" => Subject::User(name("user")),
        "Group" => Subject::Group(name("group")),
        "ServiceAccount" => {
            let namespace = text(subject, &["serviceAccount", "namespace"]).to_owned();
            Subject::Account(namespace, Some(name("serviceAccount")).filter(|name| name != "*"))
        }
        _ => return None,
    })
}

impl Schema {
    fn matches(&self, asked: &Attributes<'_>) -> bool {
        self.rules.iter().any(|rule| rule.matches(asked))
    }
}

impl Rule {
    fn matches(&self, asked: &Attributes<'_>) -> bool {
        if !self.subjects.iter().any(|subject| subject.is(asked)) {
            return false;
        }
        match asked.path {
            Some(path) => self.urls.iter().any(|rule| rule.matches(asked.verb, path)),
            None => self.resources.iter().any(|rule| rule.matches(asked)),
        }
    }
}

impl Subject {
    fn is(&self, asked: &Attributes<'_>) -> bool {
        match self {
            Subject::User(name) => name == "*" || *name == asked.user.name,
            Subject::Group(name) => name == "*" || asked.user.is_in(name),
            Subject::Account(namespace, name) => asked
                .user
                .as_service_account()
                .is_some_and(|(its, it)| its == namespace && name.as_ref().is_none_or(|name| name == it)),
        }
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl ResourceRule {
    fn matches(&self, asked: &Attributes<'_>) -> bool {
        let place = match asked.namespace {
            "" => self.cluster,
            namespace => has(&self.namespaces, namespace),
        };
        place && has(&self.verbs, asked.verb) && has(&self.groups, asked.group) && self.has_resource(asked)
    }

    fn has_resource(&self, asked: &Attributes<'_>) -> bool {
        if asked.subresource.is_empty() {
            return has(&self.resources, asked.resource);
        }
        let whole = |item: &String| item == "*" || item.split_once('/') == Some((asked.resource, asked.subresource));
        self.resources.iter().any(whole)
    }
}

impl UrlRule {
    fn matches(&self, verb: &str, path: &str) -> bool {
        let fits = |url: &String| match url.strip_suffix('*') {
            Some(prefix) => path.starts_with(prefix),
            None => url == path,
        };
        has(&self.verbs, verb) && self.urls.iter().any(fits)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fairness::objects;
    use crate::user::User;

    fn plan() -> Plan {
        let named = |made: Vec<crate::authz::bootstrap::Made>| -> Vec<Value> {
            let with_uid = |made: crate::authz::bootstrap::Made| {
                let mut object = made.object;
                object["metadata"]["uid"] = object["metadata"]["name"].clone();
                object
            };
            made.into_iter().map(with_uid).collect()
        };
        Plan::compile(&named(objects::schemas()), &named(objects::levels()), &Plan::default())
    }

    #[track_caller]
    fn goes_to(user: &User, verb: &str, (group, resource, namespace): (&str, &str, &str), wanted: (&str, &str)) {
        let plan = plan();
        let mut asked = Attributes::resource(user, verb, group, resource);
        asked.namespace = namespace;
        let found = plan.classify(&asked).unwrap();
        let found = (
            found.schema.header.to_str().unwrap(),
            found.level.header.to_str().unwrap(),
        );
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_default_schemas_tell_users_apart() {
        let node = User::new("system:node:a", &["system:nodes"]);
        let lease = ("coordination.k8s.io", "leases", "kube-node-lease");
        goes_to(&User::admin(), "list", ("", "pods", "default"), ("exempt", "exempt"));
        goes_to(&node, "update", lease, ("system-node-high", "node-high"));
        goes_to(&node, "get", ("", "pods", "default"), ("system-nodes", "system"));
        let account = User::service_account("shop", "web");
        goes_to(
            &account,
            "get",
            ("", "pods", "shop"),
            ("service-accounts", "workload-low"),
        );
        let own = User::service_account("kube-system", "job-controller");
        goes_to(
            &own,
            "list",
            ("batch", "jobs", ""),
            ("kube-system-service-accounts", "workload-high"),
        );
        goes_to(&own, "update", lease, ("system-leader-election", "leader-election"));
        let jane = User::new("jane", &[]);
        goes_to(&jane, "get", ("", "pods", "shop"), ("global-default", "global-default"));
    }

    #[test]
    fn probes_are_exempt() {
        let (plan, user) = (plan(), User::anonymous());
        let mut asked = Attributes::resource(&user, "get", "", "");
        asked.path = Some("/readyz");
        assert_eq!(plan.classify(&asked).unwrap().schema.name, "probes");
    }

    #[test]
    fn a_schema_without_its_level_catches_nothing() {
        let schema = json!({"metadata": {"name": "a"}, "spec": {
            "priorityLevelConfiguration": {"name": "absent"}, "matchingPrecedence": 5, "rules": [],
        }});
        assert!(Plan::compile(&[schema], &[], &Plan::default()).schemas.is_empty());
    }

    #[test]
    fn flows_are_of_users_or_namespaces() {
        let plan = plan();
        let flow = |user: &User, namespace: &str| {
            let mut asked = Attributes::resource(user, "get", "", "pods");
            asked.namespace = namespace;
            plan.classify(&asked).unwrap().flow(&asked)
        };
        let (jane, joe) = (User::new("jane", &[]), User::new("joe", &[]));
        assert_eq!(flow(&jane, "a"), flow(&jane, "b"));
        assert_ne!(flow(&jane, "a"), flow(&joe, "a"));
        let own = User::service_account("kube-system", "x");
        assert_ne!(flow(&own, "a"), flow(&own, "b"));
    }
}
