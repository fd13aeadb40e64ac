//! What a writer was told of its objects, and what it still waits to be told: the record that the server's state and
//! the watchers' events are held against.

use serde_json::{Value, json};

use super::sorts::{Sort, has, key, merge, revision};

/// How an event calls what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Added,
    Modified,
    Deleted,
}

/// One change of an object that has certainly happened, and what is known of it.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) key: String,
    pub(crate) what: What,
    pub(crate) revision: Option<u64>,
    pub(crate) body: Option<Value>,
}

/// What a write leads to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expect {
    /// An object that has this.
    Has(Value),
    /// No object.
    Gone,
    /// An object on which others wait before it goes.
    Leaving,
    /// An object on which the garbage collector waits, or none any more.
    Swept,
    /// No pod: it is noted that it is evicted, and then it is deleted.
    Evicted,
    /// The same as before.
    Nothing,
}

/// Whether it stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Stays,
    /// Told to go, and held by a finalizer of ours or by its node.
    Leaving,
    /// The garbage collector will remove it.
    Swept,
}

/// An object that is there.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) uid: String,
    pub(crate) way: Way,
    /// None after a write whose answer doesn't tell.
    pub(crate) revision: Option<u64>,
    pub(crate) body: Option<Value>,
    /// What it has by the writes so far.
    pub(crate) must: Value,
}

/// One object of a writer.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) key: String,
    /// The server chose the name.
    pub(crate) generated: bool,
    pub(crate) known: Option<Known>,
    /// What a write that wasn't answered would lead to.
    pub(crate) pending: Option<Expect>,
}

// === impl Record ===

impl Record {
    pub(crate) fn new(sort: &Sort, name: &str, generated: bool) -> Self {
        let namespace = if sort.namespaced { "default" } else { "" };
        Self {
            name: name.to_owned(),
            key: format!("{namespace}/{name}"),
            generated,
            known: None,
            pending: None,
        }
    }

    /// Takes down an answer that said yes, and gives the changes that it stands for.
    pub(crate) fn told(&mut self, sort: &Sort, expect: Expect, answer: &Value) -> Vec<Change> {
        let whole = (answer["kind"] == sort.kind).then_some(answer);
        let told = (answer["kind"] != "Status").then(|| revision(answer));
        match expect {
            Expect::Nothing => Vec::new(),
            Expect::Gone => vec![self.goes(None)],
            Expect::Has(part) => {
                if let Some(body) = whole {
                    assert!(
                        has(body, &part),
                        "{} was answered with {body}, not with {part}",
                        self.key
                    );
                }
                vec![self.becomes(part, Way::Stays, told, whole)]
            }
            Expect::Leaving => vec![self.becomes(json!({}), Way::Leaving, told, whole)],
            Expect::Swept => vec![self.becomes(json!({}), Way::Swept, told, whole)],
            Expect::Evicted => vec![self.becomes(json!({}), Way::Stays, None, None), self.goes(None)],
        }
    }

    /// Holds what is there against what was told. A write that wasn't answered has happened wholly or not at all; this
    /// finds out which, and gives the changes that nobody was told of.
    pub(crate) fn settle(&mut self, sort: &Sort, found: Option<&Value>) -> Result<Vec<Change>, String> {
        if let (Some(known), Some(found)) = (&self.known, found)
            && found["metadata"]["uid"] != known.uid.as_str()
        {
            return Err(format!("{} is another object: {found}, known {known:?}", self.key));
        }
        let pending = self.pending.take().unwrap_or(Expect::Nothing);
        let at = found.filter(|_| !sort.shared).map(revision);
        let whole = found.filter(|_| !sort.shared);
        let told_to_go = found.is_some_and(|found| !found["metadata"]["deletionTimestamp"].is_null());
        match (pending, found) {
            (Expect::Has(part), Some(body)) if has(body, &part) => {
                Ok(vec![self.becomes_found(part, Way::Stays, at, whole, body)])
            }
            (Expect::Gone, None) if self.known.is_some() => Ok(vec![self.goes(None)]),
            (Expect::Leaving, Some(body)) if told_to_go => {
                Ok(vec![self.becomes_found(json!({}), Way::Leaving, at, whole, body)])
            }
            (Expect::Swept, Some(body)) if told_to_go => {
                Ok(vec![self.becomes_found(json!({}), Way::Swept, at, whole, body)])
            }
            (Expect::Evicted, Some(body)) if is_evicted(body) => {
                Ok(vec![self.becomes_found(json!({}), Way::Stays, at, whole, body)])
            }
            (Expect::Evicted, None) => {
                let noted = self.becomes(json!({}), Way::Stays, None, None);
                Ok(vec![noted, self.goes(None)])
            }
            (Expect::Swept, None) => {
                let leaves = self.becomes(json!({}), Way::Swept, None, None);
                Ok(vec![leaves, self.goes(None)])
            }
            (_, found) => self.is_unchanged(sort, found),
        }
    }

    /// Nothing has happened but what may happen to an object without its writer.
    fn is_unchanged(&mut self, sort: &Sort, found: Option<&Value>) -> Result<Vec<Change>, String> {
        let (known, found) = match (&mut self.known, found) {
            (None, None) => return Ok(Vec::new()),
            (Some(known), None) if known.way == Way::Swept => return Ok(vec![self.goes(None)]),
            (Some(known), None) => return Err(format!("{} is lost: {known:?}", self.key)),
            (None, Some(found)) => return Err(format!("{} is there and should not be: {found}", self.key)),
            (Some(known), Some(found)) => (known, found),
        };
        let wrong = |why: &str| Err(format!("{} {why}: {found}, known {known:?}", self.key));
        if !has(found, &known.must) {
            return wrong("lacks what was acknowledged");
        }
        if (known.way != Way::Stays) == found["metadata"]["deletionTimestamp"].is_null() {
            return wrong("stays or goes, and was told otherwise");
        }
        let now = revision(found);
        if known
            .revision
            .is_some_and(|then| now < then || (now > then && !sort.shared))
        {
            return wrong("is at another revision");
        }
        if !sort.shared && known.body.as_ref().is_some_and(|body| body != found) {
            return wrong("is not as it was acknowledged");
        }
        if !sort.shared {
            known.revision = Some(now);
            known.body = Some(found.clone());
        }
        Ok(Vec::new())
    }

    fn becomes_found(
        &mut self,
        part: Value,
        way: Way,
        revision: Option<u64>,
        whole: Option<&Value>,
        found: &Value,
    ) -> Change {
        let change = self.becomes(part, way, revision, whole);
        if let Some(known) = &mut self.known
            && known.uid.is_empty()
        {
            found["metadata"]["uid"]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut known.uid);
        }
        change
    }

    fn becomes(&mut self, part: Value, way: Way, revision: Option<u64>, whole: Option<&Value>) -> Change {
        let what = if self.known.is_some() {
            What::Modified
        } else {
            What::Added
        };
        let mut known = self.known.take().unwrap_or_else(|| Known {
            uid: String::new(),
            way,
            revision: None,
            body: None,
            must: json!({}),
        });
        if known.uid.is_empty()
            && let Some(body) = whole
        {
            body["metadata"]["uid"]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut known.uid);
        }
        merge(&mut known.must, &part);
        // A write to what leaves doesn't make it stay.
        if known.way == Way::Stays {
            known.way = way;
        }
        known.revision = revision;
        known.body = whole.cloned();
        self.known = Some(known);
        Change {
            key: self.key.clone(),
            what,
            revision,
            body: whole.cloned(),
        }
    }

    pub(crate) fn goes(&mut self, revision: Option<u64>) -> Change {
        self.known = None;
        Change {
            key: self.key.clone(),
            what: What::Deleted,
            revision,
            body: None,
        }
    }
}

/// Whether a pod bears the mark of an eviction.
pub(crate) fn is_evicted(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|condition| condition["type"] == "DisruptionTarget"))
}

/// The objects of a list, each with its type as it has it alone.
pub(crate) fn items(sort: &Sort, list: &Value) -> Vec<(String, Value)> {
    let empty = Vec::new();
    let items = list["items"].as_array().unwrap_or(&empty);
    let whole = items.iter().map(|item| {
        let mut item = item.clone();
        item["apiVersion"] = sort.version.into();
        item["kind"] = sort.kind.into();
        (key(&item), item)
    });
    whole.collect()
}
