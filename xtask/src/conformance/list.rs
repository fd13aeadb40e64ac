//! The list of all conformance specs, as Kubernetes publishes it. A run may know fewer of them; none may be left out of
//! the page for that.

/// The texts of the specs in `conformance.yaml`. Of that file's YAML only what it uses is understood: quoted texts that
/// go on over lines.
pub(super) fn names(yaml: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut lines = yaml.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(first) = line.trim_start_matches([' ', '-']).strip_prefix("codename: ") else {
            continue;
        };
        let mut text = first.trim().to_string();
        while !is_whole(&text) {
            let Some(more) = lines.next() else { break };
            text.push(' ');
            text.push_str(more.trim());
        }
        names.push(unquote(&text));
    }
    names
}

fn is_whole(text: &str) -> bool {
    match text.chars().next() {
        // Two quotes in a row are one quote of the text.
        Some('\'') => text.len() > 1 && text[1..].replace("''", "").ends_with('\''),
        Some('"') => text.len() > 1 && text.ends_with('"') && !text.ends_with("\\\""),
        _ => true,
    }
}

fn unquote(text: &str) -> String {
    if let Some(inner) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return inner.replace("''", "'");
    }
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_go_on_over_lines() {
        let yaml = "\
- testname: One
  codename: '[sig-node] Pods should
    be there [Conformance]'
  description: 'codename: no'
- codename: '[sig-cli] it''s here'
  release: v1.9
- codename: \"[sig-auth] a \\\"word\\\" here\"
";
        let expected = [
            "[sig-node] Pods should be there [Conformance]",
            "[sig-cli] it's here",
            "[sig-auth] a \"word\" here",
        ];
        assert_eq!(names(yaml), expected);
    }
}
