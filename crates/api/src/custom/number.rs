//! Checks of numbers: the range of their format, the schema's bounds, and multiples.

use meta::FieldError;
use serde_json::{Number, Value};

use super::structural::{Checks, Kind, Node};
use super::validate::Walk;

/// Everything that is wrong with a number.
pub(super) fn check(walk: &Walk<'_>, node: &Node, checks: &Checks, number: &Number, place: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let value = number.as_f64().unwrap_or_default();
    let is_whole = !number.is_f64();
    let invalid = |why: String| FieldError::invalid(walk.path(place), Value::Number(number.clone()), why);
    if let Some((kind, format)) = out_of_range(node, checks, value) {
        let format = match format {
            "" => "(default format)".to_owned(),
            format => format!("with format {format}"),
        };
        let why = format!("Checked value must be of type {kind} {format} in {place}");
        errors.push(FieldError::invalid(walk.whole(), "", why));
    }
    if let Some(factor) = checks.multiple_of {
        let times = if factor < 1.0 && !is_whole {
            1.0 / factor * value
        } else {
            value / factor
        };
        let fits = match (is_whole, number.as_i64()) {
            (true, Some(value)) if factor >= 1.0 => value % (factor as i64) == 0,
            _ => (times - times.round()).abs() < 1e-9 * times.abs().max(1.0),
        };
        if !fits {
            errors.push(invalid(format!(
                "{place} in body should be a multiple of {}",
                shown(factor, is_whole)
            )));
        }
    }
    if let Some(least) = checks.minimum {
        let exclusive = checks.exclusive_minimum;
        if value < least || (exclusive && value <= least) {
            let words = if exclusive {
                "greater than"
            } else {
                "greater than or equal to"
            };
            errors.push(invalid(format!(
                "{place} in body should be {words} {}",
                shown(least, is_whole)
            )));
        }
    }
    if let Some(most) = checks.maximum {
        let exclusive = checks.exclusive_maximum;
        if value > most || (exclusive && value >= most) {
            let words = if exclusive {
                "less than"
            } else {
                "less than or equal to"
            };
            errors.push(invalid(format!(
                "{place} in body should be {words} {}",
                shown(most, is_whole)
            )));
        }
    }
    errors
}

fn out_of_range(node: &Node, checks: &Checks, value: f64) -> Option<(&'static str, &'static str)> {
    if node.int_or_string {
        return None;
    }
    match (node.kind?, checks.format.as_str()) {
        (Kind::Integer, "int32") => {
            (value < f64::from(i32::MIN) || value > f64::from(i32::MAX)).then_some(("integer", "int32"))
        }
        (Kind::Integer, format) => {
            let format = if format == "int64" { "int64" } else { "" };
            (value.abs() > i64::MAX as f64).then_some(("integer", format))
        }
        (Kind::Number, "float") => (value.abs() > f64::from(f32::MAX)).then_some(("number", "float")),
        _ => None,
    }
}

/// A bound as Go prints it: as a whole number beside one.
fn shown(bound: f64, is_whole: bool) -> String {
    if is_whole || (bound.fract() == 0.0 && bound.abs() < 1e21) {
        format!("{}", bound as i64)
    } else {
        bound.to_string()
    }
}
