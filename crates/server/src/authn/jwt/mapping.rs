//! From claims to a user: by the names of claims, or by expressions.

use api::expression::{Expression, Scope};
use serde_json::{Value, json};

use super::Claims;
use crate::user::{AUTHENTICATED, User};

/// What an issuer's tokens mean.
#[derive(Debug, Default)]
pub(in crate::authn) struct Rules {
    pub(in crate::authn) username: Source,
    pub(in crate::authn) groups: Source,
    pub(in crate::authn) uid: Source,
    pub(in crate::authn) extra: Vec<(String, Expression)>,
    /// Claims that must be there with these values.
    pub(in crate::authn) required: Vec<(String, String)>,
    pub(in crate::authn) of_claims: Vec<Rule>,
    pub(in crate::authn) of_user: Vec<Rule>,
}

/// Where a part of the user comes from.
#[derive(Debug, Default)]
pub(in crate::authn) enum Source {
    #[default]
    None,
    Claim {
        name: String,
        prefix: String,
    },
    Expression(Expression),
}

/// What must hold, and what is said when it doesn't.
#[derive(Debug)]
pub(in crate::authn) struct Rule {
    pub(in crate::authn) expression: Expression,
    pub(in crate::authn) message: String,
}

impl Source {
    pub(in crate::authn) fn claim(name: &str, prefix: &str) -> Source {
        Source::Claim {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
        }
    }

    pub(super) fn claim_name(&self) -> Option<&str> {
        match self {
            Source::Claim { name, .. } => Some(name),
            _ => None,
        }
    }
}

impl Rules {
    /// The user that some claims make; they are verified already.
    pub(super) fn user(&self, claims: Claims) -> Result<User, String> {
        let claims = Value::Object(claims);
        let scope = Scope::about("claims", &claims);
        let mut user = User {
            name: self.name(&claims, &scope)?,
            groups: self.groups(&claims, &scope)?,
            uid: self.uid(&claims, &scope)?,
            ..User::default()
        };
        if let Some(id) = claims["jti"].as_str().filter(|id| !id.is_empty()) {
            let key = "authentication.kubernetes.io/credential-id";
            user.extra.insert(key.to_owned(), vec![format!("JTI={id}")]);
        }
        for (key, expression) in &self.extra {
            let told = |why: String| format!("oidc: error evaluating extra claim expression: {why}");
            let values = texts(expression.evaluate(&scope).map_err(told)?);
            let values = values.map_err(|why| told(format!("{}: {why}", expression.text())))?;
            if !values.is_empty() {
                user.extra.insert(key.clone(), values);
            }
        }
        self.required(&claims)?;
        check(&self.of_claims, &scope)
            .map_err(|why| format!("oidc: error evaluating claim validation expression: {why}"))?;
        let seen = json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        check(&self.of_user, &Scope::about("user", &seen))
            .map_err(|why| format!("oidc: error evaluating user info validation rule: {why}"))?;
        if !user.is_in(AUTHENTICATED) {
            user.groups.push(AUTHENTICATED.to_owned());
        }
        Ok(user)
    }

    fn name(&self, claims: &Value, scope: &Scope<'_>) -> Result<String, String> {
        match &self.username {
            Source::None => Err("oidc: no username is mapped".to_owned()),
            Source::Expression(expression) => {
                let told = |why: String| format!("oidc: error evaluating username claim expression: {why}");
                match expression.evaluate(scope).map_err(told)? {
                    Value::String(name) if name.is_empty() => {
                        Err("oidc: empty username via CEL expression is not allowed".to_owned())
                    }
                    Value::String(name) => Ok(name),
                    _ => Err(told("username claim expression must return a string".to_owned())),
                }
            }
            Source::Claim { name: claim, prefix } => {
                let told = |why: &str| format!("oidc: parse username claims {claim:?}: {why}");
                let value = claims.get(claim).ok_or_else(|| told("claim not present"))?;
                let name = value.as_str().ok_or_else(|| told("it is no text"))?;
                if claim == "email" {
                    match claims.get("email_verified") {
                        None | Some(Value::Bool(true)) => {}
                        Some(Value::Bool(false)) => return Err("oidc: email not verified".to_owned()),
                        Some(_) => return Err("oidc: parse 'email_verified' claim: it is no boolean".to_owned()),
                    }
                }
                Ok(format!("{prefix}{name}"))
            }
        }
    }

    fn groups(&self, claims: &Value, scope: &Scope<'_>) -> Result<Vec<String>, String> {
        match &self.groups {
            Source::None => Ok(Vec::new()),
            Source::Expression(expression) => expression
                .evaluate(scope)
                .and_then(texts)
                .map_err(|why| format!("oidc: error evaluating group claim expression: {why}")),
            Source::Claim { name: claim, prefix } => {
                let Some(value) = claims.get(claim) else {
                    return Ok(Vec::new());
                };
                let list = match value {
                    // Some have one role, and no list.
                    Value::String(one) => vec![one.as_str()],
                    Value::Array(list) => {
                        let list: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                        list.ok_or_else(|| format!("oidc: parse groups claim {claim:?}: not all of it is text"))?
                    }
                    Value::Null => Vec::new(),
                    _ => return Err(format!("oidc: parse groups claim {claim:?}: it is no list")),
                };
                Ok(list.into_iter().map(|group| format!("{prefix}{group}")).collect())
            }
        }
    }

    fn uid(&self, claims: &Value, scope: &Scope<'_>) -> Result<String, String> {
        match &self.uid {
            Source::None => Ok(String::new()),
            Source::Claim { name: claim, .. } => {
                let told = |why: &str| format!("oidc: parse uid claim {claim:?}: {why}");
                let value = claims.get(claim).ok_or_else(|| told("claim not present"))?;
                value.as_str().map(str::to_owned).ok_or_else(|| told("it is no text"))
            }
            Source::Expression(expression) => {
                let told = |why: String| format!("oidc: error evaluating uid claim expression: {why}");
                match expression.evaluate(scope).map_err(told)? {
                    Value::String(uid) => Ok(uid),
                    _ => Err(told("uid claim expression must return a string".to_owned())),
                }
            }
        }
    }

    fn required(&self, claims: &Value) -> Result<(), String> {
        for (claim, wanted) in &self.required {
            let value = claims
                .get(claim)
                .ok_or_else(|| format!("oidc: required claim {claim} not present in ID token"))?;
            // Only texts can be wanted.
            let found = value
                .as_str()
                .ok_or_else(|| format!("oidc: parse claim {claim}: it is no text"))?;
            if found != wanted {
                return Err(format!(
                    "oidc: required claim {claim} value does not match. Got = {found}, want = {wanted}"
                ));
            }
        }
        Ok(())
    }
}

fn check(rules: &[Rule], scope: &Scope<'_>) -> Result<(), String> {
    for rule in rules {
        match rule.expression.evaluate(scope)? {
            Value::Bool(true) => {}
            Value::Bool(false) => {
                let (text, message) = (rule.expression.text(), &rule.message);
                return Err(format!("validation expression '{text}' failed: {message}"));
            }
            _ => return Err("validation expression must return a boolean".to_owned()),
        }
    }
    Ok(())
}

/// A text, a list of texts, or nothing. Empty texts count for nothing.
fn texts(value: Value) -> Result<Vec<String>, String> {
    let wrong = || "expression must return a string or a list of strings".to_owned();
    let list = match value {
        Value::Null => Vec::new(),
        Value::String(one) => vec![one],
        Value::Array(list) => {
            let list = list.into_iter().map(|item| match item {
                Value::String(text) => Ok(text),
                _ => Err(wrong()),
            });
            list.collect::<Result<_, _>>()?
        }
        _ => return Err(wrong()),
    };
    Ok(list.into_iter().filter(|text| !text.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(text: &str) -> Expression {
        Expression::compile_about(text, "claims").unwrap()
    }

    fn user(rules: &Rules, claims: Value) -> Result<User, String> {
        rules.user(claims.as_object().unwrap().clone())
    }

    #[test]
    fn claims_are_taken_with_their_prefixes() {
        let rules = Rules {
            username: Source::claim("sub", "idp:"),
            groups: Source::claim("roles", "idp:"),
            uid: Source::claim("oid", ""),
            required: vec![("tenant".to_owned(), "a".to_owned())],
            ..Rules::default()
        };
        let claims = json!({"sub": "jane", "roles": ["dev", "ops"], "oid": "7", "tenant": "a", "jti": "j"});
        let found = user(&rules, claims.clone()).unwrap();
        assert_eq!((found.name.as_str(), found.uid.as_str()), ("idp:jane", "7"));
        assert_eq!(found.groups, ["idp:dev", "idp:ops", AUTHENTICATED]);
        assert_eq!(found.extra["authentication.kubernetes.io/credential-id"], ["JTI=j"]);
        let told = |change: &str, value: Value| {
            let mut claims = claims.clone();
            claims[change] = value;
            user(&rules, claims).map(|user| user.groups.join(","))
        };
        assert_eq!(told("roles", json!("one")), Ok(format!("idp:one,{AUTHENTICATED}")));
        assert!(told("roles", json!([1])).is_err());
        let why = "oidc: required claim tenant value does not match. Got = b, want = a";
        assert_eq!(told("tenant", json!("b")), Err(why.to_owned()));
        assert!(told("sub", json!(5)).is_err());
    }

    #[test]
    fn an_email_must_not_be_known_as_unverified() {
        let rules = Rules {
            username: Source::claim("email", ""),
            ..Rules::default()
        };
        let name = |claims: Value| user(&rules, claims).map(|user| user.name);
        assert_eq!(name(json!({"email": "a@b"})), Ok("a@b".to_owned()));
        assert_eq!(
            name(json!({"email": "a@b", "email_verified": true})),
            Ok("a@b".to_owned())
        );
        let refused = Err("oidc: email not verified".to_owned());
        assert_eq!(name(json!({"email": "a@b", "email_verified": false})), refused);
        assert!(name(json!({"email": "a@b", "email_verified": "true"})).is_err());
    }

    #[test]
    fn expressions_map_and_rules_refuse() {
        let rules = Rules {
            username: Source::Expression(expression("claims.name + ':' + claims.realm.id")),
            groups: Source::Expression(expression("claims.roles.split(',')")),
            uid: Source::Expression(expression("claims.?oid.orValue('none')")),
            extra: vec![("example.com/t".to_owned(), expression("claims.?tenants.orValue([])"))],
            of_claims: vec![Rule {
                expression: expression("claims.exp - claims.nbf <= 3600"),
                message: "an hour at most".to_owned(),
            }],
            of_user: vec![Rule {
                expression: Expression::compile_about("!user.username.startsWith('system:')", "user").unwrap(),
                message: "that is the cluster's".to_owned(),
            }],
            ..Rules::default()
        };
        let claims =
            json!({"name": "jane", "realm": {"id": "r"}, "roles": "a,b,", "exp": 3600, "nbf": 0, "tenants": ["x", ""]});
        let found = user(&rules, claims.clone()).unwrap();
        assert_eq!((found.name.as_str(), found.uid.as_str()), ("jane:r", "none"));
        assert_eq!(found.groups, ["a", "b", AUTHENTICATED]);
        assert_eq!(found.extra["example.com/t"], ["x"]);
        let told = |change: &str, value: Value| {
            let mut claims = claims.clone();
            claims[change] = value;
            user(&rules, claims).unwrap_err()
        };
        let why = "oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.nbf <= 3600' \
                   failed: an hour at most";
        assert_eq!(told("exp", json!(3601)), why);
        assert!(told("name", json!("system:admin")).ends_with("failed: that is the cluster's"));
        assert!(told("roles", json!(7)).starts_with("oidc: error evaluating group claim expression"));
        assert!(told("realm", json!({})).contains("no such key: id"));
    }
}
