//! What each line of a Dockerfile asks for, before variables are put in.
//!
//! A line that can't be understood is refused here, by name; nothing is carried out.

use super::flags::Flags;
use super::mount::Network;
use super::parse::{Document, Line, announced};

/// An instruction's meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Instruction {
    From(From),
    /// Names and defaults.
    Arg(Vec<(String, Option<String>)>),
    Env(Vec<(String, String)>),
    Label(Vec<(String, String)>),
    Run(Run),
    Copy(Copy),
    Cmd(Command),
    Entrypoint(Command),
    Shell(Vec<String>),
    Healthcheck(Health),
    Expose(Vec<String>),
    User(String),
    Workdir(String),
    Volume(Vec<String>),
    StopSignal(String),
    /// The instruction to keep for images that are built on this one.
    OnBuild(String),
    Maintainer(String),
}

/// The beginning of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct From {
    pub(super) image: String,
    pub(super) name: Option<String>,
    pub(super) platform: Option<String>,
}

/// A command line: words to execute, or one text for the shell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<String>,
    pub(super) shell: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) command: Command,
    pub(super) documents: Vec<Document>,
    /// The values of `--mount`.
    pub(super) mounts: Vec<String>,
    pub(super) network: Network,
}

/// COPY and ADD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) add: bool,
    pub(super) from: Option<String>,
    pub(super) chown: Option<String>,
    pub(super) chmod: Option<String>,
    pub(super) link: bool,
    pub(super) parents: bool,
    pub(super) exclude: Vec<String>,
    pub(super) checksum: Option<String>,
    /// Whether archives are unpacked; by default local ones of ADD are.
    pub(super) unpack: Option<bool>,
    pub(super) sources: Vec<String>,
    pub(super) documents: Vec<Document>,
    pub(super) dest: String,
}

/// HEALTHCHECK, as the image's configuration has it; times in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) test: Vec<String>,
    pub(super) interval: u64,
    pub(super) timeout: u64,
    pub(super) start_period: u64,
    pub(super) start_interval: u64,
    pub(super) retries: u64,
}

impl Instruction {
    /// Understands a line. The reason for a refusal is for people; the caller adds the line's number.
    pub(super) fn of(line: &Line, escape: char) -> Result<Self, String> {
        let mut flags = Flags::of(line);
        let rest = line.rest.as_str();
        if rest.is_empty() && line.flags.is_empty() {
            return Err(match KEYWORDS.contains(&line.keyword.as_str()) {
                true => format!("{} wants at least one argument", line.keyword),
                false => unknown(&line.keyword),
            });
        }
        let instruction = match line.keyword.as_str() {
            "FROM" => from(rest, &mut flags)?,
            "ARG" => Self::Arg(
                words(rest, escape)
                    .iter()
                    .map(|word| name_or_pair(word))
                    .collect::<Result<_, _>>()?,
            ),
            "ENV" => Self::Env(pairs("ENV", rest, escape)?),
            "LABEL" => Self::Label(pairs("LABEL", rest, escape)?),
            "RUN" => run(line, &mut flags)?,
            "COPY" | "ADD" => copy(line, &mut flags)?,
            "CMD" => Self::Cmd(Command::of(rest)?),
            "ENTRYPOINT" => Self::Entrypoint(Command::of(rest)?),
            "SHELL" => match Command::of(rest)? {
                Command { shell: false, words } if !words.is_empty() => Self::Shell(words),
                _ => return Err("SHELL wants a JSON list such as [\"/bin/bash\", \"-c\"]".to_string()),
            },
            "HEALTHCHECK" => Self::Healthcheck(health(rest, &mut flags)?),
            "EXPOSE" => Self::Expose(rest.split_whitespace().map(str::to_string).collect()),
            "USER" => Self::User(rest.to_string()),
            "WORKDIR" => Self::Workdir(rest.to_string()),
            "VOLUME" => Self::Volume(list(rest)?),
            "STOPSIGNAL" => Self::StopSignal(rest.to_string()),
            "ONBUILD" => on_build(line, escape)?,
            "MAINTAINER" => Self::Maintainer(rest.to_string()),
            other => return Err(unknown(other)),
        };
        flags.finish()?;
        Ok(instruction)
    }
}

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

fn unknown(keyword: &str) -> String {
    format!("{keyword} is no instruction; there are {}", KEYWORDS.join(", "))
}

impl Command {
    /// A JSON list of texts is executed as it is; anything else is for the shell.
    pub(super) fn of(text: &str) -> Result<Self, String> {
        Ok(match json_list(text)? {
            Some(words) => Self { words, shell: false },
            None => Self {
                words: vec![text.to_string()],
                shell: true,
            },
        })
    }

    /// The words to execute, where `shell` is SHELL's.
    pub(super) fn argv(&self, shell: &[String]) -> Vec<String> {
        match self.shell {
            true => shell.iter().chain(&self.words).cloned().collect(),
            false => self.words.clone(),
        }
    }
}

/// A JSON list of texts; `None` for what is no JSON list, which is no error.
fn json_list(text: &str) -> Result<Option<Vec<String>>, String> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Ok(None);
    };
    let texts = values
        .iter()
        .map(|value| value.as_str().map(str::to_string))
        .collect::<Option<_>>();
    texts
        .map(Some)
        .ok_or_else(|| format!("{text}: a JSON list here holds texts only"))
}

/// A JSON list, or words between blanks.
fn list(text: &str) -> Result<Vec<String>, String> {
    Ok(json_list(text)?.unwrap_or_else(|| text.split_whitespace().map(str::to_string).collect()))
}

/// Words that keep their quotes and escapes, for expansion later.
fn words(text: &str, escape: char) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == escape && quote != Some('\'') {
            // An escape at the end is left out.
            if let Some(next) = chars.next() {
                word.extend([c, next]);
            }
            continue;
        }
        match c {
            _ if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            c if c.is_whitespace() && quote.is_none() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `A=b C="d e"`, or the old `A rest of the line`.
fn pairs(keyword: &str, text: &str, escape: char) -> Result<Vec<(String, String)>, String> {
    let words = words(text, escape);
    if words.first().is_none_or(|first| !first.contains('=')) {
        let (key, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let value = value.trim_start();
        if key.is_empty() || value.is_empty() {
            return Err(format!("{keyword} {text}: it wants NAME=value"));
        }
        return Ok(vec![(key.to_string(), value.to_string())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_string(), value.to_string())),
        _ => Err(format!("{keyword} {word}: it wants NAME=value")),
    };
    words.iter().map(pair).collect()
}

fn name_or_pair(word: &str) -> Result<(String, Option<String>), String> {
    match word.split_once('=') {
        Some(("", _)) => Err(format!("ARG {word}: the name is missing")),
        Some((key, value)) => Ok((key.to_string(), Some(value.to_string()))),
        None => Ok((word.to_string(), None)),
    }
}

fn from(rest: &str, flags: &mut Flags<'_>) -> Result<Instruction, String> {
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (image, name) = match words[..] {
        [image] => (image, None),
        [image, keyword, name] if keyword.eq_ignore_ascii_case("as") => (image, Some(name.to_ascii_lowercase())),
        _ => return Err("FROM wants an image, and perhaps AS and a name".to_string()),
    };
    let fits = |name: &String| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
    };
    if let Some(name) = name.as_ref().filter(|name| !fits(name)) {
        return Err(format!(
            "{name:?} can't name a stage: it begins with a letter and has letters, digits, '-', '_' and '.'"
        ));
    }
    Ok(Instruction::From(From {
        image: image.to_string(),
        name,
        platform: flags.text("platform")?,
    }))
}

fn run(line: &Line, flags: &mut Flags<'_>) -> Result<Instruction, String> {
    if flags.has("security") {
        return Err("RUN --security is not supported: a build gets no more privileges than a container".to_string());
    }
    if flags.has("device") {
        return Err("RUN --device is not supported".to_string());
    }
    let network = match flags.text("network")?.as_deref() {
        None | Some("default") => Network::Default,
        Some("host") => Network::Host,
        Some("none") => Network::None,
        Some(other) => return Err(format!("RUN --network={other}: it is default, none or host")),
    };
    let mounts = flags.texts("mount")?;
    let command = Command::of(&line.rest)?;
    if command.words.iter().all(String::is_empty) {
        return Err("RUN wants a command".to_string());
    }
    Ok(Instruction::Run(Run {
        command,
        documents: line.documents.clone(),
        mounts,
        network,
    }))
}

fn copy(line: &Line, flags: &mut Flags<'_>) -> Result<Instruction, String> {
    let add = line.keyword == "ADD";
    let mut words = list(&line.rest)?;
    let dest = words.pop().unwrap_or_default();
    if words.is_empty() {
        return Err(format!("{} wants at least one source and a destination", line.keyword));
    }
    if announced(&dest).is_some() {
        return Err(format!("{}: a here-document can't be the destination", line.keyword));
    }
    let (documents, sources): (Vec<_>, Vec<_>) = words.into_iter().partition(|word| announced(word).is_some());
    if documents.len() != line.documents.len() {
        return Err(format!("{}: here-documents stand in no JSON list", line.keyword));
    }
    let mut copy = Copy {
        add,
        chown: flags.text("chown")?,
        chmod: flags.text("chmod")?,
        link: flags.switch("link")?.unwrap_or(false),
        parents: false,
        exclude: flags.texts("exclude")?,
        sources,
        documents: line.documents.clone(),
        dest,
        ..Copy::default()
    };
    if add {
        copy.checksum = flags.text("checksum")?;
        copy.unpack = flags.switch("unpack")?;
        if flags.has("keep-git-dir") {
            return Err("ADD --keep-git-dir is not supported: nothing is fetched by git".to_string());
        }
    } else {
        copy.from = flags.text("from")?;
        copy.parents = flags.switch("parents")?.unwrap_or(false);
    }
    Ok(Instruction::Copy(copy))
}

fn health(rest: &str, flags: &mut Flags<'_>) -> Result<Health, String> {
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    let mut time = |name: &str| flags.text(name)?.map_or(Ok(0), |text| nanoseconds(name, &text));
    let mut health = Health {
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        ..Health::default()
    };
    if let Some(retries) = flags.text("retries")? {
        let count = retries.parse::<u32>();
        health.retries = count
            .map_err(|_| format!("HEALTHCHECK --retries={retries} is no count"))?
            .into();
    }
    health.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() => vec!["NONE".to_string()],
        "NONE" => return Err("HEALTHCHECK NONE takes no arguments".to_string()),
        "CMD" if command.is_empty() => return Err("HEALTHCHECK CMD wants a command".to_string()),
        "CMD" => {
            let command = Command::of(command)?;
            let kind = if command.shell { "CMD-SHELL" } else { "CMD" };
            [kind.to_string()].into_iter().chain(command.words).collect()
        }
        other => return Err(format!("HEALTHCHECK {other}: it is CMD or NONE")),
    };
    Ok(health)
}

/// Go's durations: `1m30s`, `500ms`.
fn nanoseconds(name: &str, text: &str) -> Result<u64, String> {
    let wrong = || format!("HEALTHCHECK --{name}={text} is no time such as 30s or 1m30s");
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |at| digits + at);
        let scale = match &rest[digits..unit_end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(wrong()),
        };
        total += number * scale;
        rest = &rest[unit_end..];
    }
    match total as u64 {
        1..1_000_000 => Err(format!("HEALTHCHECK --{name}={text} is less than 1ms")),
        total => Ok(total),
    }
}

/// The trigger is kept as text; that it can be understood is checked now.
fn on_build(line: &Line, escape: char) -> Result<Instruction, String> {
    let keyword = line
        .rest
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_ascii_uppercase();
    if matches!(keyword.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
        return Err(format!("{keyword} can't be kept by ONBUILD"));
    }
    let mut text = line.rest.clone();
    for document in &line.documents {
        text.push('\n');
        text.push_str(&document.content);
        text.push_str(&document.name);
    }
    let parsed = super::parse::parse(&text).map_err(|error| error.to_string())?;
    for inner in &parsed.lines {
        Instruction::of(inner, escape)?;
    }
    Ok(Instruction::OnBuild(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::parse::parse;

    fn of(text: &str) -> Result<Instruction, String> {
        Instruction::of(&parse(text).unwrap().lines[0], '\\')
    }

    fn pair(k: &str, v: &str) -> (String, String) {
        (k.to_string(), v.to_string())
    }

    #[test]
    fn pairs_of_both_forms() {
        let quoted = of(r#"ENV A=b C="d e" F=g\ h"#).unwrap();
        assert_eq!(
            quoted,
            Instruction::Env(vec![pair("A", "b"), pair("C", "\"d e\""), pair("F", "g\\ h")])
        );
        assert_eq!(
            of("ENV A  rest of it").unwrap(),
            Instruction::Env(vec![pair("A", "rest of it")])
        );
        assert!(of("ENV A").is_err() && of("ENV A=b c").is_err() && of("LABEL =x").is_err());
        let args = Instruction::Arg(vec![("A".to_string(), None), ("B".to_string(), Some("1".to_string()))]);
        assert_eq!(of("ARG A B=1").unwrap(), args);
    }

    #[test]
    fn both_forms_of_a_command() {
        let exec = Command {
            words: vec!["/a".to_string(), "b c".to_string()],
            shell: false,
        };
        assert_eq!(of(r#"CMD ["/a", "b c"]"#).unwrap(), Instruction::Cmd(exec));
        let Instruction::Cmd(shell) = of("CMD [\"/a\" b]").unwrap() else {
            panic!()
        };
        assert!(shell.shell, "what is no JSON is for the shell");
        assert!(of("CMD [1]").is_err() && of("SHELL /bin/sh").is_err());
    }

    #[test]
    fn health_checks() {
        let Instruction::Healthcheck(health) =
            of("HEALTHCHECK --interval=1m30s --timeout=1.5s --retries=3 CMD curl -f /").unwrap()
        else {
            panic!()
        };
        assert_eq!(
            (health.interval, health.timeout, health.retries),
            (90_000_000_000, 1_500_000_000, 3)
        );
        assert_eq!(health.test, ["CMD-SHELL", "curl -f /"]);
        for text in [
            "NONE x",
            "CMD",
            "--interval=5 CMD a",
            "--interval=1us CMD a",
            "--x=1 CMD a",
            "WHAT a",
        ] {
            assert!(of(&format!("HEALTHCHECK {text}")).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_refused_is_named() {
        for (text, word) in [
            ("WHATEVER x", "WHATEVER"),
            ("FROM", "FROM"),
            ("FROM a b", "AS"),
            ("FROM a AS 1x", "1x"),
            ("RUN --security=insecure x", "--security"),
            ("RUN --network=other x", "other"),
            ("RUN --nothing=1 x", "--nothing"),
            ("COPY /a", "destination"),
            ("COPY --checksum=x a b", "--checksum"),
            ("ADD --from=x a b", "--from"),
            ("ADD --keep-git-dir a b", "git"),
            ("ONBUILD FROM x", "FROM"),
            ("ONBUILD ONBUILD RUN x", "ONBUILD"),
            ("ONBUILD WHAT x", "WHAT"),
        ] {
            let reason = of(text).unwrap_err();
            assert!(reason.contains(word), "{text}: {reason}");
        }
    }

    #[test]
    fn copies() {
        let Instruction::Copy(copy) = of("COPY --link --parents=true --from=x --exclude=a --exclude=b c d e/").unwrap()
        else {
            panic!()
        };
        assert!(copy.link && copy.parents && !copy.add);
        assert_eq!(
            (copy.exclude.len(), copy.sources.len(), copy.dest.as_str()),
            (2, 2, "e/")
        );
        let Instruction::Copy(copy) = of("COPY [\"a b\", \"c\"]").unwrap() else {
            panic!()
        };
        assert_eq!(copy.sources, ["a b"]);
    }
}
