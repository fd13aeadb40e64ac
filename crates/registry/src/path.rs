//! What a path below `/v2/` names. A repository's name may have any number of parts.

/// A path, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Root,
    Manifest(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Uploads(&'a str),
    Upload(&'a str, &'a str),
    Tags(&'a str),
    Referrers(&'a str, &'a str),
}

impl<'a> Target<'a> {
    pub(crate) fn parse(path: &'a str) -> Option<Self> {
        let rest = path.strip_prefix("/v2")?;
        if rest.is_empty() || rest == "/" {
            return Some(Target::Root);
        }
        let rest = rest.strip_prefix('/')?;
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Some(Target::Tags(name));
        }
        if let Some(name) = rest
            .strip_suffix("/blobs/uploads/")
            .or_else(|| rest.strip_suffix("/blobs/uploads"))
        {
            return Some(Target::Uploads(name));
        }
        let (before, last) = rest.rsplit_once('/')?;
        if last.is_empty() {
            return None;
        }
        if let Some(name) = before.strip_suffix("/blobs/uploads") {
            return Some(Target::Upload(name, last));
        }
        let (name, kind) = before.rsplit_once('/')?;
        match kind {
            "manifests" => Some(Target::Manifest(name, last)),
            "blobs" => Some(Target::Blob(name, last)),
            "referrers" => Some(Target::Referrers(name, last)),
            _ => None,
        }
    }

    pub(crate) fn repository(&self) -> Option<&'a str> {
        match *self {
            Target::Root => None,
            Target::Uploads(name) | Target::Tags(name) => Some(name),
            Target::Manifest(name, _)
            | Target::Blob(name, _)
            | Target::Upload(name, _)
            | Target::Referrers(name, _) => Some(name),
        }
    }
}

/// The parameters of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key), decode(value))
                })
                .collect(),
        )
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (b'+', _) => {
                out.push(b' ');
                at += 1;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_many_parts() {
        for (path, target) in [
            ("/v2", Target::Root),
            ("/v2/", Target::Root),
            ("/v2/a/manifests/v1", Target::Manifest("a", "v1")),
            ("/v2/a/b/c/blobs/sha256:0", Target::Blob("a/b/c", "sha256:0")),
            ("/v2/a/blobs/uploads/", Target::Uploads("a")),
            ("/v2/a/b/blobs/uploads/x-1", Target::Upload("a/b", "x-1")),
            ("/v2/tags/list/tags/list", Target::Tags("tags/list")),
            ("/v2/a/referrers/sha256:1", Target::Referrers("a", "sha256:1")),
        ] {
            assert_eq!(Target::parse(path), Some(target), "{path}");
        }
        for path in ["/v1/", "/v2x", "/v2/a", "/v2/a/b/c", "/v2/a/manifests/"] {
            assert_eq!(Target::parse(path), None, "{path}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse(Some("digest=sha256%3Aab&tag=a&tag=b&x"));
        assert_eq!(query.get("digest"), Some("sha256:ab"));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(query.get("x"), Some(""));
    }
}
