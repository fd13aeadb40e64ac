//! What `gantry image build` takes, and what of it is looked up on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use image::Options;

/// Variables that need no ARG and change no result: how to reach the network.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What can be given.
#[derive(Args, Debug)]
pub struct BuildArgs {
    /// A name for the image; may be given several times.
    #[arg(short, long, required = true, value_name = "NAME")]
    pub tag: Vec<String>,
    /// The Dockerfile; - reads it from standard input [default: DIR/Dockerfile].
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// Build this stage instead of the last.
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// A value for an ARG; NAME alone takes the value that the environment has.
    #[arg(long, value_name = "NAME=VALUE")]
    pub build_arg: Vec<String>,
    /// A directory or an image (docker-image://NAME) that FROM and --from know by this name.
    #[arg(long, value_name = "NAME=DIR")]
    pub build_context: Vec<String>,
    /// A file (src=) or a variable (env=) for RUN --mount=type=secret.
    #[arg(long, value_name = "id=ID[,src=FILE]")]
    pub secret: Vec<String>,
    /// A label besides the Dockerfile's.
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Take nothing from earlier builds.
    #[arg(long)]
    pub no_cache: bool,
    /// Ask the registry for each image that is named, also for those that are here.
    #[arg(long)]
    pub pull: bool,
    /// The platform; another than this machine's is an error.
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// How progress is shown.
    #[arg(long, value_enum, default_value_t = Show::Auto)]
    pub progress: Show,
    /// Print the image's id and nothing else.
    #[arg(short, long)]
    pub quiet: bool,
    /// Write the image's id into this file.
    #[arg(long, value_name = "FILE")]
    pub iidfile: Option<PathBuf>,
    /// The directory whose files the Dockerfile may copy.
    pub dir: PathBuf,
}

/// How progress is shown.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// Live on a terminal, plain elsewhere.
    Auto,
    /// A line for all that happens.
    Plain,
    /// Live.
    Tty,
    /// Nothing.
    Quiet,
}

impl BuildArgs {
    /// What to build. The workspace is still missing.
    pub fn options(&self) -> anyhow::Result<Options> {
        if !self.dir.is_dir() {
            bail!("{} is not a directory", self.dir.display());
        }
        let mut options = Options {
            context: self.dir.clone(),
            file: self.file.clone(),
            names: self.tag.iter().map(|tag| tag.parse()).collect::<Result<_, _>>()?,
            target: self.target.clone(),
            no_cache: self.no_cache,
            pull: self.pull,
            platform: self.platform.clone(),
            contexts: contexts(&self.build_context)?,
            secrets: secrets(&self.secret)?,
            labels: self
                .label
                .iter()
                .map(|label| pair("--label", label))
                .collect::<Result<_, _>>()?,
            ..Options::default()
        };
        if self.file.as_deref() == Some("-".as_ref()) {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("reading the Dockerfile")?;
            (options.text, options.file) = (Some(text), None);
        }
        for given in &self.build_arg {
            match (given.split_once('='), std::env::var(given)) {
                (Some((name, value)), _) => options.arguments.push((name.to_string(), value.to_string())),
                (None, Ok(value)) => options.arguments.push((given.clone(), value)),
                (None, Err(_)) => {}
            }
        }
        options.proxies = proxies(&options.arguments);
        options.arguments.retain(|(name, _)| !PROXIES.contains(&name.as_str()));
        options.epoch = epoch(&options.arguments)?;
        Ok(options)
    }
}

/// The command line's, else the environment's.
fn proxies(arguments: &[(String, String)]) -> Vec<(String, String)> {
    let value = |name: &str| {
        let given = arguments
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone());
        given
            .or_else(|| std::env::var(name).ok())
            .filter(|value| !value.is_empty())
    };
    PROXIES
        .iter()
        .filter_map(|name| Some((name.to_string(), value(name)?)))
        .collect()
}

fn epoch(arguments: &[(String, String)]) -> anyhow::Result<Option<i64>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let given = arguments
        .iter()
        .rev()
        .find(|(key, _)| key == NAME)
        .map(|(_, value)| value.clone());
    let Some(text) = given
        .or_else(|| std::env::var(NAME).ok())
        .filter(|text| !text.is_empty())
    else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .with_context(|| format!("{NAME}={text} is no number of seconds"))
}

fn pair(flag: &str, text: &str) -> anyhow::Result<(String, String)> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.with_context(|| format!("{flag} {text}: it wants NAME=VALUE"))?;
    Ok((name.to_string(), value.to_string()))
}

fn contexts(given: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut contexts = BTreeMap::new();
    for text in given {
        let (name, place) = pair("--build-context", text)?;
        if !place.starts_with("docker-image://") {
            if let Some((scheme, _)) = place.split_once("://") {
                bail!("--build-context {text}: {scheme} is not supported; use a directory or docker-image://NAME");
            }
            if !PathBuf::from(&place).is_dir() {
                bail!("--build-context {text}: {place} is not a directory");
            }
        }
        contexts.insert(name, place);
    }
    Ok(contexts)
}

/// `id=a,src=FILE`, `id=a,env=NAME`, or `id=a` for the file or variable of that name.
fn secrets(given: &[String]) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut secrets = BTreeMap::new();
    for text in given {
        let (mut id, mut source, mut variable) = (None, None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("id", value)) => id = Some(value),
                Some(("src" | "source", value)) => source = Some(value),
                Some(("env", value)) => variable = Some(value),
                Some(("type", "file" | "env")) => {}
                _ => bail!("--secret {text}: {field:?} is not known; use id=ID,src=FILE or id=ID,env=NAME"),
            }
        }
        let id = id
            .filter(|id| !id.is_empty())
            .with_context(|| format!("--secret {text}: id is missing"))?;
        let content = match (source, variable) {
            (Some(file), None) => fs::read(file).with_context(|| format!("reading the secret {id} from {file}"))?,
            (None, Some(name)) => variable_of(id, name)?,
            (None, None) if std::env::var_os(id).is_some() => variable_of(id, id)?,
            (None, None) => fs::read(id).with_context(|| format!("--secret {text}: give src=FILE or env=NAME"))?,
            (Some(_), Some(_)) => bail!("--secret {text}: src and env are one too many"),
        };
        secrets.insert(id.to_string(), content);
    }
    Ok(secrets)
}

fn variable_of(id: &str, name: &str) -> anyhow::Result<Vec<u8>> {
    let value = std::env::var_os(name).with_context(|| format!("the secret {id}: there is no variable {name}"))?;
    Ok(value.into_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_contexts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "hidden").unwrap();
        let given = [
            format!("id=a,src={}", file.path().display()),
            "id=b,env=PATH".to_string(),
        ];
        let found = secrets(&given).unwrap();
        assert_eq!(found["a"], b"hidden");
        assert!(!found["b"].is_empty());
        for text in [
            "src=x",
            "id=a,what=x",
            "id=a,src=/nothing/here",
            "id=a,env=NOT_SET_AT_ALL",
        ] {
            assert!(secrets(&[text.to_string()]).is_err(), "{text}");
        }
        assert!(contexts(&["a=docker-image://x".to_string(), "b=/tmp".to_string()]).is_ok());
        for text in ["a", "a=/nothing/here", "a=https://x/y.git"] {
            assert!(contexts(&[text.to_string()]).is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let given = [("http_proxy".to_string(), "mine".to_string())];
        assert!(proxies(&given).contains(&given[0]));
        let time = |text: &str| epoch(&[("SOURCE_DATE_EPOCH".to_string(), text.to_string())]);
        assert_eq!(time("5").unwrap(), Some(5));
        assert!(time("x").is_err());
    }
}
