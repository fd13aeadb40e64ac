//! Image names, normalised as Docker does: `nginx` is `docker.io/library/nginx:latest`.
//!
//! The grammar is that of the OCI distribution specification and of Docker's familiar names.

use std::fmt;
use std::str::FromStr;

/// A full image name. `Display` gives the canonical form, which is also the key in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a text is no image name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid image name {name:?}: {reason}")]
pub struct InvalidReference {
    name: String,
    reason: &'static str,
}

impl Reference {
    /// The registry's host and port, `docker.io` when the name gave none.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry, such as `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag; `latest` when the name had neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest (`sha256:...`) that pins the content, when the name has one.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The name without what Docker implies: `docker.io/library/nginx:latest` is shown as `nginx:latest`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").unwrap_or(&full);
        short.strip_prefix("library/").unwrap_or(short).to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(name: &str) -> Result<Self, InvalidReference> {
        let fail = |reason| InvalidReference {
            name: name.to_string(),
            reason,
        };
        if name.is_empty() {
            return Err(fail("it is empty"));
        }
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_string())),
            Some(_) => return Err(fail("what follows @ is not a digest such as sha256:<64 hex digits>")),
            None => (name, None),
        };
        let (rest, tag) = match rest.rsplit_once(':') {
            // A colon before a slash belongs to the registry's port.
            Some((rest, tag)) if !tag.contains('/') => {
                if !is_tag(tag) {
                    return Err(fail(
                        "a tag has up to 128 letters, digits, '_', '.' and '-', and starts with none of the last two",
                    ));
                }
                (rest, Some(tag.to_string()))
            }
            _ => (rest, None),
        };
        let (registry, path) = split_registry(rest);
        let repository = if registry == "docker.io" && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_string()
        };
        if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(fail("a repository's name must be lowercase"));
        }
        if !repository.split('/').all(is_path_component) {
            return Err(fail(
                "a repository's name has lowercase letters and digits, separated by '.', '_', '-' or '/'",
            ));
        }
        if repository.len() > 255 {
            return Err(fail("a repository's name has at most 255 characters"));
        }
        let tag = if tag.is_none() && digest.is_none() {
            Some("latest".to_string())
        } else {
            tag
        };
        Ok(Self {
            registry: registry.to_string(),
            repository,
            tag,
            digest,
        })
    }
}

/// The first part is a registry only when it looks like a host: it has a dot or a port, or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (if first == "index.docker.io" { "docker.io" } else { first }, rest)
        }
        _ => ("docker.io", name),
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag
            .bytes()
            .enumerate()
            .all(|(i, byte)| word(byte) || (i > 0 && matches!(byte, b'.' | b'-')))
        && !tag.is_empty()
}

fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

/// Letters and digits, separated by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let alnum = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    if bytes.first().is_none_or(|&b| !alnum(b)) || bytes.last().is_none_or(|&b| !alnum(b)) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, canonical: &str, familiar: &str) {
        let reference: Reference = name.parse().unwrap();
        assert_eq!(reference.to_string(), canonical);
        assert_eq!(reference.familiar(), familiar);
        assert_eq!(
            canonical.parse::<Reference>().unwrap(),
            reference,
            "the canonical form is stable"
        );
    }

    #[test]
    fn names_are_normalised_as_docker_does() {
        check("nginx", "docker.io/library/nginx:latest", "nginx:latest");
        check("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27");
        check("team/app", "docker.io/team/app:latest", "team/app:latest");
        check(
            "index.docker.io/library/nginx",
            "docker.io/library/nginx:latest",
            "nginx:latest",
        );
        check("localhost/app", "localhost/app:latest", "localhost/app:latest");
        check(
            "localhost:5000/app:v1",
            "localhost:5000/app:v1",
            "localhost:5000/app:v1",
        );
        check(
            "registry.example.com/a/b/c",
            "registry.example.com/a/b/c:latest",
            "registry.example.com/a/b/c:latest",
        );
        let digest = format!("sha256:{}", "0a".repeat(32));
        check(
            &format!("nginx@{digest}"),
            &format!("docker.io/library/nginx@{digest}"),
            &format!("nginx@{digest}"),
        );
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in [
            "",
            "Nginx",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "nginx:",
            "nginx:-x",
            "nginx@sha256:12",
            "a___b",
            ":x",
        ] {
            assert!(name.parse::<Reference>().is_err(), "{name:?}");
        }
        for name in ["a__b", "a---b", "a.b_c-d"] {
            assert!(name.parse::<Reference>().is_ok(), "{name:?}");
        }
    }
}
