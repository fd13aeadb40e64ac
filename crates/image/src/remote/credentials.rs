//! Who asks a registry: Docker's credentials, from its configuration file, its helper programs, or from secrets of the
//! same format.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use serde::Deserialize;

use crate::error::{At as _, Result, configuration};
use crate::reference::Reference;

/// Docker's own name for its registry, in configurations and towards helpers.
const DOCKER_SERVER: &str = "https://index.docker.io/v1/";

/// What proves to a registry who asks.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A name and a password, or a token in its place.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// What the registry's token service exchanges for access tokens.
    Identity(String),
    /// An access token as it is.
    Bearer(String),
}

impl Credential {
    /// Tells whether two are the same, without telling what they are.
    pub(crate) fn fingerprint(&self) -> String {
        let text = match self {
            Credential::Basic { username, password } => format!("basic\0{username}\0{password}"),
            Credential::Identity(token) => format!("identity\0{token}"),
            Credential::Bearer(token) => format!("bearer\0{token}"),
        };
        crate::blob::digest_of(text.as_bytes())
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credential::Basic { .. } => "Basic(..)",
            Credential::Identity(_) => "Identity(..)",
            Credential::Bearer(_) => "Bearer(..)",
        })
    }
}

/// Credentials by the registries and repositories that they are for.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    entries: Vec<(String, Credential)>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigFile {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default, alias = "identityToken")]
    identitytoken: String,
    #[serde(default, alias = "registryToken")]
    registrytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

impl Keyring {
    /// Where Docker keeps its configuration: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
    pub fn docker_config() -> Option<PathBuf> {
        let dir = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
        let dir = dir.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker")))?;
        Some(dir.join("config.json"))
    }

    /// Reads a configuration of Docker's; one that isn't there has no credentials.
    pub fn from_file(path: &Path) -> Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => Self::from_config(&bytes, &path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).at("reading", path),
        }
    }

    /// From the text of a `config.json`, or of a secret's `.dockerconfigjson`. `what` names it in errors.
    pub fn from_config(bytes: &[u8], what: &str) -> Result<Self> {
        let file: ConfigFile = serde_json::from_slice(bytes).map_err(|error| configuration(what, error))?;
        let mut keyring = Self::from_entries(file.auths, what)?;
        keyring.helpers = file.cred_helpers;
        keyring.store = file.creds_store.filter(|name| !name.is_empty());
        Ok(keyring)
    }

    /// From the text of a secret's `.dockercfg`, the older format.
    pub fn from_dockercfg(bytes: &[u8], what: &str) -> Result<Self> {
        let entries = serde_json::from_slice(bytes).map_err(|error| configuration(what, error))?;
        Self::from_entries(entries, what)
    }

    fn from_entries(entries: BTreeMap<String, Entry>, what: &str) -> Result<Self> {
        let mut found = Vec::new();
        for (server, entry) in entries {
            if let Some(credential) = entry.credential(&format!("{what}, auths[{server:?}]"))? {
                found.push((pattern(&server), credential));
            }
        }
        Ok(Self {
            entries: found,
            ..Self::default()
        })
    }

    /// One credential for everything on a registry.
    pub fn one(registry: &str, credential: Credential) -> Self {
        Self {
            entries: vec![(pattern(registry), credential)],
            ..Self::default()
        }
    }

    /// Adds what another keyring has, without its helpers: secrets run no programs.
    pub fn extend(&mut self, other: Keyring) {
        self.entries.extend(other.entries);
    }

    /// Whether it has nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.helpers.is_empty() && self.store.is_none()
    }

    /// The credentials for an image, those for the longest path first. Helpers are asked first; they are programs, so
    /// this may take a while.
    pub fn for_image(&self, image: &Reference) -> Result<Vec<Credential>> {
        let mut found = Vec::new();
        if let Some(helper) = self.helper(image.registry()) {
            found.extend(ask_helper(helper, &server_name(image.registry()))?);
        }
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .filter(|(pattern, _)| matches(pattern, image.registry(), image.repository()))
            .collect();
        entries.sort_by(|a, b| b.0.cmp(&a.0));
        found.extend(entries.into_iter().map(|(_, credential)| credential.clone()));
        found.dedup();
        Ok(found)
    }

    fn helper(&self, registry: &str) -> Option<&str> {
        let own = self
            .helpers
            .get(registry)
            .or_else(|| self.helpers.get(&server_name(registry)));
        own.or(self.store.as_ref()).map(String::as_str)
    }
}

impl Entry {
    fn credential(self, what: &str) -> Result<Option<Credential>> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::Bearer(self.registrytoken)));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::Identity(self.identitytoken)));
        }
        if self.auth.is_empty() {
            let (username, password) = (self.username, self.password);
            return Ok((!username.is_empty()).then_some(Credential::Basic { username, password }));
        }
        let bad = || configuration(what, "`auth` is not the base64 of NAME:PASSWORD");
        let auth = self.auth.trim_end_matches('=');
        let bytes = base64::engine::general_purpose::STANDARD_NO_PAD
            .decode(auth)
            .map_err(|_| bad())?;
        let text = String::from_utf8(bytes).map_err(|_| bad())?;
        let (username, password) = text.split_once(':').ok_or_else(bad)?;
        Ok(Some(Credential::Basic {
            username: username.to_string(),
            password: password.trim_end_matches('\0').to_string(),
        }))
    }
}

/// A server as configurations name it, without scheme and without the API's version.
fn pattern(server: &str) -> String {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let rest = rest.trim_end_matches('/');
    let rest = rest
        .strip_suffix("/v1")
        .or_else(|| rest.strip_suffix("/v2"))
        .unwrap_or(rest);
    match rest {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_string(),
        other => match other.strip_prefix("index.docker.io/") {
            Some(path) => format!("docker.io/{path}"),
            None => other.to_string(),
        },
    }
}

/// As kubelet has it: each part of the host may be a glob, the path is a prefix.
fn matches(pattern: &str, registry: &str, repository: &str) -> bool {
    let (host, path) = pattern.split_once('/').unwrap_or((pattern, ""));
    let split = |text: &str| -> (Vec<String>, Option<String>) {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port.to_string())),
            _ => (text, None),
        };
        (host.split('.').map(str::to_string).collect(), port)
    };
    let ((wanted, wanted_port), (have, have_port)) = (split(host), split(registry));
    let hosts = wanted.len() == have.len() && wanted.iter().zip(&have).all(|(glob, part)| glob_matches(glob, part));
    let paths = path.is_empty() || repository == path || repository.starts_with(&format!("{path}/"));
    hosts && wanted_port == have_port && paths
}

/// `*` stands for any characters, `?` for one.
fn glob_matches(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut g, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                g += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((at, from)) => {
                    *from += 1;
                    (g, t) = (*at + 1, *from);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|&c| c == '*')
}

fn server_name(registry: &str) -> String {
    if registry == "docker.io" {
        DOCKER_SERVER
    } else {
        registry
    }
    .to_string()
}

/// Asks `docker-credential-NAME get`; `None` when it has nothing for the server.
fn ask_helper(name: &str, server: &str) -> Result<Option<Credential>> {
    let program = format!("docker-credential-{name}");
    let bad = |reason: String| configuration(&program, reason);
    if !name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    {
        return Err(bad(
            "a helper's name has letters, digits, '-', '_' and '.' only".to_string()
        ));
    }
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            bad(format!(
                "it is named in Docker's configuration, but can't be started: {error}"
            ))
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that doesn't read says so by its exit code.
        let _ = stdin.write_all(server.as_bytes());
    }
    let output = child.wait_with_output().map_err(|error| bad(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(bad(format!("it failed for {server}: {}", said.trim())));
    }
    let answer: HelperAnswer = serde_json::from_slice(&output.stdout).map_err(|error| bad(error.to_string()))?;
    Ok(Some(if answer.username == "<token>" {
        Credential::Identity(answer.secret)
    } else {
        Credential::Basic {
            username: answer.username,
            password: answer.secret,
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(keyring: &Keyring, image: &str) -> Vec<String> {
        let found = keyring.for_image(&image.parse().unwrap()).unwrap();
        found
            .into_iter()
            .map(|credential| match credential {
                Credential::Basic { username, .. } => username,
                Credential::Identity(token) => format!("identity {token}"),
                Credential::Bearer(token) => format!("bearer {token}"),
            })
            .collect()
    }

    #[test]
    fn the_longest_path_goes_first() {
        let auth = |name: &str| base64::engine::general_purpose::STANDARD.encode(format!("{name}:pw"));
        let text = serde_json::json!({"auths": {
            "https://index.docker.io/v1/": {"auth": auth("hub")},
            "r.example": {"username": "all", "password": "x"},
            "r.example/team": {"auth": auth("team")},
            "*.wild.example:5000": {"identitytoken": "t"},
            "empty.example": {},
        }});
        let keyring = Keyring::from_config(text.to_string().as_bytes(), "test").unwrap();
        assert_eq!(names(&keyring, "nginx"), ["hub"]);
        assert_eq!(names(&keyring, "r.example/team/app"), ["team", "all"]);
        assert_eq!(names(&keyring, "r.example/teams/app"), ["all"]);
        assert_eq!(names(&keyring, "a.wild.example:5000/x"), ["identity t"]);
        assert!(names(&keyring, "a.wild.example/x").is_empty());
        assert!(names(&keyring, "a.b.wild.example:5000/x").is_empty());
        assert!(names(&keyring, "empty.example/x").is_empty());
    }

    #[test]
    fn the_older_format_and_what_is_wrong() {
        let keyring = Keyring::from_dockercfg(br#"{"r.example": {"username": "u", "password": "p"}}"#, "s").unwrap();
        assert_eq!(names(&keyring, "r.example/x"), ["u"]);
        let error = Keyring::from_config(br#"{"auths": {"a": {"auth": "%%"}}}"#, "secret ns/x").unwrap_err();
        assert!(error.to_string().contains("secret ns/x"), "{error}");
    }

    #[test]
    fn secrets_are_not_printed() {
        let credential = Credential::Basic {
            username: "u".into(),
            password: "hunter2".into(),
        };
        assert!(!format!("{credential:?}").contains("hunter2"));
    }
}
