//! A Dockerfile's text as logical lines: directives, comments, continuations, flags and here-documents.
//!
//! What an instruction means is not looked at here.

use super::words::{Lexer, Nothing};
use crate::error::{Error, Result};

/// A whole file.
#[derive(Debug)]
pub(super) struct Parsed {
    /// The instructions, in their order.
    pub(super) lines: Vec<Line>,
    /// What the `escape` directive says.
    pub(super) escape: char,
}

/// One instruction as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it begins, counted from 1.
    pub(super) number: usize,
    /// Where it ends.
    pub(super) end: usize,
    /// The instruction in upper case.
    pub(super) keyword: String,
    /// `--name=value`, as they stand.
    pub(super) flags: Vec<String>,
    /// All behind the flags, continuations joined.
    pub(super) rest: String,
    /// The here-documents that belong to it.
    pub(super) documents: Vec<Document>,
    /// Keyword, flags and rest, for people.
    pub(super) text: String,
}

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// The delimiter, which is also its name.
    pub(super) name: String,
    /// Whether variables are put in: not with a quoted delimiter.
    pub(super) expand: bool,
    /// Whether leading tabs go, as `<<-` says.
    pub(super) chomp: bool,
    /// Its lines as they are written.
    pub(super) content: String,
}

impl Document {
    /// Its lines, without leading tabs if it says so.
    pub(super) fn data(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content
            .split_inclusive('\n')
            .map(|line| line.trim_start_matches('\t'))
            .collect()
    }
}

/// Reads a Dockerfile.
pub(super) fn parse(text: &str) -> Result<Parsed> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut input = Input {
        lines: text.split_inclusive('\n').collect(),
        at: 0,
    };
    let escape = directives(&mut input)?;
    let mut lines = Vec::new();
    while let Some(raw) = input.next() {
        let number = input.at;
        let first = raw.trim_end_matches(['\r', '\n']).trim_start();
        if first.is_empty() || first.starts_with('#') {
            continue;
        }
        let (first, mut more) = continued(first, escape);
        let mut logical = first.to_string();
        while more {
            let Some(raw) = input.next() else { break };
            let next = raw.trim_end_matches(['\r', '\n']);
            // Comments and empty lines do not end a continued line.
            if next.trim_start().starts_with('#') || next.trim().is_empty() {
                continue;
            }
            let (part, goes_on) = continued(next, escape);
            logical.push_str(part);
            more = goes_on;
        }
        if logical.trim().is_empty() {
            continue;
        }
        let mut line = split(&logical, number);
        documents(&mut line, &mut input)?;
        line.end = input.at;
        lines.push(line);
    }
    Ok(Parsed { lines, escape })
}

struct Input<'t> {
    lines: Vec<&'t str>,
    at: usize,
}

impl<'t> Input<'t> {
    fn next(&mut self) -> Option<&'t str> {
        let line = self.lines.get(self.at).copied()?;
        self.at += 1;
        Some(line)
    }
}

/// `# name=value` at the head of the file; the first line that is none ends it.
fn directives(input: &mut Input<'_>) -> Result<char> {
    let mut seen: Vec<String> = Vec::new();
    let mut escape = '\\';
    while let Some(line) = input.lines.get(input.at) {
        let number = input.at + 1;
        let pair = line.trim().strip_prefix('#').and_then(|rest| rest.split_once('='));
        let Some((name, value)) = pair.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim())) else {
            break;
        };
        if !matches!(name.as_str(), "syntax" | "escape" | "check") || value.is_empty() {
            break;
        }
        let fault = |reason: String| Err(Error::Dockerfile { line: number, reason });
        if seen.contains(&name) {
            return fault(format!("the directive {name} is there twice"));
        }
        match (name.as_str(), value) {
            ("escape", "\\" | "`") => escape = if value == "`" { '`' } else { '\\' },
            ("escape", other) => return fault(format!("escape={other} is not known; use \\ or `")),
            ("syntax", frontend) if !is_dockerfile_syntax(frontend) => {
                return fault(format!(
                    "syntax={frontend} is another language; only docker/dockerfile is understood"
                ));
            }
            _ => {}
        }
        seen.push(name);
        input.at += 1;
    }
    Ok(escape)
}

/// The names of the Dockerfile's own front end, in any version.
fn is_dockerfile_syntax(frontend: &str) -> bool {
    let name = frontend.split_whitespace().next().unwrap_or_default();
    let name = name.split(['@']).next().unwrap_or_default();
    let repository = name.strip_prefix("docker.io/").unwrap_or(name);
    let repository = repository.split(':').next().unwrap_or_default();
    matches!(repository, "docker/dockerfile" | "docker/dockerfile-upstream")
}

/// Takes the continuation mark away; an escaped mark is none.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (line, false),
    }
}

fn split(logical: &str, number: usize) -> Line {
    let logical = logical.trim();
    let (keyword, rest) = logical.split_once(char::is_whitespace).unwrap_or((logical, ""));
    let keyword = keyword.to_ascii_uppercase();
    let (flags, rest) = flags(rest);
    let mut text = keyword.clone();
    for part in flags
        .iter()
        .map(String::as_str)
        .chain([rest])
        .filter(|part| !part.is_empty())
    {
        text.push(' ');
        text.push_str(part);
    }
    Line {
        number,
        end: number,
        keyword,
        flags,
        rest: rest.to_string(),
        documents: Vec::new(),
        text,
    }
}

/// Words with `--` in front, quotes and backslashes taken out; a bare `--` ends them.
fn flags(text: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim();
    while rest.starts_with("--") {
        let mut word = String::new();
        let mut quote = None;
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => word.extend(chars.next().map(|(_, c)| c)),
                _ if quote == Some(c) => quote = None,
                '\'' | '"' if quote.is_none() => quote = Some(c),
                c if c.is_whitespace() && quote.is_none() => {
                    end = at;
                    break;
                }
                c => word.push(c),
            }
        }
        rest = rest[end..].trim_start();
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, rest)
}

/// Reads the here-documents that a line announces.
fn documents(line: &mut Line, input: &mut Input<'_>) -> Result<()> {
    let inner = match line.keyword.as_str() {
        "RUN" | "COPY" | "ADD" => line.rest.as_str(),
        "ONBUILD" => {
            let (keyword, rest) = line.rest.split_once(char::is_whitespace).unwrap_or_default();
            match keyword.to_ascii_uppercase().as_str() {
                "RUN" | "COPY" | "ADD" => rest,
                _ => "",
            }
        }
        _ => "",
    };
    if !inner.contains("<<") || inner.starts_with('[') {
        return Ok(());
    }
    let lexer = Lexer {
        variables: &Nothing,
        escape: '\\',
        raw: true,
    };
    // What isn't words is for a shell to complain about.
    for word in lexer.words(inner).unwrap_or_default() {
        let Some(mut document) = announced(&word) else { continue };
        loop {
            let Some(raw) = input.next() else {
                return Err(Error::Dockerfile {
                    line: line.number,
                    reason: format!("the here-document {} is not closed", document.name),
                });
            };
            let bare = raw.trim_end_matches(['\r', '\n']);
            let bare = if document.chomp {
                bare.trim_start_matches('\t')
            } else {
                bare
            };
            if bare == document.name {
                break;
            }
            document.content.push_str(raw);
        }
        line.documents.push(document);
    }
    Ok(())
}

/// The here-document that a word such as `<<EOF`, `3<<-"END"` announces.
pub(super) fn announced(word: &str) -> Option<Document> {
    let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = word.strip_prefix("<<")?;
    let (chomp, raw) = match rest.strip_prefix('-') {
        Some(raw) => (true, raw),
        None => (false, rest),
    };
    if raw.is_empty() || raw.contains('<') {
        return None;
    }
    let lexer = Lexer {
        variables: &Nothing,
        escape: '\\',
        raw: false,
    };
    let [name] = <[String; 1]>::try_from(lexer.words(raw).ok()?).ok()?;
    let expand = !raw.contains(['\'', '"']);
    Some(Document {
        name,
        expand,
        chomp,
        content: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(usize, String)> {
        let lines = parse(text).unwrap().lines;
        lines.into_iter().map(|line| (line.number, line.text)).collect()
    }

    #[test]
    fn continuations_and_comments() {
        let text = "# comment\n\n  from a\nRUN one \\\n  # inside\n\n   two\\\n three\nRUN a \\\\\nCMD x";
        let expected = [
            (3, "FROM a"),
            (4, "RUN one    two three"),
            (9, "RUN a \\\\"),
            (10, "CMD x"),
        ];
        assert_eq!(texts(text), expected.map(|(n, t)| (n, t.to_string())));
    }

    #[test]
    fn directives_stand_first() {
        let parsed = parse("# syntax=docker/dockerfile:1.7-labs\n# escape=`\nRUN a `\n b\\\nCMD c\n").unwrap();
        assert_eq!((parsed.escape, parsed.lines.len()), ('`', 2));
        assert_eq!(parsed.lines[0].rest, "a  b\\");
        assert_eq!(parse("# hello\n# escape=`\nRUN a\n").unwrap().escape, '\\');
        assert!(parse("# escape=x\n").is_err());
        assert!(parse("# escape=`\n# escape=`\n").is_err());
        assert!(
            parse("# syntax=example/other:1\n")
                .unwrap_err()
                .to_string()
                .contains("line 1")
        );
    }

    #[test]
    fn flags_come_before_the_rest() {
        let line = &parse("COPY --from=a --chown=\"1:1\" -- --b /c\n").unwrap().lines[0];
        assert_eq!(line.flags, ["--from=a", "--chown=1:1"]);
        assert_eq!(line.rest, "--b /c");
    }

    #[test]
    fn here_documents() {
        let text = "RUN <<EOF cat <<-'END'\na $B\nEOF\n\tc\n\tEND\nCOPY <<x /y\n\n#no comment\nx\nCMD z\n";
        let lines = parse(text).unwrap().lines;
        assert_eq!(lines.len(), 3);
        let [first, second] = &lines[0].documents[..] else {
            panic!()
        };
        assert_eq!((first.content.as_str(), first.expand), ("a $B\n", true));
        assert_eq!(
            (second.data().as_str(), second.expand, second.chomp),
            ("c\n", false, true)
        );
        assert_eq!(lines[1].documents[0].content, "\n#no comment\n");
        assert_eq!((lines[2].number, lines[0].end), (10, 5));
        assert!(parse("RUN <<EOF\na\n").is_err());
        assert!(parse("RUN echo '<<EOF'\n").unwrap().lines[0].documents.is_empty());
        assert!(parse("RUN cat <<<EOF\n").unwrap().lines[0].documents.is_empty());
    }
}
