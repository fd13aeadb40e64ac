//! The objects that the API is loaded with: config maps whose bodies are made before the clock starts. Only a name and a
//! counter of fixed width are put into a body afterwards, by copying.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// A series of objects: what they are for, and how many there are so far.
#[derive(Clone)]
pub(crate) struct Series {
    name: &'static str,
    made: Arc<AtomicU64>,
}

impl Series {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            made: Arc::default(),
        }
    }

    /// The next one's number, below `limit`.
    pub(crate) fn next(&self, limit: u64) -> Option<u64> {
        self.made
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |made| {
                (made < limit).then_some(made + 1)
            })
            .ok()
    }

    /// How many were started.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// A member's name; all are of one length, whatever the series.
    pub(crate) fn name(&self, number: u64) -> String {
        format!("{}-{number:08}", self.name)
    }
}

/// The namespace's objects.
pub(crate) struct Objects {
    /// The collection's path.
    pub(crate) path: String,
    /// What gets, lists and updates work on.
    pub(crate) set: Series,
    /// What the measurement of creates makes.
    pub(crate) created: Series,
    /// What is made while others watch.
    pub(crate) watched: Series,
    body: Arc<Body>,
}

/// A body in three pieces, between which go the name and the counter.
struct Body {
    head: String,
    middle: &'static str,
    tail: String,
}

impl Objects {
    pub(crate) fn new(namespace: &str, size: usize) -> Self {
        let body = Body {
            head: r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":""#.to_owned(),
            middle: r#"","labels":{"app":"gantry-bench"}},"data":{"counter":""#,
            tail: format!(r#"","payload":"{}"}}}}"#, payload(size)),
        };
        Self {
            path: format!("/api/v1/namespaces/{namespace}/configmaps"),
            set: Series::new("set"),
            created: Series::new("new"),
            watched: Series::new("see"),
            body: Arc::new(body),
        }
    }

    /// What makes the body of an object of that name.
    pub(crate) fn body(&self) -> impl Fn(&str, u64) -> Bytes + Send + 'static {
        let body = self.body.clone();
        move |name, counter| {
            let mut text =
                String::with_capacity(body.head.len() + body.middle.len() + body.tail.len() + name.len() + 20);
            text.push_str(&body.head);
            text.push_str(name);
            text.push_str(body.middle);
            text.push_str(&format!("{counter:08}"));
            text.push_str(&body.tail);
            text.into()
        }
    }
}

/// Letters and digits that do not repeat, so that no server gains by compressing them; the same in each run.
fn payload(size: usize) -> String {
    const ALPHABET: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let letters = (0..size).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(ALPHABET[(state >> 58) as usize])
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_objects_of_the_size() {
        let objects = Objects::new("ns", 1024);
        let made = objects.body()("set-00000007", 3);
        let read: serde_json::Value = serde_json::from_slice(&made).expect("JSON");
        assert_eq!(read["metadata"]["name"], "set-00000007");
        assert_eq!(read["data"]["counter"], "00000003");
        assert_eq!(read["data"]["payload"].as_str().map(str::len), Some(1024));
    }

    #[test]
    fn a_series_ends_at_its_limit() {
        let series = Series::new("set");
        assert_eq!(
            (series.next(2), series.next(2), series.next(2)),
            (Some(0), Some(1), None)
        );
        assert_eq!(series.made(), 2);
        assert_eq!(series.name(1), "set-00000001");
    }
}
