//! In which format a body came, and in which one the answer is wanted.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use meta::Status;

pub(crate) const JSON: &str = "application/json";
pub(crate) const YAML: &str = "application/yaml";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wire {
    Json,
    Yaml,
    Protobuf,
}

/// What is made of an object on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// As it is.
    Object,
    /// Rows with columns, as kubectl prints them.
    Table,
    /// Metadata only.
    Partial,
}

/// The wanted answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) wire: Wire,
    pub(crate) shape: Shape,
    pub(crate) pretty: bool,
    pub(crate) gzip: bool,
}

impl Wanted {
    pub(crate) const JSON: Wanted = Wanted {
        wire: Wire::Json,
        shape: Shape::Object,
        pretty: false,
        gzip: false,
    };

    pub(crate) fn content_type(self) -> &'static str {
        match self.wire {
            Wire::Json => JSON,
            Wire::Yaml => YAML,
            Wire::Protobuf => PROTOBUF,
        }
    }
}

/// Whether the client reads compressed answers.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.split(';').next().is_some_and(|name| name.trim() == "gzip"))
}

/// The forms that a resource has beyond JSON and YAML of its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forms {
    /// Protobuf and tables.
    All,
    /// Questions (reviews, bindings): protobuf, no tables.
    Question,
    /// Custom resources: tables; of their objects only the metadata has a form in protobuf.
    Custom,
}

/// Picks the first acceptable format in the client's order of preference.
pub(crate) fn accept(headers: &HeaderMap, forms: Forms) -> Result<Wanted, Status> {
    let is_there = |wanted: &Wanted| match wanted.shape {
        Shape::Object => forms != Forms::Custom || wanted.wire != Wire::Protobuf,
        Shape::Table => forms != Forms::Question && wanted.wire != Wire::Protobuf,
        Shape::Partial => true,
    };
    let all: &[&str] = match forms {
        Forms::Custom => &[JSON, YAML],
        Forms::All | Forms::Question => &[JSON, YAML, PROTOBUF],
    };
    pick(headers, is_there, all)
}

fn pick(headers: &HeaderMap, is_there: impl Fn(&Wanted) -> bool, all: &[&str]) -> Result<Wanted, Status> {
    let gzip = accepts_gzip(headers);
    let text = match headers.get(ACCEPT) {
        None => return Ok(Wanted { gzip, ..Wanted::JSON }),
        Some(value) => value.to_str().unwrap_or_default(),
    };
    if text.trim().is_empty() {
        return Ok(Wanted { gzip, ..Wanted::JSON });
    }
    let mut ranges: Vec<(f32, Wanted)> = text.split(',').filter_map(|range| media(range, gzip)).collect();
    ranges.retain(|(_, wanted)| is_there(wanted));
    ranges.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranges
        .first()
        .map(|(_, wanted)| *wanted)
        .ok_or_else(|| Status::not_acceptable(all))
}

fn media(range: &str, gzip: bool) -> Option<(f32, Wanted)> {
    let mut parts = range.split(';').map(str::trim);
    let wire = match parts.next()? {
        JSON | "*/*" | "application/*" => Wire::Json,
        YAML | "application/x-yaml" => Wire::Yaml,
        PROTOBUF => Wire::Protobuf,
        _ => return None,
    };
    let (mut quality, mut shape, mut pretty, mut version) = (1.0, Shape::Object, false, "v1");
    for parameter in parts {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match key.trim() {
            "q" => quality = value.parse().unwrap_or(1.0),
            "pretty" => pretty = value == "1" || value == "true",
            "v" => version = value,
            "as" => {
                shape = match value {
                    "Table" => Shape::Table,
                    "PartialObjectMetadata" | "PartialObjectMetadataList" => Shape::Partial,
                    _ => return None,
                };
            }
            _ => {}
        }
    }
    // Tables have no form in protobuf.
    let has_none = shape == Shape::Table && wire == Wire::Protobuf;
    if has_none || (shape != Shape::Object && version != "v1") {
        return None;
    }
    (quality > 0.0).then_some((
        quality,
        Wanted {
            wire,
            shape,
            pretty,
            gzip,
        },
    ))
}

/// The format of a request's body; no header means JSON.
pub(crate) fn content_type(headers: &HeaderMap) -> Result<Wire, Status> {
    match media_type(headers) {
        None | Some("" | JSON) => Ok(Wire::Json),
        Some(YAML | "application/x-yaml") => Ok(Wire::Yaml),
        Some(PROTOBUF) => Ok(Wire::Protobuf),
        Some(_) => Err(Status::unsupported_media_type(&[JSON, YAML, PROTOBUF])),
    }
}

/// The bare media type of the body.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(text: &str) -> Option<Wanted> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, text.parse().unwrap());
        accept(&headers, Forms::All).ok()
    }

    #[test]
    fn kubectl_gets_a_table() {
        let wanted = accepted(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
        );
        assert_eq!(
            wanted,
            Some(Wanted {
                shape: Shape::Table,
                ..Wanted::JSON
            })
        );
    }

    #[test]
    fn preference_and_refusal() {
        let wanted = accepted("application/vnd.kubernetes.protobuf,application/json");
        assert_eq!(wanted.unwrap().wire, Wire::Protobuf);
        assert_eq!(
            accepted("text/html,application/json;q=0.5,*/*;q=0.1").unwrap().wire,
            Wire::Json
        );
        assert_eq!(accepted("image/png"), None);
    }

    #[test]
    fn custom_resources_have_no_protobuf() {
        let accepted = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, text.parse().unwrap());
            accept(&headers, Forms::Custom)
        };
        let wanted = accepted("application/vnd.kubernetes.protobuf,application/json").unwrap();
        assert_eq!(wanted.wire, Wire::Json);
        assert_eq!(accepted("application/vnd.kubernetes.protobuf").unwrap_err().code, 406);
    }

    #[test]
    fn questions_have_no_tables() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, table.parse().unwrap());
        assert_eq!(accept(&headers, Forms::Question).unwrap_err().code, 406);
        headers.insert(ACCEPT, format!("{table},application/json").parse().unwrap());
        assert_eq!(accept(&headers, Forms::Question).unwrap(), Wanted::JSON);
    }
}
