//! Acting as somebody else: the `Impersonate-*` headers, for whoever may.

use http::HeaderMap;
use meta::Status;

use crate::authz::{self, Attributes, Decision};
use crate::core::Core;
use crate::http::query::decode;
use crate::traces;
use crate::user::{AUTHENTICATED, UNAUTHENTICATED, User};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The user to act as; none when the request doesn't ask for it.
pub(crate) fn requested(core: &Core, by: &User, headers: &HeaderMap) -> Result<Option<User>, Status> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let groups: Vec<String> = headers
        .get_all(GROUP)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(str::to_owned)
        .collect();
    let (name, uid) = (text(USER), text(UID));
    let mut wanted = User {
        name,
        uid,
        groups,
        ..User::default()
    };
    for (header, value) in headers {
        if let (Some(key), Ok(value)) = (header.as_str().strip_prefix(EXTRA), value.to_str()) {
            wanted
                .extra
                .entry(decode(key, false))
                .or_default()
                .push(value.to_owned());
        }
    }
    if wanted == User::default() {
        return Ok(None);
    }
    if wanted.name.is_empty() {
        return Err(Status::bad_request(
            "requested [{UserExtra scopes}] without impersonating a user"
                .replace("{UserExtra scopes}", &shown(&wanted)),
        ));
    }
    let _span = traces::leaf("impersonation");
    permitted(core, by, &wanted)?;
    complete(&mut wanted);
    Ok(Some(wanted))
}

fn shown(wanted: &User) -> String {
    wanted
        .groups
        .iter()
        .map(|group| format!("{{Group  {group}}}"))
        .collect::<Vec<_>>()
        .join(" ")
}

fn permitted(core: &Core, by: &User, wanted: &User) -> Result<(), Status> {
    let ask = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let attributes = Attributes {
            subresource,
            namespace,
            name,
            ..Attributes::resource(by, "impersonate", group, resource)
        };
        match core.decide(&attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::NoOpinion(why) => Err(authz::forbidden(&attributes, &why)),
        }
    };
    match wanted.as_service_account() {
        Some((namespace, name)) => ask("", "serviceaccounts", "", namespace, name)?,
        None => ask("", "users", "", "", &wanted.name)?,
    }
    for group in &wanted.groups {
        ask("", "groups", "", "", group)?;
    }
    if !wanted.uid.is_empty() {
        ask("authentication.k8s.io", "uids", "", "", &wanted.uid)?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            ask("authentication.k8s.io", "userextras", key, "", value)?;
        }
    }
    Ok(())
}

/// Adds the groups that such a user has anyway.
fn complete(user: &mut User) {
    if user.name == "system:anonymous" {
        if !user.is_in(UNAUTHENTICATED) {
            user.groups.push(UNAUTHENTICATED.to_owned());
        }
        return;
    }
    if user.groups.is_empty()
        && let Some((namespace, _)) = user.as_service_account()
    {
        let own = format!("system:serviceaccounts:{namespace}");
        user.groups.extend(["system:serviceaccounts".to_owned(), own]);
    }
    if !user.is_in(AUTHENTICATED) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
}
