//! Which resources the API has now. Asked, never assumed, so that resources that come later are treated the same.

use api::discovery::AGGREGATED;
use api::type_check::{self, Served};
use serde_json::Value;

use crate::write::{Kind, Writer};

/// One resource at the version that the API prefers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Resource {
    pub(crate) kind: Kind,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

impl Resource {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }
}

/// What the API has.
pub(crate) struct Found {
    /// All resources that could be asked for, each once per group, at its preferred version.
    pub(crate) resources: Vec<Resource>,
    /// The versions of groups of which nothing is known now, because another server serves them and doesn't answer.
    pub(crate) silent: Vec<(String, kube::Error)>,
}

impl Found {
    /// What isn't known now, in the words of Kubernetes' client; none when all is.
    pub(crate) fn incomplete(&self) -> Option<String> {
        if self.silent.is_empty() {
            return None;
        }
        let each = self.silent.iter().map(|(version, error)| {
            let why = match error {
                kube::Error::Api(status) if status.code == 503 => {
                    "the server is currently unable to handle the request"
                }
                kube::Error::Api(status) => &status.message,
                _ => "unknown",
            };
            format!("{version}: {why}")
        });
        let each: Vec<String> = each.collect();
        Some(format!(
            "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
            each.len(),
            each.join(", ")
        ))
    }
}

/// Asks for all resources. Versions that can't be had are told of and hold nothing up.
pub(crate) async fn resources(writer: &Writer) -> Result<Found, kube::Error> {
    let mut found: Vec<Resource> = list(&writer.get("/api/v1").await?);
    let mut silent = Vec::new();
    let groups = writer.get("/apis").await?;
    for group in groups["groups"].as_array().into_iter().flatten() {
        let preferred = group["preferredVersion"]["groupVersion"].as_str();
        let others = group["versions"].as_array().into_iter().flatten();
        let others = others.filter_map(|version| version["groupVersion"].as_str());
        let mut versions: Vec<&str> = preferred.into_iter().collect();
        versions.extend(others.filter(|other| Some(*other) != preferred));
        let begin = found.len();
        for version in versions {
            let document = match writer.get(&format!("/apis/{version}")).await {
                // The definition behind it went meanwhile.
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error @ kube::Error::Api(_)) => {
                    silent.push((version.to_owned(), error));
                    continue;
                }
                other => other?,
            };
            for resource in list(&document) {
                if !found[begin..]
                    .iter()
                    .any(|known| known.kind.plural == resource.kind.plural)
                {
                    found.push(resource);
                }
            }
        }
    }
    Ok(Found {
        resources: found,
        silent,
    })
}

/// All resources at all versions.
pub(crate) async fn aggregated(writer: &Writer) -> Result<Vec<Served>, kube::Error> {
    let mut all = Vec::new();
    for path in ["/api", "/apis"] {
        all.extend(type_check::served(&writer.get_as(path, AGGREGATED).await?));
    }
    Ok(all)
}

/// The resource of this kind at this version, if the API has it.
pub(crate) async fn resource(writer: &Writer, api_version: &str, kind: &str) -> Result<Option<Resource>, kube::Error> {
    let root = if api_version.contains('/') { "/apis" } else { "/api" };
    let known = list(&writer.get(&format!("{root}/{api_version}")).await?);
    Ok(known.into_iter().find(|resource| resource.kind.kind == kind))
}

fn list(document: &Value) -> Vec<Resource> {
    let version = document["groupVersion"].as_str().unwrap_or_default();
    let rows = document["resources"].as_array().into_iter().flatten();
    let one = |row: &Value| {
        let plural = row["name"].as_str().filter(|name| !name.contains('/'))?;
        Some(Resource {
            kind: Kind::new(version, row["kind"].as_str()?, plural),
            namespaced: row["namespaced"].as_bool().unwrap_or(false),
            verbs: row["verbs"]
                .as_array()?
                .iter()
                .filter_map(|verb| verb.as_str().map(str::to_owned))
                .collect(),
        })
    };
    rows.filter_map(one).collect()
}
