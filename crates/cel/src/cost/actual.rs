//! What an expression costs while it runs.

use super::functions::selector;
use super::{CHECK, Estimate, LETTER, LIST, MAP, REGEX, STRUCT, scaled};
use crate::ast::Kind;
use crate::value::Value;

/// What a call has cost.
pub(crate) fn actual(function: &str, id: &str, arguments: &[Value], result: &Value) -> u64 {
    let size = |at: usize| arguments.get(at).map_or(1, Value::size);
    let letters = |size: u64| scaled(size, LETTER);
    let regex = |text: u64, pattern: u64| letters(text + 1) * scaled(pattern, REGEX);
    match (function, id) {
        ("check", _) => CHECK,
        ("fieldSelector" | "labelSelector", _) => selector(Estimate::exactly(size(1))).max,
        ("isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes", _) => {
            arguments.first().map_or(0, Value::traversal)
        }
        (_, "cidr_ip") => 1,
        (
            "url"
            | "lowerAscii"
            | "upperAscii"
            | "substring"
            | "trim"
            | "jsonpatch.escapeKey"
            | "cidr"
            | "isIP"
            | "isCIDR"
            | "ip"
            | "quantity"
            | "isQuantity"
            | "semver"
            | "isSemver",
            _,
        )
        | (_, "string_to_bytes" | "bytes_to_string" | "strings_quote" | "format") => letters(size(0)),
        ("replace" | "split" | "ip.isCanonical", _) => scaled(size(0), 2.0 * LETTER),
        ("join", _) => scaled(result.size(), 2.0 * LETTER),
        ("find" | "findAll", _) | (_, "matches") => regex(size(0), size(1)),
        ("containsIP" | "containsCIDR", _) => {
            let cidr = 4;
            let further = if function == "containsCIDR" {
                letters(cidr) + 1
            } else {
                0
            };
            let read = if id.ends_with("_string") { letters(size(1)) } else { 0 };
            letters(2 * cidr) + further + read
        }
        ("sets.contains" | "sets.intersects", _) => 1 + size(0).saturating_mul(size(1)),
        ("sets.equivalent", _) => 1 + 2 * size(0).saturating_mul(size(1)),
        ("reverse" | "slice" | "lists.range", _) => 1 + LIST + result.size(),
        ("flatten", _) => 1 + LIST + size(0),
        ("distinct" | "sort", _) => 1 + LIST + 2 * size(0).saturating_mul(size(0)),
        ("@sortByAssociatedKeys", _) => 1 + LIST + 2 * size(1).saturating_mul(size(1)),
        ("validate", _) => letters(size(1) + 1) * scaled(128, REGEX),
        (_, "starts_with_string" | "ends_with_string") => letters(size(1)),
        (_, "in_list") => size(1),
        (_, "add_string" | "add_bytes") => letters(size(0) + size(1)),
        (_, "contains_string") => letters(size(0)) * letters(size(1)),
        (_, "compare_string" | "compare_bytes" | "equals") => letters(size(0).min(size(1))),
        _ => 1,
    }
}

/// What making a list, map or struct costs.
pub(crate) const fn creation(kind: &Kind) -> u64 {
    match kind {
        Kind::List(_) => LIST,
        Kind::Map(_) => MAP,
        Kind::Struct(..) => STRUCT,
        _ => 0,
    }
}
