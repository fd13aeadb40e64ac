//! The names of fields in rules: those that are no identifiers are written another way.

/// A field's name as rules write it; none when they can't.
pub(crate) fn escape(name: &str) -> Option<String> {
    if cel::is_identifier(name) && !name.contains("__") {
        return Some(name.to_owned());
    }
    let mut out = String::new();
    let mut rest = name;
    while let Some(letter) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            out.push_str("__underscores__");
            rest = after;
            continue;
        }
        match letter {
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            letter => out.push(letter),
        }
        rest = &rest[letter.len_utf8()..];
    }
    if cel::is_identifier(&out) {
        return Some(out);
    }
    let reserved = format!("__{out}__");
    // What is left is a reserved word, or begins with a digit or has letters that no name has.
    let is_word = out.chars().all(|letter| letter.is_ascii_lowercase());
    (is_word && !out.is_empty()).then_some(reserved)
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn names_are_written_as_kubernetes_does() {
        for (name, written) in [
            ("replicas", Some("replicas")),
            ("namespace", Some("__namespace__")),
            ("a.b", Some("a__dot__b")),
            ("a-b/c", Some("a__dash__b__slash__c")),
            ("a__b", Some("a__underscores__b")),
            ("1a", None),
            ("ä", None),
        ] {
            assert_eq!(escape(name).as_deref(), written, "{name}");
        }
    }
}
