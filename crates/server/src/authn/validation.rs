//! What an `AuthenticationConfiguration` may be, with the paths and the words that kube-apiserver has for what it may not
//! (`k8s.io/apiserver/pkg/apis/apiserver/validation`). What may be is compiled on the way.

use std::collections::BTreeSet;

use api::expression::Expression;
use meta::{FieldError, names};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;

use super::configuration::{
    AuthenticationConfiguration, ClaimMappings, ClaimValidationRule, Issuer, JwtAuthenticator,
    PrefixedClaimOrExpression, UserValidationRule,
};
use super::jwt::{Rule, Rules, Source};

const MOST: usize = 64;

type Errors = Vec<FieldError>;

/// The rules of each issuer, or what is wrong. `own` is the issuer that nobody else may be.
pub(super) fn validate(configuration: &AuthenticationConfiguration, own: &str) -> Result<Vec<Rules>, Errors> {
    let mut errors = Errors::new();
    if configuration.jwt.len() > MOST {
        let why = format!("Too many: {}: must have at most {MOST} items", configuration.jwt.len());
        return Err(vec![FieldError::invalid("jwt", configuration.jwt.len(), why)]);
    }
    let (mut urls, mut discoveries) = (BTreeSet::new(), BTreeSet::new());
    let mut all = Vec::new();
    for (index, jwt) in configuration.jwt.iter().enumerate() {
        let at = format!("jwt[{index}]");
        all.push(authenticator(jwt, &at, own, &mut errors));
        if !urls.insert(jwt.issuer.url.as_str()) {
            errors.push(FieldError::duplicate(
                format!("{at}.issuer.url"),
                jwt.issuer.url.as_str(),
            ));
        }
        let discovery = jwt.issuer.discovery_url.as_str();
        if !discovery.is_empty() && !discoveries.insert(discovery) {
            errors.push(FieldError::duplicate(format!("{at}.issuer.discoveryURL"), discovery));
        }
    }
    if let Some(anonymous) = &configuration.anonymous
        && !anonymous.enabled
        && !anonymous.conditions.is_empty()
    {
        let paths: Vec<_> = anonymous
            .conditions
            .iter()
            .map(|condition| json!({"path": condition.path}))
            .collect();
        let why = "enabled should be set to true when conditions are defined";
        errors.push(FieldError::invalid("anonymous.conditions", paths, why));
    }
    if errors.is_empty() { Ok(all) } else { Err(errors) }
}

fn authenticator(jwt: &JwtAuthenticator, at: &str, own: &str, errors: &mut Errors) -> Rules {
    issuer(&jwt.issuer, &format!("{at}.issuer"), own, errors);
    let mut rules = Rules::default();
    claim_rules(
        &jwt.claim_validation_rules,
        &format!("{at}.claimValidationRules"),
        &mut rules,
        errors,
    );
    mappings(&jwt.claim_mappings, &format!("{at}.claimMappings"), &mut rules, errors);
    user_rules(
        &jwt.user_validation_rules,
        &format!("{at}.userValidationRules"),
        &mut rules,
        errors,
    );
    rules
}

fn issuer(issuer: &Issuer, at: &str, own: &str, errors: &mut Errors) {
    let path = format!("{at}.url");
    if issuer.url.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else {
        if issuer.url == own {
            let why = format!("URL must not overlap with disallowed issuers: [{own}]");
            errors.push(FieldError::invalid(&path, issuer.url.as_str(), why));
        }
        url(&issuer.url, &path, errors);
    }
    if !issuer.discovery_url.is_empty() {
        let path = format!("{at}.discoveryURL");
        if issuer.url.trim_end_matches('/') == issuer.discovery_url.trim_end_matches('/') {
            let why = "discoveryURL must be different from URL";
            errors.push(FieldError::invalid(&path, issuer.discovery_url.as_str(), why));
        }
        url(&issuer.discovery_url, &path, errors);
    }
    audiences(issuer, at, errors);
    let pem = &issuer.certificate_authority;
    if !pem.is_empty() {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        if certificates.is_empty() || certificates.iter().any(Result::is_err) {
            let why = "data does not contain any valid RSA or ECDSA certificates";
            errors.push(FieldError::invalid(
                format!("{at}.certificateAuthority"),
                "<omitted>",
                why,
            ));
        }
    }
    if !issuer.egress_selector_type.is_empty() {
        let why = "egress selectors are not supported: connections are always made directly";
        let given = issuer.egress_selector_type.as_str();
        errors.push(FieldError::invalid(format!("{at}.egressSelectorType"), given, why));
    }
}

fn url(url: &str, at: &str, errors: &mut Errors) {
    let mut wrong = |why: &str| errors.push(FieldError::invalid(at, url, why));
    let Ok(uri) = url.split('#').next().unwrap_or_default().parse::<http::Uri>() else {
        return wrong(&format!("parse {url:?}: invalid URL"));
    };
    if uri.scheme_str() != Some("https") {
        wrong("URL scheme must be https");
    }
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        wrong("URL must not contain a username or password");
    }
    if uri.query().is_some_and(|query| !query.is_empty()) {
        wrong("URL must not contain a query");
    }
    if url.split_once('#').is_some_and(|(_, fragment)| !fragment.is_empty()) {
        wrong("URL must not contain a fragment");
    }
}

fn audiences(issuer: &Issuer, at: &str, errors: &mut Errors) {
    let path = format!("{at}.audiences");
    if issuer.audiences.is_empty() {
        errors.push(FieldError::required(&path, format!("at least one {path} is required")));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, audience) in issuer.audiences.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if audience.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        if !seen.insert(audience) {
            errors.push(FieldError::duplicate(&path, audience.as_str()));
        }
    }
    let policy = issuer.audience_match_policy.as_str();
    let why = match (issuer.audiences.len(), policy) {
        (_, "MatchAny") | (1, "") => return,
        (1, _) => "audienceMatchPolicy must be empty or MatchAny for single audience",
        _ => "audienceMatchPolicy must be MatchAny for multiple audiences",
    };
    errors.push(FieldError::invalid(format!("{at}.audienceMatchPolicy"), policy, why));
}

fn compile(text: &str, about: &str, at: &str, errors: &mut Errors) -> Option<Expression> {
    match Expression::compile_about(text, about) {
        Ok(expression) => Some(expression),
        Err(why) => {
            errors.push(FieldError::invalid(at, text, why));
            None
        }
    }
}

fn claim_rules(given: &[ClaimValidationRule], at: &str, rules: &mut Rules, errors: &mut Errors) {
    let (mut claims, mut expressions) = (BTreeSet::new(), BTreeSet::new());
    for (index, rule) in given.iter().enumerate() {
        let at = format!("{at}[{index}]");
        match (rule.claim.as_str(), rule.expression.as_str()) {
            ("", "") => errors.push(FieldError::required(at, "claim or expression is required")),
            (claim, "") => {
                if !rule.message.is_empty() {
                    let why = "may not be specified when claim is set";
                    errors.push(FieldError::invalid(format!("{at}.message"), rule.message.as_str(), why));
                }
                if !claims.insert(claim) {
                    errors.push(FieldError::duplicate(format!("{at}.claim"), claim));
                }
                rules.required.push((claim.to_owned(), rule.required_value.clone()));
            }
            ("", text) => {
                if !rule.required_value.is_empty() {
                    let why = "may not be specified when expression is set";
                    let given = rule.required_value.as_str();
                    errors.push(FieldError::invalid(format!("{at}.requiredValue"), given, why));
                }
                let at = format!("{at}.expression");
                if !expressions.insert(text) {
                    errors.push(FieldError::duplicate(at, text));
                } else if let Some(expression) = compile(text, "claims", &at, errors) {
                    let message = rule.message.clone();
                    rules.of_claims.push(Rule { expression, message });
                }
            }
            (claim, _) => errors.push(FieldError::invalid(at, claim, "claim and expression can't both be set")),
        }
    }
}

fn mappings(given: &ClaimMappings, at: &str, rules: &mut Rules, errors: &mut Errors) {
    rules.username = source(&given.username, &format!("{at}.username"), true, errors);
    rules.groups = source(&given.groups, &format!("{at}.groups"), false, errors);
    let path = format!("{at}.uid");
    rules.uid = match (given.uid.claim.as_str(), given.uid.expression.as_str()) {
        ("", "") => Source::None,
        ("", text) => {
            let compiled = compile(text, "claims", &format!("{path}.expression"), errors);
            compiled.map_or(Source::None, Source::Expression)
        }
        (claim, "") => Source::claim(claim, ""),
        _ => {
            errors.push(FieldError::invalid(path, "", "claim and expression can't both be set"));
            Source::None
        }
    };
    let mut seen = BTreeSet::new();
    for (index, extra) in given.extra.iter().enumerate() {
        let (path, key) = (format!("{at}.extra[{index}]"), extra.key.as_str());
        extra_key(key, &format!("{path}.key"), errors);
        if !seen.insert(key) {
            errors.push(FieldError::duplicate(format!("{path}.key"), key));
            continue;
        }
        let path = format!("{path}.valueExpression");
        if extra.value_expression.is_empty() {
            errors.push(FieldError::required(path, ""));
        } else if let Some(expression) = compile(&extra.value_expression, "claims", &path, errors) {
            rules.extra.push((key.to_owned(), expression));
        }
    }
    let selects = |expression: &Expression, field: &str| expression.selects("claims", field);
    let Source::Expression(username) = &rules.username else {
        return;
    };
    let of_rules = rules.of_claims.iter().map(|rule| &rule.expression);
    let mut all = of_rules
        .chain(rules.extra.iter().map(|(_, expression)| expression))
        .chain([username]);
    if selects(username, "email") && !all.any(|expression| selects(expression, "email_verified")) {
        let why = "claims.email_verified must be used in claimMappings.username.expression or \
                   claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used \
                   in claimMappings.username.expression";
        let path = format!("{at}.username.expression");
        errors.push(FieldError::invalid(path, given.username.expression.as_str(), why));
    }
}

fn source(given: &PrefixedClaimOrExpression, at: &str, required: bool, errors: &mut Errors) -> Source {
    match (given.claim.as_str(), given.expression.as_str()) {
        ("", "") => {
            if required {
                errors.push(FieldError::required(at, "claim or expression is required"));
            }
            Source::None
        }
        (claim, "") => {
            let Some(prefix) = &given.prefix else {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                errors.push(FieldError::required(format!("{at}.prefix"), why));
                return Source::None;
            };
            Source::claim(claim, prefix)
        }
        ("", text) => {
            if let Some(prefix) = &given.prefix {
                let why = "may not be specified when expression is set";
                errors.push(FieldError::invalid(format!("{at}.prefix"), prefix.as_str(), why));
            }
            let compiled = compile(text, "claims", &format!("{at}.expression"), errors);
            compiled.map_or(Source::None, Source::Expression)
        }
        _ => {
            errors.push(FieldError::invalid(at, "", "claim and expression can't both be set"));
            Source::None
        }
    }
}

/// A path below a domain, such as `example.com/tenant`.
fn extra_key(key: &str, at: &str, errors: &mut Errors) {
    let mut wrong = |value: &str, why: String| errors.push(FieldError::invalid(at, value, why));
    match key.split_once('/') {
        _ if key.is_empty() => return errors.push(FieldError::required(at, "")),
        Some((host, path)) if !host.is_empty() && !path.is_empty() => {
            for why in names::dns_subdomain(host) {
                wrong(host, why);
            }
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&byte);
            if !path.bytes().all(is_plain) {
                wrong(path, "Invalid path".to_owned());
            }
            let is_below = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
            if is_below("kubernetes.io") || is_below("k8s.io") {
                let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
                wrong(key, why.to_owned());
            }
        }
        _ => {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            wrong(key, why.to_owned());
        }
    }
    if key.to_lowercase() != key {
        wrong(key, "must be lowercase".to_owned());
    }
}

fn user_rules(given: &[UserValidationRule], at: &str, rules: &mut Rules, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, rule) in given.iter().enumerate() {
        let (at, text) = (format!("{at}[{index}].expression"), rule.expression.as_str());
        if text.is_empty() {
            errors.push(FieldError::required(at, ""));
        } else if !seen.insert(text) {
            errors.push(FieldError::duplicate(at, text));
        } else if let Some(expression) = compile(text, "user", &at, errors) {
            let message = rule.message.clone();
            rules.of_user.push(Rule { expression, message });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::configuration::Compiled;

    fn check(jwt: &str, expected: &str) {
        let text = format!("{{apiVersion: apiserver.config.k8s.io/v1, kind: AuthenticationConfiguration, {jwt}}}");
        let found = Compiled::parse(&text, "https://own").map(drop);
        match expected {
            "" => assert_eq!(found, Ok(()), "{jwt}"),
            _ => assert_eq!(found, Err(expected.to_owned()), "{jwt}"),
        }
    }

    const ISSUER: &str = "issuer: {url: 'https://a.example', audiences: [me]}";

    #[test]
    fn what_kube_apiserver_takes_is_taken() {
        check("jwt: []", "");
        check("anonymous: {enabled: true, conditions: [{path: /livez}]}", "");
        check(
            &format!("jwt: [{{{ISSUER}, claimMappings: {{username: {{claim: sub, prefix: ''}}}}}}]"),
            "",
        );
        check(
            &format!(
                "jwt: [{{{ISSUER}, claimValidationRules: [{{expression: 'claims.email_verified'}}], claimMappings: \
                 {{username: {{expression: 'claims.email'}}, groups: {{expression: 'claims.?roles.orValue([])'}}, extra: \
                 [{{key: example.com/tenant, valueExpression: 'claims.tenant'}}]}}, userValidationRules: [{{expression: \
                 \"!user.username.startsWith('system:')\"}}]}}]"
            ),
            "",
        );
    }

    #[test]
    fn issuers_are_told_by_their_paths() {
        let with = |issuer: &str| {
            format!("jwt: [{{issuer: {issuer}, claimMappings: {{username: {{claim: sub, prefix: ''}}}}}}]")
        };
        let at = "jwt[0].issuer";
        check(&with("{audiences: [me]}"), &format!("{at}.url: Required value"));
        check(
            &with("{url: 'http://user@a?b#c', audiences: [me]}"),
            &format!(
                "[{at}.url: Invalid value: \"http://user@a?b#c\": URL scheme must be https, {at}.url: Invalid value: \
                 \"http://user@a?b#c\": URL must not contain a username or password, {at}.url: Invalid value: \
                 \"http://user@a?b#c\": URL must not contain a query, {at}.url: Invalid value: \"http://user@a?b#c\": URL \
                 must not contain a fragment]"
            ),
        );
        check(
            &with("{url: 'https://own', audiences: [me]}"),
            &format!(
                "{at}.url: Invalid value: \"https://own\": URL must not overlap with disallowed issuers: [https://own]"
            ),
        );
        check(
            &with("{url: 'https://a', audiences: [me, you]}"),
            &format!(
                "{at}.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences"
            ),
        );
        check(
            &with("{url: 'https://a', audiences: []}"),
            &format!("{at}.audiences: Required value: at least one {at}.audiences is required"),
        );
        check(
            &with("{url: 'https://a', audiences: [me], certificateAuthority: no}"),
            &format!(
                "{at}.certificateAuthority: Invalid value: \"<omitted>\": data does not contain any valid RSA or ECDSA \
                 certificates"
            ),
        );
    }

    #[test]
    fn mappings_are_told_by_their_paths() {
        let with = |mappings: &str| format!("jwt: [{{{ISSUER}, claimMappings: {mappings}}}]");
        let at = "jwt[0].claimMappings";
        check(
            &with("{}"),
            &format!("{at}.username: Required value: claim or expression is required"),
        );
        check(
            &with("{username: {claim: sub}}"),
            &format!(
                "{at}.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty \
                 string to disable prefixing"
            ),
        );
        check(
            &with("{username: {expression: claims.email}}"),
            &format!(
                "{at}.username.expression: Invalid value: \"claims.email\": claims.email_verified must be used in \
                 claimMappings.username.expression or claimMappings.extra[*].valueExpression or \
                 claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"
            ),
        );
        check(
            &with("{username: {claim: sub, prefix: ''}, extra: [{key: a.k8s.io/x, valueExpression: \"'a'\"}]}"),
            &format!(
                "{at}.extra[0].key: Invalid value: \"a.k8s.io/x\": k8s.io, kubernetes.io and their subdomains are reserved \
                 for Kubernetes use"
            ),
        );
        let text = with("{username: {expression: foo.bar}}");
        let error = Compiled::parse(
            &format!("{{apiVersion: apiserver.config.k8s.io/v1, kind: AuthenticationConfiguration, {text}}}"),
            "",
        );
        let error = error.map(drop).unwrap_err();
        assert!(error.contains("undeclared reference to 'foo'"), "{error}");
        check(
            "anonymous: {enabled: false, conditions: [{path: /a}]}",
            "anonymous.conditions: Invalid value: [{\"path\":\"/a\"}]: enabled should be set to true when conditions are \
             defined",
        );
    }
}
