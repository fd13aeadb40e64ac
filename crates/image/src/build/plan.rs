//! From lines to stages: which there are, on what each stands, and which are needed for the target.
//!
//! Pure: no file is looked at.

use crate::error::{Error, Result};
use crate::spec::{Platform, host_platform};

use super::instruction::{From, Instruction};
use super::mount::{Kind, Mount};
use super::parse::{Line, Parsed};
use super::words::{Lexer, Variables};

/// What a build has to do.
#[derive(Debug)]
pub(super) struct Plan {
    /// All stages, in their order.
    pub(super) stages: Vec<Stage>,
    /// The one whose image is wanted.
    pub(super) target: usize,
    /// Those that the target needs, itself included.
    pub(super) needed: Vec<bool>,
    /// ARGs before the first FROM, and those that every build has.
    pub(super) globals: Vec<(String, String)>,
    pub(super) escape: char,
}

/// A FROM and all up to the next.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: Option<String>,
    pub(super) from: Line,
    pub(super) base: Base,
    pub(super) steps: Vec<(Line, Instruction)>,
}

/// What a stage stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Scratch,
    Stage(usize),
    /// A context that was named on the command line.
    Context(String),
    Image(String),
}

/// What the command line says of a plan.
pub(super) struct Request<'a> {
    pub(super) target: Option<&'a str>,
    /// `None` is the host's value of a variable that the command line only names.
    pub(super) arguments: &'a [(String, String)],
    pub(super) contexts: &'a [String],
}

impl Plan {
    /// Makes a plan of a whole file.
    pub(super) fn make(parsed: Parsed, request: &Request<'_>) -> Result<Self> {
        let escape = parsed.escape;
        let mut globals = platform_arguments();
        let mut stages: Vec<Stage> = Vec::new();
        for line in parsed.lines {
            let number = line.number;
            let at = |reason: String| Error::Dockerfile { line: number, reason };
            let instruction = Instruction::of(&line, escape).map_err(at)?;
            match (instruction, stages.last_mut()) {
                (Instruction::From(from), _) => {
                    let stage = begin(line, from, &stages, &globals, request, escape).map_err(at)?;
                    stages.push(stage);
                }
                (Instruction::Arg(arguments), None) => {
                    for (name, default) in arguments {
                        let given = request.arguments.iter().find(|(key, _)| *key == name);
                        let value = match (given, default) {
                            (Some((_, value)), _) => Some(value.clone()),
                            (None, Some(text)) => Some(expand(&globals, escape, &text).map_err(at)?),
                            (None, None) => None,
                        };
                        globals.extend(value.map(|value| (name, value)));
                    }
                }
                (_, None) => return Err(at(format!("{} stands before the first FROM", line.keyword))),
                (instruction, Some(stage)) => stage.steps.push((line, instruction)),
            }
        }
        let target = target(&stages, request.target)?;
        let mut plan = Self {
            needed: vec![false; stages.len()],
            stages,
            target,
            globals,
            escape,
        };
        plan.need(target, request.contexts);
        Ok(plan)
    }

    /// Marks a stage and those that it needs. A stage only ever needs earlier ones, so this ends.
    fn need(&mut self, stage: usize, contexts: &[String]) {
        if std::mem::replace(&mut self.needed[stage], true) {
            return;
        }
        let mut others = Vec::new();
        if let Base::Stage(base) = self.stages[stage].base {
            others.push(base);
        }
        for (_, instruction) in &self.stages[stage].steps {
            for from in references(instruction) {
                others.extend(self.stage_before(stage, &from, contexts));
            }
        }
        for other in others {
            self.need(other, contexts);
        }
    }

    /// The earlier stage that a `from` means, if it means one.
    pub(super) fn stage_before(&self, stage: usize, from: &str, contexts: &[String]) -> Option<usize> {
        if contexts.iter().any(|context| context == from) {
            return None;
        }
        named(&self.stages[..stage], from).or_else(|| from.parse().ok().filter(|number| *number < stage))
    }

    /// How a stage is called in progress; nothing where there is only one.
    pub(super) fn label(&self, stage: usize) -> String {
        match &self.stages[stage].name {
            Some(name) => format!("{name} "),
            None if self.stages.len() == 1 => String::new(),
            None => format!("stage-{stage} "),
        }
    }
}

/// The stages, images and contexts that an instruction takes files from.
pub(super) fn references(instruction: &Instruction) -> Vec<String> {
    match instruction {
        Instruction::Copy(copy) => copy.from.iter().cloned().collect(),
        Instruction::Run(run) => {
            let from = |text: &String| match Mount::parse(text).ok()?.kind {
                Kind::Bind { from, .. } | Kind::Cache { from, .. } if !from.is_empty() => Some(from),
                _ => None,
            };
            run.mounts.iter().filter_map(from).collect()
        }
        _ => Vec::new(),
    }
}

fn begin(
    line: Line,
    from: From,
    stages: &[Stage],
    globals: &[(String, String)],
    request: &Request<'_>,
    escape: char,
) -> Result<Stage, String> {
    let image = expand(globals, escape, &from.image)?;
    if image.is_empty() {
        return Err(format!(
            "FROM {}: nothing is left when the variables are put in",
            from.image
        ));
    }
    if let Some(platform) = &from.platform {
        check_platform(&expand(globals, escape, platform)?)?;
    }
    let base = if request.contexts.contains(&image) {
        Base::Context(image)
    } else if let Some(stage) = named(stages, &image) {
        Base::Stage(stage)
    } else if image == "scratch" {
        Base::Scratch
    } else {
        Base::Image(image)
    };
    Ok(Stage {
        name: from.name,
        from: line,
        base,
        steps: Vec::new(),
    })
}

/// The last stage of a name.
fn named(stages: &[Stage], name: &str) -> Option<usize> {
    let name = name.to_ascii_lowercase();
    stages.iter().rposition(|stage| stage.name.as_ref() == Some(&name))
}

fn target(stages: &[Stage], wanted: Option<&str>) -> Result<usize> {
    let Some(last) = stages.len().checked_sub(1) else {
        return Err(Error::Dockerfile {
            line: 1,
            reason: "there is no FROM".to_string(),
        });
    };
    let Some(wanted) = wanted else { return Ok(last) };
    let by_number = || wanted.parse().ok().filter(|number| *number <= last);
    named(stages, wanted).or_else(by_number).ok_or_else(|| {
        let names: Vec<_> = stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
        Error::Dockerfile {
            line: stages[last].from.number,
            reason: format!(
                "there is no stage {wanted:?}; there are {} ({})",
                stages.len(),
                names.join(", ")
            ),
        }
    })
}

fn expand(variables: &[(String, String)], escape: char, text: &str) -> Result<String, String> {
    let lexer = Lexer {
        variables,
        escape,
        raw: false,
    };
    lexer.word(text)
}

/// The variables that every build has.
fn platform_arguments() -> Vec<(String, String)> {
    let Platform {
        architecture,
        os,
        variant,
        ..
    } = host_platform();
    let platform = format!("{os}/{architecture}");
    let mut all = Vec::new();
    for side in ["TARGET", "BUILD"] {
        for (name, value) in [
            ("PLATFORM", platform.as_str()),
            ("OS", &os),
            ("ARCH", &architecture),
            ("VARIANT", variant.as_deref().unwrap_or_default()),
        ] {
            all.push((format!("{side}{name}"), value.to_string()));
        }
    }
    all
}

/// Whether a platform is this machine's: `linux`, `amd64`, `linux/amd64`, `linux/arm64/v8`, and other names of these.
pub(super) fn check_platform(text: &str) -> Result<(), String> {
    let host = host_platform();
    let own = format!("{}/{}", host.os, host.architecture);
    let machine = |name: &str| match name {
        "x86_64" | "x86-64" => "amd64".to_string(),
        "aarch64" => "arm64".to_string(),
        other => other.to_string(),
    };
    let lower = text.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('/').collect();
    let fits = match parts[..] {
        ["linux"] => true,
        [one] => machine(one) == host.architecture,
        [os, one] | [os, one, "v8"] => os == host.os && machine(one) == host.architecture,
        _ => false,
    };
    match fits {
        true => Ok(()),
        false => Err(format!("this machine builds for {own}, not for {text}")),
    }
}

/// A stage's variables by name, without those of the whole file.
pub(super) fn global<'g>(plan: &'g Plan, name: &str) -> Option<&'g str> {
    Variables::get(plan.globals.as_slice(), name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::parse::parse;

    fn plan(text: &str, target: Option<&str>, arguments: &[(&str, &str)]) -> Result<Plan> {
        let arguments: Vec<_> = arguments.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let request = Request {
            target,
            arguments: &arguments,
            contexts: &["extra".to_string()],
        };
        Plan::make(parse(text)?, &request)
    }

    const FILE: &str = "ARG BASE=debian\nARG TAG=${BASE}-x\nFROM $BASE:$TAG AS One\nRUN x\nFROM scratch AS two\n\
        COPY --from=one /a /\nFROM scratch AS three\nFROM extra\nRUN --mount=from=two,target=/m x\nFROM ONE\n";

    #[test]
    fn stages_and_what_they_need() {
        let whole = plan(FILE, None, &[]).unwrap();
        assert_eq!(whole.stages.len(), 5);
        assert_eq!(whole.stages[0].base, Base::Image("debian:debian-x".to_string()));
        assert_eq!(whole.stages[3].base, Base::Context("extra".to_string()));
        assert_eq!((whole.target, whole.needed), (4, vec![true, false, false, false, true]));
        assert_eq!(
            plan(FILE, Some("3"), &[]).unwrap().needed,
            [true, true, false, true, false]
        );
        assert_eq!(plan(FILE, Some("TWO"), &[]).unwrap().target, 1);
        let given = plan(FILE, None, &[("BASE", "alpine")]).unwrap();
        assert_eq!(given.stages[0].base, Base::Image("alpine:alpine-x".to_string()));
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        for (text, target, line, word) in [
            ("RUN x\n", None, 1, "FROM"),
            ("# nothing\n", None, 1, "FROM"),
            ("FROM scratch\n\nWHAT x\n", None, 3, "WHAT"),
            ("FROM scratch AS a\n", Some("b"), 1, "\"b\""),
            ("FROM --platform=linux/riscv64 scratch\n", None, 1, "riscv64"),
            ("FROM $NOTHING\n", None, 1, "NOTHING"),
        ] {
            match plan(text, target, &[]) {
                Err(Error::Dockerfile { line: found, reason }) => {
                    assert_eq!(found, line, "{text}");
                    assert!(reason.contains(word), "{text}: {reason}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn platforms() {
        let own = host_platform().architecture;
        assert!(check_platform("linux").is_ok() && check_platform(&own).is_ok());
        assert!(check_platform(&format!("linux/{own}")).is_ok());
        assert!(check_platform("windows/amd64").is_err() && check_platform("linux/s390x").is_err());
    }
}
