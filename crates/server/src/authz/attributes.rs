//! What is decided about: who wants to do what to what.

use crate::http::path::RequestInfo;
use crate::user::User;

/// The attributes of one request, or of one question in an access review.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) user: &'a User,
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// The field selector's text, for what a node may list.
    pub(crate) fields: &'a str,
    /// Set when it is no resource.
    pub(crate) path: Option<&'a str>,
}

impl<'a> Attributes<'a> {
    /// The attributes of an HTTP request. A list or watch that selects one name is about that name.
    pub(crate) fn of(user: &'a User, info: &'a RequestInfo, fields: &'a str) -> Attributes<'a> {
        let mut out = Attributes {
            user,
            verb: info.verb,
            group: "",
            resource: "",
            subresource: "",
            namespace: "",
            name: "",
            fields,
            path: None,
        };
        let Some(found) = &info.resource else {
            return Attributes {
                path: Some(&info.path),
                ..out
            };
        };
        out.group = &found.group;
        out.resource = &found.resource;
        out.subresource = found.subresource.as_deref().unwrap_or_default();
        out.namespace = found.namespace.as_deref().unwrap_or_default();
        out.name = found.name.as_deref().unwrap_or_default();
        if out.name.is_empty() && matches!(out.verb, "list" | "watch" | "deletecollection") {
            out.name = selected(fields, "metadata.name").unwrap_or_default();
        }
        out
    }

    /// The same user asking for something about a resource.
    pub(crate) fn resource(user: &'a User, verb: &'a str, group: &'a str, resource: &'a str) -> Attributes<'a> {
        Attributes {
            user,
            verb,
            group,
            resource,
            subresource: "",
            namespace: "",
            name: "",
            fields: "",
            path: None,
        }
    }

    /// The value that the field selector demands of a field.
    pub(crate) fn selected(&self, field: &str) -> Option<&'a str> {
        selected(self.fields, field)
    }

    /// "User ... cannot ...", as in Kubernetes' answer.
    pub(crate) fn refusal(&self) -> String {
        let (user, verb) = (&self.user.name, self.verb);
        if let Some(path) = self.path {
            return format!("User {user:?} cannot {verb} path {path:?}");
        }
        let resource = match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        };
        let scope = match self.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!(
            "User {user:?} cannot {verb} resource {resource:?} in API group {:?} {scope}",
            self.group
        )
    }
}

fn selected<'a>(fields: &'a str, wanted: &str) -> Option<&'a str> {
    fields.split(',').find_map(|term| {
        let (field, value) = term.split_once('=')?;
        let value = value.strip_prefix('=').unwrap_or(value);
        (field == wanted).then_some(value)
    })
}
