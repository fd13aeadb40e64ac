//! What functions cost, and how large their results are: a table by the names and signatures of functions.

use super::{CHECK, Coster, Entries, Estimate, FORMAT_REGEX, LETTER, LIST, ONE, REGEX, STRUCT, UNKNOWN};
use crate::ast::{Expr, Kind, operator};
use crate::library::Overload;
use crate::types::Type;
use crate::value::Value;

impl Coster<'_> {
    /// What a function costs beside its arguments, and how large its result is, where that is known.
    #[allow(clippy::too_many_lines, reason = "a table")]
    pub(super) fn overload(
        &mut self,
        expr: &Expr,
        function: &str,
        member: bool,
        overload: &Overload,
        arguments: &[Expr],
    ) -> (Estimate, Option<Estimate>) {
        let sizes: Vec<Estimate> = arguments
            .iter()
            .map(|argument| self.size_or_unknown(argument))
            .collect();
        let first = sizes.first().copied().unwrap_or(UNKNOWN);
        let second = sizes.get(1).copied();
        let letters = |size: Estimate| size.scaled(LETTER);
        let regex = |text: Estimate, pattern: Estimate| letters(text.plus(ONE)).times(pattern.scaled(REGEX));
        match function {
            "check" => return (Estimate::exactly(CHECK), None),
            "fieldSelector" | "labelSelector" => {
                let length = second.unwrap_or(UNKNOWN);
                return (selector(length), None);
            }
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes" if member => {
                let cost = match self.checked.type_of(&arguments[0]) {
                    Type::List(of) => {
                        let mut each = ONE;
                        if matches!(**of, Type::String | Type::Bytes) {
                            each = each.plus(letters(self.element_size(&arguments[0])));
                        }
                        first.times(each)
                    }
                    _ if function == "includes" => first,
                    _ => letters(first),
                };
                return (cost, None);
            }
            "url" | "jsonpatch.escapeKey" | "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                return (letters(first), Some(first));
            }
            "replace" => return (first.scaled(2.0 * LETTER), Some(replaced(&sizes))),
            "split" => {
                let limit = arguments.get(2).and_then(|limit| match limit.kind {
                    Kind::Literal(Value::Int(limit)) => u64::try_from(limit).ok(),
                    _ => None,
                });
                let max = limit.unwrap_or(first.max);
                return (first.scaled(2.0 * LETTER), Some(Estimate { min: 0, max }));
            }
            "join" => {
                let mut size = first.times(self.element_size(&arguments[0]));
                if let Some(separator) = second {
                    size = size.plus(separator.times(Estimate {
                        min: first.min.saturating_sub(1),
                        max: first.max.saturating_sub(1),
                    }));
                }
                return (letters(size), Some(size));
            }
            "find" | "findAll" => {
                let found = Estimate { min: 0, max: first.max };
                return (regex(first, second.unwrap_or(UNKNOWN)), Some(found));
            }
            "ip" if overload.id == "cidr_ip" => return (ONE, None),
            "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
                return (letters(first), None);
            }
            "ip.isCanonical" => return (first.scaled(2.0 * LETTER), None),
            "containsIP" | "containsCIDR" => {
                let bytes = Estimate { min: 4, max: 16 };
                let mut cost = letters(bytes.plus(bytes));
                if function == "containsCIDR" {
                    cost = cost.plus(letters(bytes)).plus(ONE);
                }
                if overload.id.ends_with("_string") {
                    cost = cost.plus(letters(second.unwrap_or(UNKNOWN)));
                }
                return (cost, None);
            }
            "sets.contains" | "sets.intersects" | "sets.equivalent" => {
                let factor = if function == "sets.equivalent" { 2.0 } else { 1.0 };
                let pairs = first.times(second.unwrap_or(UNKNOWN));
                return (pairs.scaled(factor).plus(ONE), None);
            }
            "reverse" | "slice" | "flatten" | "distinct" | "sort" | "@sortByAssociatedKeys" | "lists.range" => {
                return list_made(function, overload, arguments, &sizes);
            }
            "validate" => {
                let text = second.unwrap_or(UNKNOWN);
                return (letters(text).scaled(FORMAT_REGEX * REGEX), None);
            }
            _ => {}
        }
        match overload.id {
            "format" => (letters(first), None),
            "string_to_bytes" => {
                let size = Estimate {
                    min: first.min,
                    max: first.max.saturating_mul(4),
                };
                (letters(first), Some(size))
            }
            "bytes_to_string" => {
                let size = Estimate {
                    min: first.min / 4,
                    max: first.max,
                };
                (letters(first), Some(size))
            }
            "strings_quote" => {
                let size = Estimate {
                    min: first.min.saturating_add(2),
                    max: first.max.saturating_mul(2).saturating_add(2),
                };
                (letters(first), Some(size))
            }
            "starts_with_string" | "ends_with_string" => (letters(second.unwrap_or(UNKNOWN)), None),
            "in_list" => (second.unwrap_or(UNKNOWN), None),
            "matches" => (regex(first, second.unwrap_or(UNKNOWN)), None),
            "contains_string" => (letters(first).times(letters(second.unwrap_or(UNKNOWN))), None),
            "add_string" | "add_bytes" | "add_list" => {
                let size = first.plus(second.unwrap_or(UNKNOWN));
                if let Some(entries) = Entries::or(self.entries_of(&arguments[0]), self.entries_of(&arguments[1])) {
                    self.entries.insert(expr.id, entries);
                }
                let cost = if overload.id == "add_list" { ONE } else { letters(size) };
                (cost, Some(size))
            }
            "compare_string" | "compare_bytes" | "equals" => {
                if function == operator::EQUALS && self.is_cheap_to_compare(arguments) {
                    return (ONE, None);
                }
                let max = first.max.min(second.unwrap_or(UNKNOWN).max);
                let min = u64::from(max > 0);
                (letters(Estimate { min, max }), None)
            }
            _ => (ONE, None),
        }
    }

    fn is_cheap_to_compare(&self, arguments: &[Expr]) -> bool {
        let types = arguments.iter().map(|argument| self.checked.type_of(argument));
        let all: Vec<&Type> = types.collect();
        matches!(all[..], [Type::Opaque(a), Type::Opaque(b)] if a == b)
    }
}

/// What cel-go's list functions cost: by the size of what they make, and the squares of those that compare.
fn list_made(
    function: &str,
    overload: &Overload,
    arguments: &[Expr],
    sizes: &[Estimate],
) -> (Estimate, Option<Estimate>) {
    let first = sizes.first().copied().unwrap_or(UNKNOWN);
    let written = |at: usize| match arguments.get(at).map(|argument| &argument.kind) {
        Some(Kind::Literal(Value::Int(number))) => u64::try_from(*number).ok(),
        _ => None,
    };
    let of_text = |list: &Type| matches!(list, Type::List(of) if matches!(**of, Type::String | Type::Bytes));
    let compared = |keys: Estimate, list: &Type| {
        let factor = if of_text(list) { 2.0 + LETTER } else { 2.0 };
        (factor, keys.times(keys))
    };
    let (factor, size) = match function {
        "slice" => {
            let (from, to) = (written(1).unwrap_or(0), written(2).unwrap_or(first.max));
            (1.0, Estimate::exactly(to.saturating_sub(from)))
        }
        "lists.range" => (1.0, Estimate::exactly(written(0).unwrap_or(u64::MAX))),
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        "flatten" if arguments.len() == 2 => (written(1).unwrap_or(u64::MAX) as f64, first),
        "distinct" => (2.0, first.times(first)),
        "sort" => compared(first, &overload.params[0]),
        "@sortByAssociatedKeys" => compared(sizes.get(1).copied().unwrap_or(UNKNOWN), &overload.params[1]),
        _ => (1.0, first),
    };
    (size.scaled(factor).plus(ONE).plus(Estimate::exactly(LIST)), Some(size))
}

/// A selector is read into a list of requirements, each at least two letters.
pub(super) fn selector(length: Estimate) -> Estimate {
    let requirements = length.scaled(0.5).scaled((LIST + STRUCT) as f64);
    Estimate::exactly(LIST).plus(length.scaled(LETTER)).plus(requirements)
}

/// The size of a text in which something is replaced.
#[allow(clippy::cast_precision_loss, reason = "an estimate")]
fn replaced(sizes: &[Estimate]) -> Estimate {
    let [text, from, to, ..] = sizes else { return UNKNOWN };
    let (most, kept_most) = if from.min == 0 {
        (text.max.saturating_add(1), text.max)
    } else if to.max <= from.min {
        (0, text.max)
    } else {
        (text.max.div_ceil(from.min), 0)
    };
    let (least, kept_least) = if from.max == 0 {
        (text.min.saturating_add(1), text.min)
    } else if from.max <= to.min {
        (0, text.min)
    } else {
        (text.min.div_ceil(from.max), 0)
    };
    Estimate {
        min: least.saturating_mul(to.min).saturating_add(kept_least),
        max: most.saturating_mul(to.max).saturating_add(kept_most),
    }
}
