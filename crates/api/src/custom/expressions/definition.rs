//! Whether a definition may have its rules: each is an expression that yields a bool, knows what it refers to, and costs
//! at most so much for the largest object that the schema allows.

use meta::Path;
use serde_json::Value;

use super::declare::{Sized, declare};
use super::rule::{Rule, environment};
use crate::rules::check::Errors;
use crate::rules::view::View as _;

/// What one rule may cost, and all rules of a version, by their estimates.
const EACH: u64 = 10_000_000;
const TOGETHER: u64 = 100_000_000;
/// So many of those that cost most are named.
const NAMED: usize = 4;

/// Rules that a definition can't have, by their places in it.
pub(crate) fn check_rules(schema: &Value, at: &Path<'_>, errors: &mut Errors) {
    let mut walk = Walk {
        errors,
        total: 0,
        costly: Vec::new(),
    };
    walk.schema(schema, true, Some(1), None, at);
    if walk.total > TOGETHER {
        let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        for (path, _) in &walk.costly {
            walk.errors.0.push(meta::FieldError::forbidden(path.clone(), why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let why = too_costly(what, walk.total, TOGETHER);
        walk.errors.forbidden(at, &why);
    }
}

struct Walk<'a> {
    errors: &'a mut Errors,
    total: u64,
    /// Those that cost most, by their paths.
    costly: Vec<(String, u64)>,
}

impl Walk<'_> {
    /// `count`: at most so many values can be at this place of an object; none when nothing bounds it. `uncorrelated`:
    /// the list or map around whose parts have no counterparts in an older object.
    fn schema(&mut self, schema: &Value, whole: bool, count: Option<u64>, uncorrelated: Option<&str>, at: &Path<'_>) {
        let embedded = |schema: &Value| schema.is("x-kubernetes-embedded-resource");
        let below = count.and_then(|count| Some(count.saturating_mul(factor(schema)?)));
        let here = at.to_string();
        let atomic_map = schema.text("x-kubernetes-map-type") == "atomic";
        let of_map = uncorrelated.or(atomic_map.then_some(here.as_str()));
        let properties = at.child("properties");
        for (name, of) in schema.map("properties").into_iter().flatten() {
            self.schema(of, embedded(of), below, of_map, &properties.key(name));
        }
        let values = schema.at("additionalProperties");
        if values.is_object() {
            self.schema(
                values,
                embedded(values),
                below,
                of_map,
                &at.child("additionalProperties"),
            );
        }
        let items = schema.at("items");
        if items.is_object() {
            let keyed = schema.text("x-kubernetes-list-type") == "map";
            let of_list = uncorrelated.or((!keyed).then_some(here.as_str()));
            self.schema(items, embedded(items), below, of_list, &at.child("items"));
        }
        let rules = schema.list("x-kubernetes-validations");
        if rules.is_empty() {
            return;
        }
        let list = at.child("x-kubernetes-validations");
        let Some(about) = declare(schema, whole, "selfType") else {
            return;
        };
        for (index, rule) in rules.iter().enumerate() {
            if !rule.text("rule").trim().is_empty() {
                self.rule(rule, schema, &about, count, uncorrelated, &list.index(index));
            }
        }
    }

    fn rule(
        &mut self,
        rule: &Value,
        schema: &Value,
        about: &Sized,
        count: Option<u64>,
        uncorrelated: Option<&str>,
        at: &Path<'_>,
    ) {
        let compiled = Rule::compile(rule, schema, about);
        let environment = environment(rule, about);
        let rule_at = at.child("rule");
        match &compiled.program {
            Err(why) => self.errors.invalid(&rule_at, rule.clone(), why),
            Ok(program) => {
                let each = program.estimate(&environment).max;
                let cost = each.saturating_mul(count.unwrap_or_else(|| about.most()));
                self.observe(&rule_at, "estimated rule cost", cost);
            }
        }
        let message_at = at.child("messageExpression");
        match &compiled.message_program {
            Some(Err(why)) => self.errors.invalid(&message_at, rule.clone(), why),
            Some(Ok(program)) => {
                let cost = program.estimate(&environment).max;
                self.observe(&message_at, "estimated messageExpression cost", cost);
            }
            None => {}
        }
        if let (true, Some(within)) = (compiled.uses_old, uncorrelated) {
            let why = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {within}");
            self.errors.invalid(&rule_at, rule.text("rule"), &why);
        } else if compiled.program.is_ok() && !compiled.uses_old && rule.has("optionalOldSelf") {
            let why = "may not be set if oldSelf is not used in rule";
            self.errors
                .invalid(&at.child("optionalOldSelf"), rule.is("optionalOldSelf"), why);
        }
    }

    fn observe(&mut self, at: &Path<'_>, what: &str, cost: u64) {
        if cost > EACH {
            self.errors.forbidden(at, &too_costly(what, cost, EACH));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= TOGETHER / 100 {
            self.costly.push((at.to_string(), cost));
            self.costly.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.costly.truncate(NAMED);
        }
    }
}

/// How many parts of the same schema a value has at most; none when nothing bounds it.
fn factor(schema: &Value) -> Option<u64> {
    let most = |key: &str| schema.int(key).map(|most| u64::try_from(most).unwrap_or(0));
    match schema.text("type") {
        "object" if schema.at("additionalProperties").is_null() => Some(1),
        "object" => most("maxProperties"),
        "array" => most("maxItems"),
        _ => Some(1),
    }
}

#[allow(clippy::cast_precision_loss, reason = "it is told with a digit or six")]
fn too_costly(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}
