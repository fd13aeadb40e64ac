//! FlowSchemas and PriorityLevelConfigurations: how requests share the server when there are too many of them.
//!
//! The two objects without which there is no fairness (`exempt`, `catch-all`) keep the spec that Kubernetes gave them.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::{Value, json};

use super::check::Errors;
use super::column::{self, text};
use super::view::{Edit as _, View as _, same};
use super::{Column, Rules, age, form, metadata, strategy};

/// The rules of `flowcontrol.apiserver.k8s.io` `flowschemas`.
pub(crate) struct FlowSchema;
/// The rules of `flowcontrol.apiserver.k8s.io` `prioritylevelconfigurations`.
pub(crate) struct PriorityLevelConfiguration;

const VERBS: [&str; 9] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];
const LOWEST_PRECEDENCE: i64 = 10_000;
const MOST_QUEUES: i64 = 10_000_000;
/// Shuffle sharding deals queues from one hash of this many bits.
const HASH_BITS: u32 = 60;
const PRESERVE_ZERO: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";

impl Rules for FlowSchema {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        object.object("spec").or_number("matchingPrecedence", 1000);
        object.object("status");
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::start(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        schema(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        schema(object, &mut errors);
        errors.0
    }

    fn prepare_status(&self, object: &mut Value, old: &Value) {
        strategy::keep_metadata(object, old);
        strategy::keep_all_but_status(object, old);
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors(metadata::check_update(object, old));
        conditions(object, &mut errors);
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("PriorityLevel", "The priority level that the requests go to."),
            text("MatchingPrecedence", "Which schema is asked first: lower ones are."),
            text("DistinguisherMethod", "What tells the flows of the schema apart."),
            age::AGE,
            text("MissingPL", "Whether the priority level is missing or broken."),
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let conditions = object.at("status").list("conditions").iter();
        let dangling = conditions
            .filter(|condition| condition.text("type") == "Dangling")
            .map(|condition| condition.text("status"))
            .next();
        vec![
            column::name(object),
            spec.at("priorityLevelConfiguration").text("name").into(),
            column::number(spec, "matchingPrecedence"),
            column::or(spec.at("distinguisherMethod").text("type"), "<none>").into(),
            age::cell(object, now),
            dangling.unwrap_or("?").into(),
        ]
    }
}

fn schema(object: &Value, errors: &mut Errors) {
    let (spec, at) = (object.at("spec"), Path::new("spec"));
    let name = object.at("metadata").text("name");
    precedence(spec, name, &at, errors);
    if spec.has("distinguisherMethod") {
        let kind = spec.at("distinguisherMethod").text("type");
        let at = at.child("distinguisherMethod");
        errors.one_of(&at.child("type"), kind, &["ByNamespace", "ByUser"]);
    }
    let level = spec.at("priorityLevelConfiguration").text("name");
    let level_at = at.child("priorityLevelConfiguration");
    if level.is_empty() {
        errors.required(&level_at.child("name"), "must reference a priority level");
    } else {
        errors.form(&level_at.child("name"), level, form::dns_subdomain);
    }
    let rules = at.child("rules");
    for (index, rule) in spec.list("rules").iter().enumerate() {
        policy(rule, &rules.index(index), errors);
    }
    if let Some(fixed) = mandatory_schema(name)
        && !same(spec, &fixed)
    {
        let detail = format!("spec of '{name}' must equal the fixed value");
        errors.invalid(&at, spec.clone(), &detail);
    }
    conditions(object, errors);
}

fn precedence(spec: &Value, name: &str, at: &Path<'_>, errors: &mut Errors) {
    let (value, at) = (
        spec.int("matchingPrecedence").unwrap_or(0),
        at.child("matchingPrecedence"),
    );
    if value <= 0 {
        errors.invalid(&at, value, "must be a positive value");
    }
    if value > LOWEST_PRECEDENCE {
        errors.invalid(&at, value, &format!("must not be greater than {LOWEST_PRECEDENCE}"));
    }
    if value == 1 && name != "exempt" {
        errors.invalid(
            &at,
            value,
            "only the schema named 'exempt' may have matchingPrecedence 1",
        );
    }
}

fn policy(rule: &Value, at: &Path<'_>, errors: &mut Errors) {
    let subjects = at.child("subjects");
    if rule.list("subjects").is_empty() {
        errors.required(&subjects, "subjects must contain at least one value");
    }
    for (index, one) in rule.list("subjects").iter().enumerate() {
        subject(one, &subjects.index(index), errors);
    }
    let (resources, urls) = (rule.list("resourceRules"), rule.list("nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        errors.required(
            at,
            "at least one of resourceRules and nonResourceRules has to be non-empty",
        );
    }
    for (index, one) in resources.iter().enumerate() {
        resource_rule(one, &at.child("resourceRules").index(index), errors);
    }
    for (index, one) in urls.iter().enumerate() {
        url_rule(one, &at.child("nonResourceRules").index(index), errors);
    }
}

fn subject(subject: &Value, at: &Path<'_>, errors: &mut Errors) {
    const KINDS: [(&str, &str); 3] = [
        ("ServiceAccount", "serviceAccount"),
        ("User", "user"),
        ("Group", "group"),
    ];
    let kind = subject.text("kind");
    let Some((_, field)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        errors.not_supported(&at.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
        return;
    };
    let who = at.child(field);
    if subject.has(field) {
        named(subject.at(field), kind == "ServiceAccount", &who, errors);
    } else {
        errors.required(&who, &format!("{field} is required when subject kind is '{kind}'"));
    }
    for (other, field) in KINDS.iter().filter(|(known, _)| *known != kind) {
        if subject.has(field) {
            let detail = format!("{field} is forbidden when subject kind is not '{other}'");
            errors.forbidden(&at.child(field), &detail);
        }
    }
}

fn named(subject: &Value, account: bool, at: &Path<'_>, errors: &mut Errors) {
    let name = subject.text("name");
    if name.is_empty() {
        errors.required(&at.child("name"), "");
    } else if account && name != "*" {
        errors.form(&at.child("name"), name, form::dns_subdomain);
    }
    if !account {
        return;
    }
    let namespace = subject.text("namespace");
    if namespace.is_empty() {
        errors.required(&at.child("namespace"), "must specify namespace for service account");
    } else {
        errors.form(&at.child("namespace"), namespace, form::dns_label);
    }
}

/// A list that is needed, and that holds either `*` alone or none.
fn star_alone<'a>(
    rule: &'a Value,
    name: &str,
    (missing, others): (&str, &str),
    at: &Path<'_>,
    errors: &mut Errors,
) -> &'a [Value] {
    let (list, at) = (rule.list(name), at.child(name));
    if list.is_empty() {
        errors.required(&at, missing);
    } else if is_star(list) {
        if list.len() > 1 {
            let detail = format!("if '*' is present, must not specify other {others}");
            errors.invalid(&at, rule.at(name).clone(), &detail);
        }
        return &[];
    }
    list
}

fn is_star(list: &[Value]) -> bool {
    list.iter().any(|item| item == "*")
}

fn verbs(rule: &Value, at: &Path<'_>, errors: &mut Errors) {
    let list = star_alone(
        rule,
        "verbs",
        ("verbs must contain at least one value", "verbs"),
        at,
        errors,
    );
    let known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if !list.iter().all(known) {
        let at = at.child("verbs");
        errors
            .0
            .push(FieldError::not_supported(at, rule.at("verbs").clone(), &VERBS));
    }
}

fn resource_rule(rule: &Value, at: &Path<'_>, errors: &mut Errors) {
    verbs(rule, at, errors);
    let missing = "resource rules must supply at least one api group";
    star_alone(rule, "apiGroups", (missing, "api groups"), at, errors);
    let missing = "resource rules must supply at least one resource";
    star_alone(rule, "resources", (missing, "resources"), at, errors);
    if rule.is("clusterScope") && rule.list("namespaces").is_empty() {
        return;
    }
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    let namespaces = star_alone(rule, "namespaces", (missing, "namespaces"), at, errors);
    for (index, namespace) in namespaces.iter().enumerate() {
        let namespace = namespace.as_str().unwrap_or_default();
        for reason in form::dns_label(namespace) {
            let detail = format!("each member of this list must be '*' or a DNS-1123 label; {reason}");
            errors.invalid(&at.child("namespaces").index(index), namespace, &detail);
        }
    }
}

fn url_rule(rule: &Value, at: &Path<'_>, errors: &mut Errors) {
    verbs(rule, at, errors);
    let missing = "nonResourceURLs must contain at least one value";
    let urls = star_alone(rule, "nonResourceURLs", (missing, "non-resource URLs"), at, errors);
    for (index, url) in urls.iter().enumerate() {
        let url = url.as_str().unwrap_or_default();
        if let Some(reason) = not_a_url(url) {
            errors.invalid(&at.child("nonResourceURLs").index(index), url, reason);
        }
    }
}

fn not_a_url(path: &str) -> Option<&'static str> {
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !path.starts_with('/') => Some("must start with slash"),
        _ if path.contains(' ') => Some("must not contain white-space"),
        _ if path.contains("//") => Some("must not contain double slash"),
        _ => match path.matches('*').count() {
            0 => None,
            1 if path.ends_with("/*") => None,
            _ => Some("wildcard can only do suffix matching"),
        },
    }
}

fn conditions(object: &Value, errors: &mut Errors) {
    let at = Path::new("status");
    let at = at.child("conditions");
    let mut seen: Vec<&str> = Vec::new();
    for (index, condition) in object.at("status").list("conditions").iter().enumerate() {
        let (kind, at) = (condition.text("type"), at.index(index));
        if seen.contains(&kind) {
            errors.duplicate(&at.child("type"), kind);
        }
        seen.push(kind);
        if kind.is_empty() {
            errors.required(&at.child("type"), "");
        }
    }
}

/// The spec of a schema that can't be changed.
fn mandatory_schema(name: &str) -> Option<Value> {
    let everything = |groups: &[&str]| {
        let subjects = groups
            .iter()
            .map(|name| json!({"kind": "Group", "group": {"name": name}}));
        json!([{
            "subjects": subjects.collect::<Vec<_>>(),
            "resourceRules": [{
                "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"],
            }],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }])
    };
    match name {
        "exempt" => Some(json!({
            "priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": 1,
            "rules": everything(&["system:masters"]),
        })),
        "catch-all" => Some(json!({
            "priorityLevelConfiguration": {"name": "catch-all"}, "matchingPrecedence": 10_000,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": everything(&["system:unauthenticated", "system:authenticated"]),
        })),
        _ => None,
    }
}

impl Rules for PriorityLevelConfiguration {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        object.object("status");
        let spec = object.object("spec");
        if let Some(exempt) = spec.there("exempt") {
            exempt.or("nominalConcurrencyShares", 0);
            exempt.or("lendablePercent", 0);
        }
        let Some(limited) = spec.there("limited") else { return };
        limited.or("nominalConcurrencyShares", 30);
        limited.or("lendablePercent", 0);
        if let Some(queuing) = limited.object("limitResponse").there("queuing") {
            queuing.or_number("handSize", 8);
            queuing.or_number("queues", 64);
            queuing.or_number("queueLengthLimit", 50);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::start(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        level(object, &mut errors);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        level(object, &mut errors);
        errors.0
    }

    fn prepare_status(&self, object: &mut Value, old: &Value) {
        strategy::keep_metadata(object, old);
        strategy::keep_all_but_status(object, old);
    }

    fn validate_status(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors(metadata::check_update(object, old));
        conditions(object, &mut errors);
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Type", "Whether requests of the level are limited."),
            text("NominalConcurrencyShares", "The level's share of the server's seats."),
            text("Queues", "How many queues the level has."),
            text("HandSize", "How many queues each flow is dealt."),
            text("QueueLengthLimit", "How many requests may wait in a queue."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let limited = spec.at("limited");
        let queuing = limited.at("limitResponse").at("queuing");
        let shown = |of: &Value, key: &str| match of {
            Value::Null => Value::from("<none>"),
            of => column::number(of, key),
        };
        vec![
            column::name(object),
            spec.text("type").into(),
            shown(limited, "nominalConcurrencyShares"),
            shown(queuing, "queues"),
            shown(queuing, "handSize"),
            shown(queuing, "queueLengthLimit"),
            age::cell(object, now),
        ]
    }
}

fn level(object: &Value, errors: &mut Errors) {
    if object.at("metadata").at("annotations").has(PRESERVE_ZERO) {
        let at = Path::new("metadata");
        errors.forbidden(
            &at.child("annotations"),
            &format!("annotation '{PRESERVE_ZERO}' is forbidden"),
        );
    }
    let (spec, at) = (object.at("spec"), Path::new("spec"));
    let name = object.at("metadata").text("name");
    let kind = spec.text("type");
    if (name == "exempt") != (kind == "Exempt") {
        let detail = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.invalid(&at.child("type"), kind, detail);
    }
    match kind {
        "" => errors.required(&at.child("type"), ""),
        "Exempt" => {
            if spec.has("limited") {
                errors.forbidden(&at.child("limited"), "must be nil if the type is not Limited");
            }
            exempt(spec.at("exempt"), &at.child("exempt"), errors);
        }
        "Limited" => {
            if spec.has("exempt") {
                errors.forbidden(&at.child("exempt"), "must be nil if the type is Limited");
            }
            if spec.has("limited") {
                limited(spec.at("limited"), &at.child("limited"), errors);
            } else {
                errors.required(&at.child("limited"), "must not be empty when type is Limited");
            }
        }
        _ => errors.not_supported(&at.child("type"), kind, &["Exempt", "Limited"]),
    }
    mandatory_level(spec, name, &at, errors);
    conditions(object, errors);
}

/// `exempt` may be tuned in its own field only, `catch-all` not at all.
fn mandatory_level(spec: &Value, name: &str, at: &Path<'_>, errors: &mut Errors) {
    let tuned = json!({"type": "Exempt", "exempt": spec.at("exempt")});
    let fixed = json!({"type": "Limited", "limited": {
        "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"},
    }});
    let detail = match name {
        "exempt" if !same(spec, &tuned) => "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value",
        "catch-all" if !same(spec, &fixed) => "spec of 'catch-all' must equal the fixed value",
        _ => return,
    };
    errors.invalid(at, spec.clone(), detail);
}

fn exempt(exempt: &Value, at: &Path<'_>, errors: &mut Errors) {
    shares(exempt, at, errors);
    percent(exempt, at, errors);
}

fn limited(limited: &Value, at: &Path<'_>, errors: &mut Errors) {
    shares(limited, at, errors);
    let (response, response_at) = (limited.at("limitResponse"), at.child("limitResponse"));
    let queues = response_at.child("queuing");
    match response.text("type") {
        "" => errors.required(&response_at.child("type"), ""),
        "Reject" if response.has("queuing") => {
            errors.forbidden(&queues, "must be nil if limited.limitResponse.type is not Limited");
        }
        "Reject" => {}
        "Queue" if response.has("queuing") => queuing(response.at("queuing"), &queues, errors),
        "Queue" => errors.required(&queues, "must not be empty if limited.limitResponse.type is Limited"),
        other => errors.not_supported(&response_at.child("type"), other, &["Queue", "Reject"]),
    }
    percent(limited, at, errors);
    if let Some(most) = limited.int("borrowingLimitPercent").filter(|most| *most < 0) {
        let detail = "if specified, must be a non-negative integer";
        errors.invalid(&at.child("borrowingLimitPercent"), most, detail);
    }
}

fn shares(of: &Value, at: &Path<'_>, errors: &mut Errors) {
    if let Some(shares) = of.int("nominalConcurrencyShares").filter(|shares| *shares < 0) {
        let at = at.child("nominalConcurrencyShares");
        errors.invalid(&at, shares, "must be a non-negative integer");
    }
}

fn percent(of: &Value, at: &Path<'_>, errors: &mut Errors) {
    if let Some(percent) = of.int("lendablePercent") {
        errors.in_range(&at.child("lendablePercent"), percent, 0, 100);
    }
}

fn queuing(queuing: &Value, at: &Path<'_>, errors: &mut Errors) {
    let number = |key: &str| queuing.int(key).unwrap_or(0);
    let (length, queues, hand) = (number("queueLengthLimit"), number("queues"), number("handSize"));
    if length <= 0 {
        errors.invalid(&at.child("queueLengthLimit"), length, "must be positive");
    }
    if queues <= 0 {
        errors.invalid(&at.child("queues"), queues, "must be positive");
    } else if queues > MOST_QUEUES {
        let detail = format!("must not be greater than {MOST_QUEUES}");
        errors.invalid(&at.child("queues"), queues, &detail);
    }
    let at = at.child("handSize");
    if hand <= 0 {
        errors.invalid(&at, hand, "must be positive");
    } else if hand > queues {
        errors.invalid(&at, hand, &format!("should not be greater than queues ({queues})"));
    } else {
        let bits = entropy_bits(queues, hand);
        if bits > HASH_BITS {
            let detail = format!(
                "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {HASH_BITS}"
            );
            errors.invalid(&at, hand, &detail);
        }
    }
}

/// How many bits of a hash it takes, at most, to deal `hand` cards from a deck.
fn entropy_bits(deck: i64, hand: i64) -> u32 {
    #[expect(clippy::cast_precision_loss, reason = "decks are at most 10^7")]
    let bits = (deck as f64).log2() * hand as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it saturates, far above the bound"
    )]
    let whole = bits.ceil() as u32;
    whole
}
