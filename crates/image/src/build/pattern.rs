//! Patterns for names: Go's `path.Match` for COPY, the shell's for `${NAME#pattern}`, and `.dockerignore`'s with `**`.
//!
//! Pure text; no file is looked at.

/// Go's `path.Match` within one path component: `*`, `?`, `[a-z]`, `[^a]` and backslash.
pub(super) fn glob(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', rest @ ..] => (0..=name.len()).any(|i| glob(rest, &name[i..])),
        ['?', rest @ ..] => !name.is_empty() && glob(rest, &name[1..]),
        ['[', rest @ ..] => one_of(rest, name).is_some_and(|rest| glob(rest, &name[1..])),
        ['\\', c, rest @ ..] | [c, rest @ ..] => name.first() == Some(c) && glob(rest, &name[1..]),
    }
}

/// The pattern behind a `[...]` that the first character is in.
fn one_of<'p>(rest: &'p [char], name: &[char]) -> Option<&'p [char]> {
    let first = *name.first()?;
    let end = rest.iter().skip(1).position(|c| *c == ']')? + 1;
    let (set, negated) = match &rest[..end] {
        ['^', set @ ..] => (set, true),
        set => (set, false),
    };
    (class(set, first) != negated).then(|| &rest[end + 1..])
}

fn class(set: &[char], c: char) -> bool {
    match set {
        [] => false,
        ['\\', one, rest @ ..] => *one == c || class(rest, c),
        [low, '-', high, rest @ ..] => (*low..=*high).contains(&c) || class(rest, c),
        [one, rest @ ..] => *one == c || class(rest, c),
    }
}

/// The shell's pattern over a whole text: `*`, `?` and backslash.
pub(super) fn shell_matches(pattern: &str, text: &str) -> bool {
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|i| matches(rest, &text[i..])),
            ['?', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
            ['\\', c, rest @ ..] | [c, rest @ ..] => text.first() == Some(c) && matches(rest, &text[1..]),
        }
    }
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    matches(&pattern, &text)
}

/// Whether a name has anything that a pattern has.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

/// Files that are left out, by the rules of `.dockerignore`: the last line that matches decides, and a line that
/// matches a directory matches all in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// Brings back what an earlier line left out.
    keeps: bool,
    pattern: Vec<char>,
}

impl Ignore {
    /// Reads a file of patterns, one a line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // Only at a line's beginning is a # a comment.
        Self::new(text.lines().filter(|line| !line.starts_with('#')))
    }

    /// Takes patterns as they are.
    pub(super) fn new<'t>(patterns: impl IntoIterator<Item = &'t str>) -> Result<Self, String> {
        let mut rules = Vec::new();
        for line in patterns {
            let line = line.trim();
            let (keeps, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            if line.is_empty() {
                continue;
            }
            if pattern.is_empty() {
                return Err("a ! must be followed by a pattern".to_string());
            }
            let clean = clean(pattern);
            check(&clean)?;
            if clean != "." {
                rules.push(Rule {
                    keeps,
                    pattern: clean.chars().collect(),
                });
            }
        }
        Ok(Self { rules })
    }

    /// Whether nothing is left out.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether something below a directory that is left out may be kept.
    pub(super) fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.keeps)
    }

    /// Whether a file, named from the context's root, is left out.
    pub(super) fn excludes(&self, path: &str) -> bool {
        let chars: Vec<char> = path.chars().collect();
        let ends: Vec<usize> = (0..chars.len())
            .filter(|i| chars[*i] == '/')
            .chain([chars.len()])
            .collect();
        let mut excluded = false;
        for rule in &self.rules {
            // A line that would change nothing needs no look.
            if rule.keeps == excluded && ends.iter().any(|end| deep(&rule.pattern, &chars[..*end])) {
                excluded = !rule.keeps;
            }
        }
        excluded
    }
}

/// As Go's `filepath.Clean`, without the slashes at both ends.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if !pattern.starts_with('/') && parts.last().is_none_or(|last| *last == "..") => parts.push(".."),
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        ".".to_string()
    } else {
        parts.join("/")
    }
}

/// A class must be closed, and something must follow a backslash.
fn check(pattern: &str) -> Result<(), String> {
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let fine = match c {
            '\\' => chars.next().is_some(),
            '[' => chars.next().is_some_and(|first| first != ']') && chars.any(|c| c == ']'),
            _ => true,
        };
        if !fine {
            return Err(format!("the pattern {pattern:?} is not complete"));
        }
    }
    Ok(())
}

/// `*` and `?` stop at slashes, `**` doesn't, and `**/` may also be nothing.
fn deep(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*'] | ['*', '*', '/'] => true,
        ['*', '*', rest @ ..] => {
            let rest = rest.strip_prefix(&['/']).unwrap_or(rest);
            let after_slash = |i: usize| i == 0 || path[i - 1] == '/';
            (0..=path.len()).any(|i| after_slash(i) && deep(rest, &path[i..]))
        }
        ['*', rest @ ..] => {
            let end = path.iter().position(|c| *c == '/').unwrap_or(path.len());
            (0..=end).any(|i| deep(rest, &path[i..]))
        }
        ['?', rest @ ..] => path.first().is_some_and(|c| *c != '/') && deep(rest, &path[1..]),
        ['[', rest @ ..] => one_of(rest, path).is_some_and(|rest| deep(rest, &path[1..])),
        ['\\', c, rest @ ..] | [c, rest @ ..] => path.first() == Some(c) && deep(rest, &path[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, name, expected) in [
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txt2", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("*", "", true),
            ("[", "[", false),
            ("é?", "éü", true),
        ] {
            let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
            assert_eq!(glob(&pattern, &name), expected, "{pattern:?} {name:?}");
        }
    }

    #[test]
    fn ignore_files() {
        for (text, path, expected) in [
            ("node_modules", "node_modules/a/b", true),
            ("node_modules", "x/node_modules", false),
            ("**/node_modules", "x/y/node_modules/z", true),
            ("**/node_modules", "node_modules", true),
            ("/build/", "build/out", true),
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md", "OTHER.md", true),
            ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
            ("*", "a/b", true),
            ("*\n!src", "src/main.rs", false),
            ("*\n!src/*.rs", "src/main.rs", false),
            ("*\n!src/*.rs", "src/main.c", true),
            ("*/temp*", "somedir/temporary.txt", true),
            ("*/temp*", "temporary.txt", false),
            ("*/*/temp*", "a/b/temp", true),
            ("temp?", "tempa", true),
            ("temp?", "temp/", false),
            ("**/*.go", "a/b/c.go", true),
            ("a/**/z", "a/z", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("# a\n  b  ", "b", true),
            (" # no comment", "# no comment", true),
            ("./x/../y", "y", true),
            ("[ab]c", "bc", true),
            ("\\*", "*", true),
            ("", "a", false),
        ] {
            assert_eq!(
                Ignore::parse(text).unwrap().excludes(path),
                expected,
                "{text:?} {path:?}"
            );
        }
        assert!(Ignore::parse("!").is_err());
        assert!(Ignore::parse("a[").is_err());
        assert!(Ignore::parse("!a").unwrap().has_exceptions());
    }

    /// Another reading of the rules, part by part: `**` is any number of whole parts.
    fn matches_parts(pattern: &[&str], path: &[&str]) -> bool {
        match pattern {
            [] => path.is_empty(),
            ["**"] => !path.is_empty(),
            ["**", rest @ ..] => (0..=path.len()).any(|i| matches_parts(rest, &path[i..])),
            [part, rest @ ..] => {
                let (part, chars) = (part.chars().collect::<Vec<_>>(), |name: &str| {
                    name.chars().collect::<Vec<_>>()
                });
                path.first().is_some_and(|name| glob(&part, &chars(name))) && matches_parts(rest, &path[1..])
            }
        }
    }

    /// Line by line, a file is left out or kept by what it or any directory above it matches.
    fn by_lines(lines: &[(bool, Vec<String>)], path: &[String]) -> bool {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        lines.iter().fold(false, |excluded, (keeps, pattern)| {
            let pattern: Vec<&str> = pattern.iter().map(String::as_str).collect();
            let hit = (1..=path.len()).any(|end| matches_parts(&pattern, &path[..end]));
            if hit { !keeps } else { excluded }
        })
    }

    use proptest::prelude::*;

    fn path() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[ab]{1,3}", 1..5)
    }

    fn line() -> impl Strategy<Value = (bool, Vec<String>)> {
        let part = prop_oneof![3 => "[ab]{1,3}", 2 => "[ab*?]{1,3}".prop_filter("whole", |p| !p.contains("**")),
            1 => Just("**".to_string()), 1 => Just("[ab]*".to_string()), 1 => Just("a[^a]".to_string())];
        (any::<bool>(), prop::collection::vec(part, 1..4))
    }

    fn text(lines: &[(bool, Vec<String>)]) -> String {
        let line =
            |(keeps, parts): &(bool, Vec<String>)| format!("{}{}\n", if *keeps { "!" } else { "" }, parts.join("/"));
        lines.iter().map(line).collect()
    }

    proptest! {
        #[test]
        fn the_last_line_that_matches_decides(lines in prop::collection::vec(line(), 0..6), path in path()) {
            let ignore = Ignore::parse(&text(&lines)).unwrap();
            prop_assert_eq!(ignore.excludes(&path.join("/")), by_lines(&lines, &path), "{:?} {:?}", text(&lines), path);
        }

        #[test]
        fn a_file_is_kept_when_a_last_line_says_so(lines in prop::collection::vec(line(), 0..6), path in path()) {
            let path = path.join("/");
            let ignore = Ignore::parse(&format!("{}!{path}\n", text(&lines))).unwrap();
            prop_assert!(!ignore.excludes(&path));
            let ignore = Ignore::parse(&format!("{}{path}\n", text(&lines))).unwrap();
            let inside = format!("{path}/x/y");
            prop_assert!(ignore.excludes(&path) && ignore.excludes(&inside));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,60}", path in "[a/*]{0,10}") {
            if let Ok(ignore) = Ignore::parse(&text) {
                ignore.excludes(&path);
            }
        }
    }
}
