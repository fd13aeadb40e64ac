//! Bootstrap tokens: secrets of a special type by which a machine that joins proves that somebody let it in. Which
//! requests such a user may make is authorization's to say; that tokens vanish when they expire, a controller's.

use std::hint::black_box;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meta::ObjectKey;
use serde_json::Value;

use crate::core::Core;
use crate::object;
use crate::user::User;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// The two parts of what looks like a bootstrap token: `[a-z0-9]{6}.[a-z0-9]{16}`.
pub(crate) fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

/// Whose token it is, after everything that was acknowledged before: a revoked one is refused at once.
pub(crate) async fn authenticate(core: &Core, id: &str, secret: &str) -> Result<User, String> {
    let key = ObjectKey::namespaced(NAMESPACE, format!("bootstrap-token-{id}"));
    let found = core.fresh_tree("", "secrets", &key).await;
    let found = found.map_err(|status| status.message)?;
    let token = found.ok_or_else(|| format!("there is no bootstrap token {id:?}"))?;
    user(&token, id, secret, jiff::Timestamp::now())
}

fn user(token: &Value, id: &str, secret: &str, now: jiff::Timestamp) -> Result<User, String> {
    if object::is_deleting(token) || object::text(token, &["type"]) != TYPE {
        return Err(format!(
            "bootstrap token {id:?} is deleted, or its secret is of another type"
        ));
    }
    let data = |key: &str| {
        let bytes = STANDARD.decode(object::text(token, &["data", key])).ok()?;
        String::from_utf8(bytes).ok()
    };
    if data("token-id").as_deref() != Some(id) || !same(&data("token-secret").unwrap_or_default(), secret) {
        return Err(format!("bootstrap token {id:?} has another id or secret"));
    }
    if let Some(expires) = data("expiration").filter(|text| !text.is_empty())
        && meta::time::parse(&expires).is_none_or(|at| at <= now)
    {
        return Err(format!("bootstrap token {id:?} has expired"));
    }
    if data("usage-bootstrap-authentication").as_deref() != Some("true") {
        return Err(format!("bootstrap token {id:?} is not for authentication"));
    }
    let mut groups = vec![GROUP.to_owned()];
    for group in data("auth-extra-groups").unwrap_or_default().split(',') {
        match group {
            "" => {}
            group if is_bootstrap_group(group) => groups.push(group.to_owned()),
            group => {
                return Err(format!(
                    "bootstrap token {id:?} names the group {group:?}, which it can't give"
                ));
            }
        }
    }
    groups.sort();
    groups.dedup();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    Ok(User::new(format!("system:bootstrap:{id}"), &groups))
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`.
fn is_bootstrap_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':')) else {
        return false;
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    rest.len() <= 256
        && rest.bytes().all(|byte| plain(byte) || matches!(byte, b':' | b'-'))
        && rest.bytes().last().is_some_and(plain)
}

/// Compares in a time that says nothing about where the two differ.
fn same(one: &str, other: &str) -> bool {
    let pairs = one.bytes().zip(other.bytes());
    let differences = pairs.fold(0, |sum, (a, b)| black_box(sum | (a ^ b)));
    one.len() == other.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "07401b";
    const SECRET: &str = "f395accd246ae52d";

    fn token(changes: &[(&str, &str)]) -> Value {
        let mut data = vec![
            ("token-id", ID),
            ("token-secret", SECRET),
            ("usage-bootstrap-authentication", "true"),
            ("expiration", "2026-01-01T00:00:00Z"),
        ];
        data.extend_from_slice(changes);
        let data: serde_json::Map<String, Value> = data
            .into_iter()
            .map(|(key, value)| (key.to_owned(), STANDARD.encode(value).into()))
            .collect();
        json!({"metadata": {"name": format!("bootstrap-token-{ID}")}, "type": TYPE, "data": data})
    }

    #[test]
    fn only_the_shape_of_kubernetes_is_a_bootstrap_token() {
        assert_eq!(parts("07401b.f395accd246ae52d"), Some((ID, SECRET)));
        for other in [
            "",
            "07401b",
            "07401B.f395accd246ae52d",
            "07401b.f395accd246ae52",
            "a.b.c",
        ] {
            assert_eq!(parts(other), None, "{other}");
        }
    }

    #[test]
    fn a_token_holds_until_it_expires_and_gives_its_groups() {
        let (early, late) = (
            "2025-12-31T23:59:59Z".parse().unwrap(),
            "2026-01-01T00:00:00Z".parse().unwrap(),
        );
        let good = token(&[("auth-extra-groups", "system:bootstrappers:workers")]);
        let user = super::user(&good, ID, SECRET, early).unwrap();
        assert_eq!(user.name, "system:bootstrap:07401b");
        let groups = [
            "system:bootstrappers",
            "system:bootstrappers:workers",
            "system:authenticated",
        ];
        assert_eq!(user.groups, groups);
        let refused = |token: &Value, secret, now| super::user(token, ID, secret, now).unwrap_err();
        assert!(refused(&good, SECRET, late).contains("expired"));
        assert!(refused(&good, "f395accd246ae52e", early).contains("secret"));
        let unused = token(&[("usage-bootstrap-authentication", "false")]);
        assert!(refused(&unused, SECRET, early).contains("not for authentication"));
        let greedy = token(&[("auth-extra-groups", "system:masters")]);
        assert!(refused(&greedy, SECRET, early).contains("system:masters"));
        let mut opaque = token(&[]);
        opaque["type"] = json!("Opaque");
        assert!(refused(&opaque, SECRET, early).contains("another type"));
    }
}
