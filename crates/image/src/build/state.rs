//! A stage as it stands between two instructions, and what the instructions that run nothing do to it.

use serde_json::{Value, json};

use crate::spec::{Descriptor, History, ImageConfig, host_platform};

use super::instruction::{Health, Instruction};
use super::tree::Tree;
use super::words::{Lexer, join};

/// Where programs are looked for when an image says nothing.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage that is being built.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<Descriptor>,
    pub(super) tree: Tree,
    /// What `$NAME` means here and what commands get: ENV and ARG in their order.
    pub(super) env: Vec<(String, String)>,
    /// The ARGs so far, for the history.
    pub(super) arguments: Vec<(String, Option<String>)>,
    /// Whether CMD was given in this stage.
    own_command: bool,
    /// When the last layer was made, RFC 3339; `None` before the first of an image from scratch.
    pub(super) created: Option<String>,
    pub(super) escape: char,
}

impl State {
    /// FROM scratch.
    pub(super) fn scratch(escape: char) -> Self {
        let platform = host_platform();
        let mut config = ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            ..ImageConfig::default()
        };
        config.config.env = vec![format!("PATH={PATH}")];
        config.config.working_dir = "/".to_string();
        Self::of(config, Vec::new(), Tree::default(), None, escape)
    }

    /// FROM an image.
    pub(super) fn of(
        config: ImageConfig,
        layers: Vec<Descriptor>,
        tree: Tree,
        created: Option<String>,
        escape: char,
    ) -> Self {
        let pair = |entry: &String| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_string(), value.to_string())
        };
        let env = config.config.env.iter().map(pair).collect();
        Self {
            config,
            layers,
            tree,
            env,
            arguments: Vec::new(),
            own_command: false,
            created,
            escape,
        }
    }

    /// FROM another stage.
    pub(super) fn child(&self) -> Self {
        Self {
            own_command: false,
            ..self.clone()
        }
    }

    /// The triggers that the image below has left; they are done once and not handed on.
    pub(super) fn take_triggers(&mut self) -> Vec<String> {
        let triggers = self.config.config.other.remove("OnBuild").unwrap_or_default();
        serde_json::from_value(triggers).unwrap_or_default()
    }

    /// What the shell form of commands is run by.
    pub(super) fn shell(&self) -> Vec<String> {
        let shell = self.config.config.other.get("Shell").cloned().unwrap_or_default();
        let shell: Vec<String> = serde_json::from_value(shell).unwrap_or_default();
        match shell.is_empty() {
            true => vec!["/bin/sh".to_string(), "-c".to_string()],
            false => shell,
        }
    }

    /// A text with its variables put in.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        self.lexer().word(text)
    }

    fn lexer(&self) -> Lexer<'_, [(String, String)]> {
        Lexer {
            variables: &self.env,
            escape: self.escape,
            raw: false,
        }
    }

    /// Adds a line to the history.
    pub(super) fn note(&mut self, text: String, empty_layer: bool) {
        self.config.history.push(History {
            created: self.created.clone(),
            created_by: Some(text),
            empty_layer,
        });
    }

    /// Puts a layer on top.
    pub(super) fn push(&mut self, layer: Descriptor, unpacked: std::path::PathBuf) {
        self.config.rootfs.diff_ids.push(layer.digest.clone());
        self.layers.push(layer);
        self.tree.push(unpacked);
    }

    /// ENV and LABEL see the variables as they were before the instruction.
    fn pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>, String> {
        let both = |(key, value): &(String, String)| Ok((self.expand(key)?, self.expand(value)?));
        pairs.iter().map(both).collect()
    }

    /// Declares an ARG: the command line's value, else its default, else the whole file's.
    pub(super) fn argument(
        &mut self,
        name: &str,
        default: Option<&str>,
        given: Option<&str>,
        global: Option<&str>,
    ) -> Result<(), String> {
        let value = match (given, default) {
            (Some(given), _) => Some(given.to_string()),
            (None, Some(text)) => Some(self.expand(text)?),
            (None, None) => global.map(str::to_string),
        };
        if let Some(value) = &value {
            set(&mut self.env, name, value);
        }
        self.arguments.push((name.to_string(), value));
        Ok(())
    }

    /// Carries out an instruction that changes the configuration alone; answers whether it was one.
    pub(super) fn configure(&mut self, instruction: &Instruction) -> Result<bool, String> {
        let text = match instruction {
            Instruction::Env(pairs) => self.environment(pairs)?,
            Instruction::Label(pairs) => {
                let pairs = self.pairs(pairs)?;
                let text = spelled("LABEL", &pairs);
                self.config.config.labels.extend(pairs);
                text
            }
            Instruction::Cmd(command) => {
                let argv = command.argv(&self.shell());
                self.own_command = true;
                let text = format!("CMD {}", quoted(&argv));
                self.config.config.cmd = argv;
                text
            }
            Instruction::Entrypoint(command) => {
                let argv = command.argv(&self.shell());
                if !self.own_command {
                    // The arguments of the image below were for its own entry point.
                    self.config.config.cmd.clear();
                }
                let text = format!("ENTRYPOINT {}", quoted(&argv));
                self.config.config.entrypoint = argv;
                text
            }
            Instruction::Shell(words) => {
                self.config.config.other.insert("Shell".to_string(), json!(words));
                format!("SHELL [{}]", words.join(" "))
            }
            Instruction::Healthcheck(health) => {
                let value = health_value(health);
                let text = format!("HEALTHCHECK {value}");
                self.config.config.other.insert("Healthcheck".to_string(), value);
                text
            }
            Instruction::Expose(ports) => self.expose(ports)?,
            Instruction::User(user) => {
                self.config.config.user = self.expand(user)?;
                format!("USER {}", self.config.config.user)
            }
            Instruction::Volume(paths) => self.volume(paths)?,
            Instruction::StopSignal(signal) => {
                let signal = self.expand(signal)?;
                check_signal(&signal)?;
                self.config.config.stop_signal = signal.clone();
                format!("STOPSIGNAL {signal}")
            }
            Instruction::Maintainer(who) => {
                self.config.other.insert("author".to_string(), json!(who));
                format!("MAINTAINER {who}")
            }
            Instruction::OnBuild(trigger) => {
                let kept = self.config.config.other.entry("OnBuild").or_insert_with(|| json!([]));
                if let Value::Array(kept) = kept {
                    kept.push(json!(trigger));
                }
                format!("ONBUILD {trigger}")
            }
            _ => return Ok(false),
        };
        self.note(text, true);
        Ok(true)
    }

    fn environment(&mut self, pairs: &[(String, String)]) -> Result<String, String> {
        let pairs = self.pairs(pairs)?;
        let text = spelled("ENV", &pairs);
        for (key, value) in pairs {
            set(&mut self.env, &key, &value);
            let pair = format!("{key}={value}");
            let env = &mut self.config.config.env;
            match env
                .iter_mut()
                .find(|old| old.split_once('=').is_some_and(|(name, _)| name == key))
            {
                Some(old) => *old = pair,
                None => env.push(pair),
            }
        }
        Ok(text)
    }

    fn expose(&mut self, ports: &[String]) -> Result<String, String> {
        let mut all = Vec::new();
        for text in ports {
            for word in self.lexer().words(text)? {
                all.extend(exposed(&word)?);
            }
        }
        all.sort();
        let text = format!("EXPOSE [{}]", all.join(" "));
        self.config
            .config
            .exposed_ports
            .extend(all.into_iter().map(|port| (port, json!({}))));
        Ok(text)
    }

    fn volume(&mut self, paths: &[String]) -> Result<String, String> {
        let paths = paths
            .iter()
            .map(|path| self.expand(path))
            .collect::<Result<Vec<_>, _>>()?;
        if paths.iter().any(|path| path.trim().is_empty()) {
            return Err("VOLUME can't name an empty path".to_string());
        }
        let text = format!("VOLUME [{}]", paths.join(" "));
        self.config
            .config
            .volumes
            .extend(paths.into_iter().map(|path| (path, json!({}))));
        Ok(text)
    }

    /// The absolute directory that WORKDIR names, which is now the working directory.
    pub(super) fn enter(&mut self, path: &str) -> Result<String, String> {
        let path = self.expand(path)?;
        if path.is_empty() {
            return Err("WORKDIR can't be empty".to_string());
        }
        let path = join(&self.config.config.working_dir, &path);
        self.config.config.working_dir = path.clone();
        Ok(path)
    }
}

/// Sets a variable where it stands, or at the end.
pub(super) fn set(env: &mut Vec<(String, String)>, key: &str, value: &str) {
    match env.iter_mut().find(|(name, _)| name == key) {
        Some(entry) => entry.1 = value.to_string(),
        None => env.push((key.to_string(), value.to_string())),
    }
}

fn spelled(keyword: &str, pairs: &[(String, String)]) -> String {
    let pairs = pairs.iter().map(|(key, value)| format!(" {key}={value}"));
    pairs.fold(keyword.to_string(), |text, pair| text + &pair)
}

/// `["/bin/sh" "-c" "x"]`.
fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

/// `80` is `80/tcp`, and `8000-8002/udp` is three. Of `8080:80`, a mapping, the container's side counts.
fn exposed(text: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("EXPOSE {text}: no port such as 80, 53/udp or 8000-8010");
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(wrong());
    }
    let numbers = numbers.rsplit(':').next().unwrap_or_default();
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(wrong());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Only what was said is in the image.
fn health_value(health: &Health) -> Value {
    let mut value = json!({"Test": health.test});
    let times = [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
        ("Retries", health.retries),
    ];
    for (name, number) in times.into_iter().filter(|(_, number)| *number > 0) {
        value[name] = json!(number);
    }
    value
}

/// A number, or a name with or without `SIG`.
fn check_signal(text: &str) -> Result<(), String> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = name.strip_prefix("RTMIN").or_else(|| name.strip_prefix("RTMAX"));
    let real_time = real_time.is_some_and(|rest| rest.is_empty() || rest[1..].parse::<u8>().is_ok());
    let number = text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    match number || real_time || NAMES.contains(&name) {
        true => Ok(()),
        false => Err(format!("STOPSIGNAL {text} is no signal such as SIGQUIT or 3")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::parse::parse;

    fn state(text: &str) -> State {
        let mut state = State::scratch('\\');
        for line in parse(text).unwrap().lines {
            let instruction = Instruction::of(&line, '\\').unwrap();
            if let Instruction::Arg(arguments) = &instruction {
                for (name, default) in arguments {
                    state.argument(name, default.as_deref(), None, None).unwrap();
                }
            } else {
                assert!(state.configure(&instruction).unwrap(), "{}", line.text);
            }
        }
        state
    }

    #[test]
    fn env_sees_what_was_before_its_line() {
        let state = state("ENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n");
        let expected = [
            format!("PATH={PATH}"),
            "abc=bye".into(),
            "def=hello".into(),
            "ghi=bye".into(),
        ];
        assert_eq!(state.config.config.env, expected);
    }

    #[test]
    fn arguments_are_no_environment_of_the_image() {
        let state = state("ARG A=1 B=${A}2\nENV C=$B\nLABEL l=\"$A $B\"\n");
        assert_eq!(state.config.config.env[1..], ["C=12"]);
        assert_eq!(state.config.config.labels["l"], "1 12");
    }

    #[test]
    fn a_new_entry_point_drops_the_arguments_of_the_image_below() {
        let mut child = state("CMD [\"x\"]\n").child();
        child.configure(&Instruction::Entrypoint(Default::default())).unwrap();
        assert!(child.config.config.cmd.is_empty());
        assert_eq!(state("CMD [\"x\"]\nENTRYPOINT [\"y\"]\n").config.config.cmd, ["x"]);
        assert_eq!(
            state("SHELL [\"/b\", \"-e\"]\nCMD x y\n").config.config.cmd,
            ["/b", "-e", "x y"]
        );
    }

    #[test]
    fn ports_and_signals() {
        let state = state("ARG P=53/udp\nEXPOSE 80 $P 8000-8002\n");
        let ports: Vec<_> = state.config.config.exposed_ports.keys().map(String::as_str).collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]);
        assert!(exposed("0").is_err() && exposed("9-8").is_err() && exposed("80/x").is_err());
        for (signal, fine) in [
            ("SIGQUIT", true),
            ("term", true),
            ("9", true),
            ("SIGRTMIN+3", true),
            ("WHAT", false),
        ] {
            assert_eq!(check_signal(signal).is_ok(), fine, "{signal}");
        }
    }

    #[test]
    fn a_health_check_has_what_was_said() {
        let state = state("HEALTHCHECK --interval=5s CMD [\"a\"]\n");
        let health = &state.config.config.other["Healthcheck"];
        assert_eq!(*health, json!({"Test": ["CMD", "a"], "Interval": 5_000_000_000u64}));
    }
}
