//! Service account tokens: signed here, bound to objects, and checked against those objects each time.

use std::collections::BTreeMap;

use jsonwebtoken::{Algorithm, Validation};
use meta::ObjectKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::core::Core;
use crate::user::User;

/// A pod that is being deleted keeps its token for a moment, so that it can end in order.
const DELETION_LEEWAY: i64 = 60;

/// What a token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) aud: Vec<String>,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
    pub(crate) iss: String,
    pub(crate) jti: String,
    #[serde(rename = "kubernetes.io")]
    pub(crate) kubernetes: Bound,
    pub(crate) nbf: i64,
    pub(crate) sub: String,
}

/// What a token is bound to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Bound {
    pub(crate) namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<Reference>,
    pub(crate) serviceaccount: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) warnafter: Option<i64>,
}

/// A name together with the uid of the one that is meant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) uid: String,
}

/// A token that holds.
pub(crate) struct Found {
    pub(crate) user: User,
    /// The audiences that both the token and the question name.
    pub(crate) audiences: Vec<String>,
}

/// Signs claims.
pub(crate) fn sign(core: &Core, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
    let key = &core.pki.token_key;
    jsonwebtoken::encode(&key.header(), claims, key.encoding())
}

/// Checks a token for some audiences (none: the API's own) and says whose it is.
pub(crate) async fn authenticate(core: &Core, token: &str, audiences: &[String]) -> Result<Found, String> {
    let claims = verified(core, token)?;
    let now = jiff::Timestamp::now().as_second();
    if claims.exp <= now {
        return Err("token is expired".to_owned());
    }
    if claims.nbf > now + 10 {
        return Err("token is not valid yet".to_owned());
    }
    let own = [core.issuer()];
    let wanted = if audiences.is_empty() {
        own.as_slice()
    } else {
        audiences
    };
    let audiences: Vec<String> = wanted
        .iter()
        .filter(|audience| claims.aud.contains(audience))
        .cloned()
        .collect();
    if audiences.is_empty() {
        return Err(format!(
            "token audiences {:?} is invalid for the target audiences {wanted:?}",
            claims.aud
        ));
    }
    // A token dies with what it is bound to, not a moment later.
    core.hub.fresh().await.map_err(|error| error.to_string())?;
    bound_objects(core, &claims.kubernetes)?;
    Ok(Found {
        user: user(&claims),
        audiences,
    })
}

/// The claims of a token with a good signature, from the few that were seen last or by checking.
fn verified(core: &Core, token: &str) -> Result<Claims, String> {
    if let Some(claims) = core.tokens.lock().get(token) {
        return Ok(claims.clone());
    }
    let mut validation = Validation::new(Algorithm::ES256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.set_issuer(&[core.issuer()]);
    validation.set_required_spec_claims(&["iss", "sub", "exp"]);
    let data = jsonwebtoken::decode::<Claims>(token, core.pki.token_key.decoding(), &validation)
        .map_err(|error| error.to_string())?;
    let mut tokens = core.tokens.lock();
    if tokens.len() >= 1024 {
        tokens.clear();
    }
    tokens.insert(token.to_owned(), data.claims.clone());
    Ok(data.claims)
}

fn bound_objects(core: &Core, bound: &Bound) -> Result<(), String> {
    let namespace = &bound.namespace;
    let account = ObjectKey::namespaced(namespace.clone(), bound.serviceaccount.name.clone());
    exists(core, "serviceaccounts", &account, &bound.serviceaccount.uid)?;
    for (plural, reference) in [("pods", &bound.pod), ("secrets", &bound.secret)] {
        if let Some(reference) = reference {
            exists(
                core,
                plural,
                &ObjectKey::namespaced(namespace.clone(), reference.name.clone()),
                &reference.uid,
            )?;
        }
    }
    match &bound.node {
        // A pod's token names its node as a fact; only a token of the node alone stands and falls with it.
        Some(node) if bound.pod.is_none() => exists(core, "nodes", &ObjectKey::cluster(node.name.clone()), &node.uid),
        _ => Ok(()),
    }
}

fn exists(core: &Core, plural: &str, key: &ObjectKey, uid: &str) -> Result<(), String> {
    let object = core
        .cached_tree("", plural, key)
        .ok_or_else(|| format!("{plural} {key} not found"))?;
    if crate::object::uid(&object) != uid {
        return Err(format!("the uid of {plural} {key} does not match"));
    }
    let gone = crate::object::text(&object, &["metadata", "deletionTimestamp"]);
    match meta::time::parse(gone) {
        Some(at) if at.as_second() + DELETION_LEEWAY < jiff::Timestamp::now().as_second() => {
            Err(format!("{plural} {key} has been deleted"))
        }
        _ => Ok(()),
    }
}

fn user(claims: &Claims) -> User {
    let bound = &claims.kubernetes;
    let mut user = User::service_account(&bound.namespace, &bound.serviceaccount.name);
    user.uid.clone_from(&bound.serviceaccount.uid);
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut add = |key: &str, value: &str| {
        extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
    };
    add("credential-id", &format!("JTI={}", claims.jti));
    if let Some(pod) = &bound.pod {
        add("pod-name", &pod.name);
        add("pod-uid", &pod.uid);
    }
    if let Some(node) = &bound.node {
        add("node-name", &node.name);
        add("node-uid", &node.uid);
    }
    user.extra = extra;
    user
}

/// The reference to an object that is there, for the claims of a new token.
pub(crate) fn reference(object: &Value) -> Reference {
    Reference {
        name: crate::object::name(object).to_owned(),
        uid: crate::object::uid(object).to_owned(),
    }
}
