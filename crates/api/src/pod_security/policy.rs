//! The policy of a namespace, from its labels.

use meta::{FieldError, Path};
use serde_json::Value;

use super::{Level, Rule, Version};

const LEVELS: &str = "must be one of privileged, baseline, restricted";
const VERSIONS: &str = "must be \"latest\" or \"v1.x\"";

/// What is refused, what is noted in the audit, and what is warned of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Refused.
    pub enforce: Rule,
    /// Noted.
    pub audit: Rule,
    /// Warned of.
    pub warn: Rule,
}

impl Policy {
    /// Whether everything is allowed without a word.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn]
            .iter()
            .all(|rule| rule.level == Level::Privileged)
    }
}

/// The policy by the labels of a namespace, and what is wrong with them. What can't be read is enforced as restricted,
/// and neither noted nor warned of.
pub fn of_labels(labels: &Value, defaults: Policy) -> (Policy, Vec<FieldError>) {
    let (mut policy, mut errors) = (defaults, Vec::new());
    let mut reader = Reader {
        labels,
        errors: &mut errors,
    };
    let enforce = reader.level("pod-security.kubernetes.io/enforce");
    match enforce {
        Some(Ok(level)) => policy.enforce.level = level,
        Some(Err(())) => policy.enforce.level = Level::Restricted,
        None => {}
    }
    reader.version(
        "pod-security.kubernetes.io/enforce-version",
        &mut policy.enforce.version,
    );
    if let Some(level) = reader.level("pod-security.kubernetes.io/audit") {
        policy.audit.level = level.unwrap_or(Level::Privileged);
    }
    reader.version("pod-security.kubernetes.io/audit-version", &mut policy.audit.version);
    let warn = reader.level("pod-security.kubernetes.io/warn");
    if let Some(level) = warn {
        policy.warn.level = level.unwrap_or(Level::Privileged);
    }
    let versioned = reader.version("pod-security.kubernetes.io/warn-version", &mut policy.warn.version);
    // Who says only what is enforced is also warned of it, where it isn't enforced: in templates.
    if warn.is_none() && matches!(enforce, Some(Ok(level)) if level > policy.warn.level) {
        policy.warn.level = policy.enforce.level;
        if !versioned {
            policy.warn.version = policy.enforce.version;
        }
    }
    (policy, errors)
}

struct Reader<'a> {
    labels: &'a Value,
    errors: &'a mut Vec<FieldError>,
}

impl Reader<'_> {
    fn text(&self, label: &str) -> Option<String> {
        Some(self.labels.get(label)?.as_str()?.to_owned())
    }

    fn wrong(&mut self, label: &str, value: &str, why: &str) {
        let labels = Path::new("metadata.labels");
        self.errors.push(FieldError::invalid(labels.key(label), value, why));
    }

    fn level(&mut self, label: &str) -> Option<Result<Level, ()>> {
        let text = self.text(label)?;
        Some(match text.as_str() {
            "privileged" => Ok(Level::Privileged),
            "baseline" => Ok(Level::Baseline),
            "restricted" => Ok(Level::Restricted),
            other => {
                self.wrong(label, other, LEVELS);
                Err(())
            }
        })
    }

    /// Whether there is one.
    fn version(&mut self, label: &str, into: &mut Version) -> bool {
        let Some(text) = self.text(label) else { return false };
        *into = match parse(&text) {
            Some(version) => version,
            None => {
                self.wrong(label, &text, VERSIONS);
                Version::Latest
            }
        };
        true
    }
}

fn parse(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(Version::Latest);
    }
    let minor = text.strip_prefix("v1.")?;
    let plain = minor == "0" || !minor.starts_with('0');
    let digits = !minor.is_empty() && minor.bytes().all(|byte| byte.is_ascii_digit());
    (plain && digits)
        .then(|| minor.parse().ok().map(Version::Minor))
        .flatten()
}
