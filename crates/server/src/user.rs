//! Who makes a request.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The group of whoever proved who they are.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// The group of whoever did not.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group that may do everything.
pub(crate) const MASTERS: &str = "system:masters";

/// A user as authentication found it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name that rules and audit go by.
    pub name: String,
    /// A unique id, where the credential has one.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// What else the credential says.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// An authenticated user of some groups.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> User {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        groups.push(AUTHENTICATED.to_owned());
        User {
            name: name.into(),
            groups,
            ..User::default()
        }
    }

    /// The administrator.
    pub fn admin() -> User {
        User::new("kubernetes-admin", &[MASTERS])
    }

    /// A service account, as its tokens make it.
    pub fn service_account(namespace: &str, name: &str) -> User {
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ];
        User::new(
            service_account_name(namespace, name),
            &groups.each_ref().map(String::as_str),
        )
    }

    /// Nobody in particular.
    pub fn anonymous() -> User {
        User {
            name: "system:anonymous".to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..User::default()
        }
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|have| have == group)
    }

    /// The node whose kubelet the user is, if it is one.
    pub fn node(&self) -> Option<&str> {
        let name = self.name.strip_prefix("system:node:")?;
        (!name.is_empty() && self.is_in("system:nodes")).then_some(name)
    }

    /// Namespace and name of the service account that the user is, if it is one.
    pub fn as_service_account(&self) -> Option<(&str, &str)> {
        self.name.strip_prefix("system:serviceaccount:")?.split_once(':')
    }

    /// The user as reviews print it (`UserInfo`).
    pub fn to_json(&self) -> Value {
        let mut out = json!({"username": self.name});
        if !self.uid.is_empty() {
            out["uid"] = json!(self.uid);
        }
        if !self.groups.is_empty() {
            out["groups"] = json!(self.groups);
        }
        if !self.extra.is_empty() {
            out["extra"] = json!(self.extra);
        }
        out
    }
}

/// The user name of a service account.
pub(crate) fn service_account_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}
