//! What a method and a path ask for, before anything is looked up: the attributes that authorization goes by.

use http::Method;

use super::query::{Query, decode};

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestInfo {
    pub(crate) path: String,
    /// Kubernetes' verb: `get`, `list`, `watch`, `create`, ... or the method in lower case when it is no resource.
    pub(crate) verb: &'static str,
    /// Set when the path is below `/api/v1` or `/apis/G/V` and names a resource.
    pub(crate) resource: Option<ResourcePath>,
}

/// The resource that a path names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    /// What follows the subresource (proxies).
    pub(crate) rest: Vec<String>,
    /// Whether the request came by the old `/watch/` paths.
    pub(crate) watch_prefix: bool,
}

impl RequestInfo {
    pub(crate) fn parse(method: &Method, path: &str, query: &Query) -> RequestInfo {
        let parts: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| decode(part, false))
            .collect();
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        let (group, version, rest) = match words.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => {
                let verb = lower(method);
                return RequestInfo {
                    path: path.to_owned(),
                    verb,
                    resource: None,
                };
            }
        };
        let (watch_prefix, rest) = match rest {
            ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
            rest => (false, rest),
        };
        let mut found = ResourcePath {
            group: group.to_owned(),
            version: version.to_owned(),
            watch_prefix,
            ..Default::default()
        };
        let rest = match rest {
            // Finalize and status are subresources of a namespace; any other third part is a resource inside of it.
            ["namespaces", name, third, rest @ ..] if !matches!(*third, "finalize" | "status") => {
                found.namespace = Some((*name).to_owned());
                [&[*third], rest].concat()
            }
            ["namespaces", name, ..] => {
                found.namespace = Some((*name).to_owned());
                rest.to_vec()
            }
            rest => rest.to_vec(),
        };
        let mut rest = rest.into_iter().map(str::to_owned);
        found.resource = rest.next().unwrap_or_default();
        found.name = rest.next();
        found.subresource = rest.next();
        found.rest = rest.collect();
        let verb = verb(method, &found, query);
        RequestInfo {
            path: path.to_owned(),
            verb,
            resource: Some(found),
        }
    }
}

fn verb(method: &Method, path: &ResourcePath, query: &Query) -> &'static str {
    let named = path.name.is_some();
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if named => "delete",
        Method::DELETE => "deletecollection",
        Method::GET | Method::HEAD if path.watch_prefix => "watch",
        Method::GET | Method::HEAD if named => "get",
        Method::GET | Method::HEAD if query.flag("watch") => "watch",
        Method::GET | Method::HEAD => "list",
        _ => lower(method),
    }
}

fn lower(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::HEAD => "head",
        Method::OPTIONS => "options",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: Method, target: &str) -> RequestInfo {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        RequestInfo::parse(&method, path, &Query::parse(Some(query)))
    }

    fn resource(method: Method, target: &str) -> (&'static str, ResourcePath) {
        let info = info(method, target);
        (info.verb, info.resource.unwrap())
    }

    #[test]
    fn a_pods_log() {
        let (verb, path) = resource(Method::GET, "/api/v1/namespaces/a/pods/b/log?follow=true");
        assert_eq!(verb, "get");
        assert_eq!(
            path,
            ResourcePath {
                version: "v1".into(),
                namespace: Some("a".into()),
                resource: "pods".into(),
                name: Some("b".into()),
                subresource: Some("log".into()),
                ..Default::default()
            }
        );
    }

    #[test]
    fn namespaces_are_resources_too() {
        let (verb, path) = resource(Method::DELETE, "/api/v1/namespaces/a");
        assert_eq!(
            (verb, path.resource.as_str(), path.name.as_deref()),
            ("delete", "namespaces", Some("a"))
        );
        let (_, path) = resource(Method::PUT, "/api/v1/namespaces/a/finalize");
        assert_eq!(
            (path.resource.as_str(), path.subresource.as_deref()),
            ("namespaces", Some("finalize"))
        );
        let (verb, path) = resource(Method::GET, "/apis/apps/v1/namespaces/a/deployments?watch=1");
        assert_eq!(
            (verb, path.group.as_str(), path.resource.as_str()),
            ("watch", "apps", "deployments")
        );
    }

    #[test]
    fn discovery_is_no_resource() {
        for path in [
            "/api",
            "/api/v1",
            "/apis",
            "/apis/apps",
            "/apis/apps/v1",
            "/healthz",
            "/openapi/v3",
        ] {
            assert_eq!(info(Method::GET, path).resource, None, "{path}");
        }
    }
}
