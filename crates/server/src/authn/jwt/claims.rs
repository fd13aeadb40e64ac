//! The claims that every token has: by whom, for whom, until when.

use jiff::Timestamp;
use serde_json::Value;

use super::Claims;

/// A token may be from so far in the future: clocks differ.
const LEEWAY: i64 = 5 * 60;

/// Checks issuer, audience and time, as Kubernetes' verifier does.
pub(super) fn check(claims: &Claims, issuer: &str, audiences: &[String], now: Timestamp) -> Result<(), String> {
    let found = match claims.get("iss").and_then(Value::as_str).unwrap_or_default() {
        "accounts.google.com" => "https://accounts.google.com",
        found => found,
    };
    if found != issuer {
        return Err(format!(
            "oidc: id token issued by a different provider, expected {issuer:?} got {found:?}"
        ));
    }
    let told = match claims.get("aud") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audiences.iter().any(|audience| told.contains(&audience.as_str())) {
        return Err(format!("oidc: expected audience in {audiences:?} got {told:?}"));
    }
    let now = now.as_second();
    let expires = seconds(claims, "exp")?.unwrap_or(0);
    if now > expires {
        let at = Timestamp::from_second(expires).unwrap_or_default();
        return Err(format!("oidc: token is expired (Token Expiry: {at})"));
    }
    match seconds(claims, "nbf")? {
        Some(begins) if now + LEEWAY < begins => {
            let at = Timestamp::from_second(begins).unwrap_or_default();
            Err(format!("oidc: current time before the nbf (not before) time: {at}"))
        }
        _ => Ok(()),
    }
}

/// A time: a number, with a fraction or without.
fn seconds(claims: &Claims, name: &str) -> Result<Option<i64>, String> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match (value.as_i64(), value.as_f64()) {
            (Some(whole), _) => Ok(Some(whole)),
            #[allow(clippy::cast_possible_truncation)] // Times that long fit.
            (None, Some(number)) => Ok(Some(number as i64)),
            (None, None) => Err(format!("oidc: failed to unmarshal claims: {name} is no number")),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn issuer_audience_and_time_must_fit() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let told = |change: Value| {
            let mut claims = json!({"iss": "https://a", "aud": "me", "exp": 1_000_060});
            for (key, value) in change.as_object().unwrap() {
                claims[key] = value.clone();
            }
            let audiences = ["me".to_owned(), "you".to_owned()];
            check(claims.as_object().unwrap(), "https://a", &audiences, now)
                .err()
                .unwrap_or_default()
        };
        for good in [
            json!({}),
            json!({"aud": ["others", "you"]}),
            json!({"nbf": 1_000_000 + LEEWAY}),
            json!({"exp": 1_000_000.5}),
        ] {
            assert_eq!(told(good.clone()), "", "{good}");
        }
        for (bad, expected) in [
            (json!({"iss": "https://b"}), "different provider"),
            (
                json!({"aud": "other"}),
                "expected audience in [\"me\", \"you\"] got [\"other\"]",
            ),
            (json!({"aud": null}), "got []"),
            (
                json!({"exp": 999_999}),
                "token is expired (Token Expiry: 1970-01-12T13:46:39Z)",
            ),
            (json!({"exp": null}), "token is expired"),
            (json!({"exp": "soon"}), "exp is no number"),
            (json!({"nbf": 1_000_001 + LEEWAY}), "before the nbf"),
        ] {
            let why = told(bad.clone());
            assert!(why.contains(expected), "{bad}: {why}");
        }
    }
}
