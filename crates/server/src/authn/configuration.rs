//! Who is believed beside the server's own credentials: an `AuthenticationConfiguration` of apiserver.config.k8s.io/v1, or
//! the flags that were before it, which say the same of one issuer. Here it is only read; `validation` says what it may be.
//!
//! <https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#apiserver-config-k8s-io-v1-AuthenticationConfiguration>

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::jwt::{Algorithm, Authenticator};
use super::validation;

/// Who is believed beside the server's own credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthenticationSettings {
    /// What a file with an `AuthenticationConfiguration` says; it is read again when it changes.
    File(PathBuf),
    /// One OpenID Connect issuer.
    Oidc(OidcSettings),
}

/// One OpenID Connect issuer, by the flags that kube-apiserver has for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OidcSettings {
    /// The issuer's URL.
    pub issuer_url: String,
    /// The audience that tokens must be for.
    pub client_id: String,
    /// The claim with the user's name; `sub` when it is empty.
    pub username_claim: String,
    /// What stands before the user's name. When it is empty that is the issuer's URL and `#`, but for the claim `email`; `-`
    /// is for nothing.
    pub username_prefix: String,
    /// The claim with the groups; none when it is empty.
    pub groups_claim: String,
    /// What stands before the groups' names.
    pub groups_prefix: String,
    /// Claims that must be there with these values.
    pub required_claims: BTreeMap<String, String>,
    /// The file with the authority of the issuer's certificate; the machine's authorities when there is none.
    pub ca_file: Option<PathBuf>,
    /// How tokens may be signed; RS256 when there is none.
    pub signing_algorithms: Vec<String>,
}

/// The configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct AuthenticationConfiguration {
    api_version: String,
    kind: String,
    pub(super) jwt: Vec<JwtAuthenticator>,
    pub(super) anonymous: Option<Anonymous>,
}

/// What becomes of requests without credentials.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Anonymous {
    pub(super) enabled: bool,
    pub(super) conditions: Vec<Condition>,
}

/// One of the paths that are open to everybody.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Condition {
    pub(super) path: String,
}

/// One issuer, and what its tokens mean.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct JwtAuthenticator {
    pub(super) issuer: Issuer,
    pub(super) claim_validation_rules: Vec<ClaimValidationRule>,
    pub(super) claim_mappings: ClaimMappings,
    pub(super) user_validation_rules: Vec<UserValidationRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Issuer {
    pub(super) url: String,
    #[serde(rename = "discoveryURL")]
    pub(super) discovery_url: String,
    pub(super) certificate_authority: String,
    pub(super) audiences: Vec<String>,
    pub(super) audience_match_policy: String,
    pub(super) egress_selector_type: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ClaimValidationRule {
    pub(super) claim: String,
    pub(super) required_value: String,
    pub(super) expression: String,
    pub(super) message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ClaimMappings {
    pub(super) username: PrefixedClaimOrExpression,
    pub(super) groups: PrefixedClaimOrExpression,
    pub(super) uid: ClaimOrExpression,
    pub(super) extra: Vec<ExtraMapping>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PrefixedClaimOrExpression {
    pub(super) claim: String,
    pub(super) prefix: Option<String>,
    pub(super) expression: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ClaimOrExpression {
    pub(super) claim: String,
    pub(super) expression: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ExtraMapping {
    pub(super) key: String,
    pub(super) value_expression: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UserValidationRule {
    pub(super) expression: String,
    pub(super) message: String,
}

/// A configuration that can be used.
pub(super) struct Compiled {
    pub(super) authenticators: Vec<Authenticator>,
    /// None when the configuration says nothing: then requests without credentials go on as anonymous.
    pub(super) anonymous: Option<Anonymous>,
}

impl Compiled {
    /// Reads the file that the settings name, or translates the flags. `own` is the issuer that nobody else may be.
    ///
    /// # Errors
    /// What can't be used, and why.
    pub(super) fn of(settings: &AuthenticationSettings, own: &str) -> Result<Compiled, String> {
        match settings {
            AuthenticationSettings::File(file) => {
                let named = |why: String| format!("--authentication-config {}: {why}", file.display());
                let text = std::fs::read_to_string(file).map_err(|error| named(error.to_string()))?;
                Compiled::parse(&text, own).map_err(named)
            }
            AuthenticationSettings::Oidc(oidc) => {
                let algorithms = match &oidc.signing_algorithms[..] {
                    [] => vec![Algorithm::Rs256],
                    named => {
                        let found = named.iter().map(|name| {
                            Algorithm::named(name).ok_or_else(|| format!("oidc: unsupported signing alg: {name:?}"))
                        });
                        found.collect::<Result<_, _>>()?
                    }
                };
                compile(&oidc.configuration()?, &algorithms, own)
            }
        }
    }

    /// Reads a configuration from YAML or JSON.
    pub(super) fn parse(text: &str, own: &str) -> Result<Compiled, String> {
        let configuration: AuthenticationConfiguration =
            serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let version = configuration.api_version.as_str();
        let is_known = ["v1", "v1beta1", "v1alpha1"]
            .iter()
            .any(|known| version.strip_prefix("apiserver.config.k8s.io/") == Some(*known));
        if configuration.kind != "AuthenticationConfiguration" || !is_known {
            return Err(
                "apiVersion and kind: must be apiserver.config.k8s.io/v1, AuthenticationConfiguration".to_owned(),
            );
        }
        compile(&configuration, &Algorithm::ALL, own)
    }
}

fn compile(
    configuration: &AuthenticationConfiguration,
    algorithms: &[Algorithm],
    own: &str,
) -> Result<Compiled, String> {
    let rules = validation::validate(configuration, own).map_err(|errors| match &errors[..] {
        [only] => only.to_string(),
        several => {
            let all: Vec<String> = several.iter().map(ToString::to_string).collect();
            format!("[{}]", all.join(", "))
        }
    })?;
    let authenticators = configuration.jwt.iter().zip(rules).map(|(jwt, rules)| {
        let ca = jwt.issuer.certificate_authority.as_bytes();
        Authenticator::new(&jwt.issuer, ca, rules, algorithms)
    });
    Ok(Compiled {
        authenticators: authenticators.collect::<Result<_, _>>()?,
        anonymous: configuration.anonymous.clone(),
    })
}

impl OidcSettings {
    fn configuration(&self) -> Result<AuthenticationConfiguration, String> {
        let claim = match self.username_claim.as_str() {
            "" => "sub",
            given => given,
        };
        let prefix = match self.username_prefix.as_str() {
            // Without it, two issuers' users of one name would be the same.
            "" if claim != "email" => format!("{}#", self.issuer_url),
            "-" => String::new(),
            given => given.to_owned(),
        };
        let username = PrefixedClaimOrExpression {
            claim: claim.to_owned(),
            prefix: Some(prefix),
            expression: String::new(),
        };
        let groups = match self.groups_claim.as_str() {
            "" => PrefixedClaimOrExpression::default(),
            claim => PrefixedClaimOrExpression {
                claim: claim.to_owned(),
                prefix: Some(self.groups_prefix.clone()),
                expression: String::new(),
            },
        };
        let rules = self.required_claims.iter().map(|(claim, value)| ClaimValidationRule {
            claim: claim.clone(),
            required_value: value.clone(),
            ..ClaimValidationRule::default()
        });
        Ok(AuthenticationConfiguration {
            jwt: vec![JwtAuthenticator {
                issuer: Issuer {
                    url: self.issuer_url.clone(),
                    audiences: vec![self.client_id.clone()],
                    certificate_authority: self.ca_file.as_deref().map(authority).transpose()?.unwrap_or_default(),
                    ..Issuer::default()
                },
                claim_validation_rules: rules.collect(),
                claim_mappings: ClaimMappings {
                    username,
                    groups,
                    ..ClaimMappings::default()
                },
                ..JwtAuthenticator::default()
            }],
            ..AuthenticationConfiguration::default()
        })
    }
}

fn authority(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("--oidc-ca-file {}: {error}", file.display()))
}
