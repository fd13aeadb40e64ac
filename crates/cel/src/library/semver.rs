//! Semantic versions.

use std::cmp::Ordering;

use super::{Table, opaque, text};
use crate::error::Error;
use crate::types::Type;
use crate::value::{Opaque, Value};

const NAME: &str = "kubernetes.Semver";
const SEMVER: Type = Type::Opaque(NAME);

/// A version as <https://semver.org> orders them.
#[derive(Clone, Debug)]
struct Version {
    numbers: [u64; 3],
    /// Dot separated; empty for a release.
    pre: Vec<String>,
}

impl Opaque for Version {
    fn type_name(&self) -> &'static str {
        NAME
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        let other = other.downcast::<Version>();
        other.is_some_and(|other| self.order(other) == Ordering::Equal)
    }
}

impl Version {
    fn parse(text: &str) -> Result<Version, Error> {
        // What is built plays no part in the order.
        let (text, build) = text.split_once('+').unwrap_or((text, "0"));
        let (numbers, pre) = text
            .split_once('-')
            .map_or((text, None), |(numbers, pre)| (numbers, Some(pre)));
        let parts: Vec<&str> = numbers.split('.').collect();
        let [major, minor, patch] = parts[..] else {
            return Err(Error::other("No Major.Minor.Patch elements found"));
        };
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if !digits {
                return Err(Error::other(format!(
                    "Invalid character(s) found in version number {part:?}"
                )));
            }
            if part.len() > 1 && part.starts_with('0') {
                return Err(Error::other(format!(
                    "Version number must not contain leading zeroes {part:?}"
                )));
            }
            part.parse().map_err(Error::other)
        };
        let pre: Vec<String> = pre
            .map(|pre| pre.split('.').map(str::to_owned).collect())
            .unwrap_or_default();
        let fits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let leading_zero =
            |part: &String| part.len() > 1 && part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit());
        if !build.split('.').all(fits) {
            return Err(Error::other("invalid build meta data"));
        }
        if !pre.iter().all(|part| fits(part)) || pre.iter().any(leading_zero) {
            return Err(Error::other("invalid prerelease"));
        }
        Ok(Version {
            numbers: [number(major)?, number(minor)?, number(patch)?],
            pre,
        })
    }

    /// The same of what people write: with a `v`, without minor or patch, with leading zeros.
    fn parse_normalized(text: &str) -> Result<Version, Error> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (numbers, rest) = text.split_at(end);
        let mut parts: Vec<String> = numbers
            .split('.')
            .map(|part| match part.trim_start_matches('0') {
                "" if !part.is_empty() => "0".to_owned(),
                trimmed => trimmed.to_owned(),
            })
            .collect();
        if parts.len() < 3 && !rest.is_empty() {
            return Err(Error::other("short version cannot contain PreRelease/Build meta data"));
        }
        while parts.len() < 3 {
            parts.push("0".to_owned());
        }
        Version::parse(&format!("{}{rest}", parts.join(".")))
    }

    fn order(&self, other: &Version) -> Ordering {
        let numbers = self.numbers.cmp(&other.numbers);
        if numbers != Ordering::Equal {
            return numbers;
        }
        match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) => {}
        }
        for (a, b) in self.pre.iter().zip(&other.pre) {
            let order = match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        self.pre.len().cmp(&other.pre.len())
    }
}

pub(super) fn add(table: &mut Table) {
    table.global("semver", [Type::String], SEMVER, |a| {
        Version::parse(text(&a[0])?).map(Value::opaque)
    });
    table.global("semver", [Type::String, Type::Bool], SEMVER, |a| {
        parse(a).map(Value::opaque)
    });
    table.global("isSemver", [Type::String], Type::Bool, |a| {
        Ok(Value::Bool(Version::parse(text(&a[0])?).is_ok()))
    });
    table.global("isSemver", [Type::String, Type::Bool], Type::Bool, |a| {
        Ok(Value::Bool(parse(a).is_ok()))
    });
    table.method("isGreaterThan", [SEMVER, SEMVER], Type::Bool, |a| {
        Ok(Value::Bool(compare(a)? == Ordering::Greater))
    });
    table.method("isLessThan", [SEMVER, SEMVER], Type::Bool, |a| {
        Ok(Value::Bool(compare(a)? == Ordering::Less))
    });
    table.method("compareTo", [SEMVER, SEMVER], Type::Int, |a| {
        Ok(Value::Int(compare(a)? as i64))
    });
    table.method("major", [SEMVER], Type::Int, |a| number(a, 0));
    table.method("minor", [SEMVER], Type::Int, |a| number(a, 1));
    table.method("patch", [SEMVER], Type::Int, |a| number(a, 2));
}

fn parse(a: &[Value]) -> Result<Version, Error> {
    match &a[1] {
        Value::Bool(true) => Version::parse_normalized(text(&a[0])?),
        _ => Version::parse(text(&a[0])?),
    }
}

fn compare(a: &[Value]) -> Result<Ordering, Error> {
    Ok(opaque::<Version>(&a[0])?.order(opaque(&a[1])?))
}

fn number(a: &[Value], at: usize) -> Result<Value, Error> {
    let version = opaque::<Version>(&a[0])?;
    i64::try_from(version.numbers[at])
        .map(Value::Int)
        .map_err(|_| Error::Overflow("integer"))
}
