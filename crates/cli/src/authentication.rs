//! What the command line says of who is believed beside the server's own credentials, and what an instance keeps of that.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

/// Who is believed, by the names that kube-apiserver has for it.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthenticationArgs {
    /// Who is believed beside the cluster's own tokens and certificates, and what requests without any may see: a file with
    /// an AuthenticationConfiguration, which is read again when it changes; an empty text for nobody.
    #[arg(long, value_name = "FILE")]
    pub authentication_config: Option<OsString>,
    /// Believe tokens of this OpenID Connect issuer; an empty text for none.
    #[arg(long, value_name = "URL")]
    pub oidc_issuer_url: Option<String>,
    /// Whom the issuer's tokens must be for.
    #[arg(long, value_name = "ID")]
    pub oidc_client_id: Option<String>,
    /// The claim with the user's name [default: sub].
    #[arg(long, value_name = "CLAIM")]
    pub oidc_username_claim: Option<String>,
    /// What stands before users' names [default: the issuer's URL and #, but for the claim email]; - for nothing.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub oidc_username_prefix: Option<String>,
    /// The claim with the user's groups.
    #[arg(long, value_name = "CLAIM")]
    pub oidc_groups_claim: Option<String>,
    /// What stands before groups' names.
    #[arg(long, value_name = "TEXT")]
    pub oidc_groups_prefix: Option<String>,
    /// A claim that must have this value; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = claim)]
    pub oidc_required_claim: Option<Vec<(String, String)>>,
    /// The authority of the issuer's certificate [default: those that the machine trusts].
    #[arg(long, value_name = "FILE")]
    pub oidc_ca_file: Option<OsString>,
    /// How the issuer's tokens may be signed [default: RS256].
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub oidc_signing_algs: Option<Vec<String>>,
}

/// Who is believed, as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authentication {
    /// The file with the AuthenticationConfiguration.
    pub file: Option<PathBuf>,
    /// The one issuer, when there is no file.
    pub oidc: Option<Oidc>,
}

/// One OpenID Connect issuer, as it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Oidc {
    /// Its URL.
    pub issuer_url: String,
    /// Whom its tokens must be for.
    pub client_id: String,
    /// The claim with the user's name.
    pub username_claim: String,
    /// What stands before users' names.
    pub username_prefix: String,
    /// The claim with the groups.
    pub groups_claim: String,
    /// What stands before groups' names.
    pub groups_prefix: String,
    /// Claims that must have these values.
    pub required_claims: BTreeMap<String, String>,
    /// The authority of its certificate.
    pub ca_file: Option<PathBuf>,
    /// How its tokens may be signed.
    pub signing_algorithms: Vec<String>,
}

impl Authentication {
    /// What an instance has by now: what it had before, changed by what is given. Files are found again from any directory.
    ///
    /// # Errors
    /// When a file's place can't be made out, or what is given doesn't go together.
    pub fn of(before: Authentication, given: &AuthenticationArgs) -> anyhow::Result<Authentication> {
        if *given == AuthenticationArgs::default() {
            return Ok(before);
        }
        let flags = AuthenticationArgs {
            authentication_config: None,
            ..given.clone()
        };
        let has_flags = flags != AuthenticationArgs::default();
        if let Some(file) = given.authentication_config.as_ref().filter(|file| !file.is_empty()) {
            if has_flags {
                bail!("authentication-config file and oidc-* flags are mutually exclusive");
            }
            return Ok(Authentication {
                file: Some(absolute(file)?),
                oidc: None,
            });
        }
        let oidc = match has_flags {
            true => Oidc::of(before.oidc.unwrap_or_default(), given)?,
            false => before.oidc,
        };
        let file = before
            .file
            .filter(|_| given.authentication_config.is_none() && oidc.is_none());
        Ok(Authentication { file, oidc })
    }
}

impl Oidc {
    fn of(before: Oidc, given: &AuthenticationArgs) -> anyhow::Result<Option<Oidc>> {
        if given.oidc_issuer_url.as_deref() == Some("") {
            return Ok(None);
        }
        let text = |given: &Option<String>, before: String| given.clone().unwrap_or(before);
        let required = given.oidc_required_claim.as_ref();
        let oidc = Oidc {
            issuer_url: text(&given.oidc_issuer_url, before.issuer_url),
            client_id: text(&given.oidc_client_id, before.client_id),
            username_claim: text(&given.oidc_username_claim, before.username_claim),
            username_prefix: text(&given.oidc_username_prefix, before.username_prefix),
            groups_claim: text(&given.oidc_groups_claim, before.groups_claim),
            groups_prefix: text(&given.oidc_groups_prefix, before.groups_prefix),
            required_claims: required.map_or(before.required_claims, |claims| claims.iter().cloned().collect()),
            ca_file: match &given.oidc_ca_file {
                None => before.ca_file,
                Some(file) if file.is_empty() => None,
                Some(file) => Some(absolute(file)?),
            },
            signing_algorithms: given.oidc_signing_algs.clone().unwrap_or(before.signing_algorithms),
        };
        if oidc.issuer_url.is_empty() || oidc.client_id.is_empty() {
            bail!("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set");
        }
        Ok(Some(oidc))
    }
}

fn absolute(file: &OsString) -> anyhow::Result<PathBuf> {
    let file = Path::new(file);
    std::path::absolute(file).with_context(|| format!("finding {}", file.display()))
}

/// `KEY=VALUE`.
fn claim(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not a claim such as hd=example.com"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(url: &str, id: Option<&str>) -> AuthenticationArgs {
        AuthenticationArgs {
            oidc_issuer_url: Some(url.to_owned()),
            oidc_client_id: id.map(str::to_owned),
            ..AuthenticationArgs::default()
        }
    }

    #[test]
    fn a_file_and_flags_take_each_others_place() {
        let file = AuthenticationArgs {
            authentication_config: Some("/a.yaml".into()),
            ..AuthenticationArgs::default()
        };
        let by_file = Authentication::of(Authentication::default(), &file).unwrap();
        assert_eq!(by_file.file.as_deref(), Some(Path::new("/a.yaml")));
        assert_eq!(
            Authentication::of(by_file.clone(), &AuthenticationArgs::default()).unwrap(),
            by_file
        );
        let by_flags = Authentication::of(by_file, &issuer("https://a", Some("me"))).unwrap();
        assert_eq!(by_flags.file, None);
        let prefix = AuthenticationArgs {
            oidc_username_prefix: Some("-".to_owned()),
            ..AuthenticationArgs::default()
        };
        let changed = Authentication::of(by_flags.clone(), &prefix).unwrap().oidc.unwrap();
        assert_eq!(
            (changed.client_id.as_str(), changed.username_prefix.as_str()),
            ("me", "-")
        );
        let none = Authentication::of(by_flags, &issuer("", None)).unwrap();
        assert_eq!(none, Authentication::default());
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let before = Authentication::default();
        assert!(Authentication::of(before.clone(), &issuer("https://a", None)).is_err());
        let both = AuthenticationArgs {
            authentication_config: Some("/a.yaml".into()),
            ..issuer("https://a", Some("me"))
        };
        assert!(Authentication::of(before, &both).is_err());
    }
}
