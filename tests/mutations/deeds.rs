//! All that can be done to an object, as requests, and what each leads to when it is acknowledged.

use http::Method;
use serde_json::{Map, Value, json};
use testkit::seed::Seed;

use super::ledger::{Expect, Known, Record, Way, is_evicted};
use super::sorts::{SIDE, Sort, WRITER, merge, side};

const FINALIZER: &str = "test.example.com/hold";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// One request.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) deed: &'static str,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) content: &'static str,
    pub(crate) body: Option<Value>,
    pub(crate) expect: Expect,
    /// It must be refused with this code.
    pub(crate) refused: Option<u16>,
}

/// What is known when a request is made up.
struct Scene<'a> {
    sort: &'a Sort,
    writer: &'a str,
    path: String,
    name: &'a str,
    mark: u64,
}

/// Something that can be done to an object now; None when it has to be looked at first.
pub(crate) fn choose(sort: &Sort, writer: &str, record: &Record, mark: u64, seed: &mut Seed) -> Option<Ask> {
    let scene = Scene {
        sort,
        writer,
        path: sort.path(&record.name),
        name: &record.name,
        mark,
    };
    let Some(known) = &record.known else {
        return Some(if seed.below(3) == 0 {
            scene.apply()
        } else {
            scene.create()
        });
    };
    let body = known.body.as_ref()?;
    match known.way {
        Way::Swept => None,
        Way::Leaving if seed.below(2) == 0 => Some(scene.mark(body, seed)),
        Way::Leaving if is_held(known) => Some(scene.release(seed)),
        Way::Leaving => Some(scene.delete("delete at once", json!({"gracePeriodSeconds": 0}), Expect::Gone)),
        Way::Stays => Some(match seed.below(10) {
            0..=4 => scene.mark(body, seed),
            5 => scene.refused(body, seed),
            6 => scene.nothing(body, seed),
            7 | 8 => scene.subresource(known, seed),
            _ => scene.end(known, seed),
        }),
    }
}

/// Whether a finalizer of ours holds it.
pub(crate) fn is_held(known: &Known) -> bool {
    known.must["metadata"]["finalizers"] == json!([FINALIZER])
}

impl Scene<'_> {
    fn ask(&self, deed: &'static str, method: Method, content: &'static str, body: Value, expect: Expect) -> Ask {
        Ask {
            deed,
            method,
            path: self.path.clone(),
            content,
            body: Some(body),
            expect,
            refused: None,
        }
    }

    fn marked(&self) -> Value {
        self.sort.marked(self.mark)
    }

    fn create(&self) -> Ask {
        let object = self.sort.object(self.name, self.writer, self.mark);
        Ask {
            path: self.sort.collection(),
            ..self.ask("create", Method::POST, JSON, object.clone(), Expect::Has(object))
        }
    }

    fn apply(&self) -> Ask {
        let object = self.sort.object(self.name, self.writer, self.mark);
        let content = "application/apply-patch+yaml";
        Ask {
            path: format!("{}?fieldManager=test&force=true", self.path),
            ..self.ask("apply", Method::PATCH, content, object.clone(), Expect::Has(object))
        }
    }

    /// One of the ways to change it.
    fn mark(&self, body: &Value, seed: &mut Seed) -> Ask {
        let has = Expect::Has(self.marked());
        let mut whole = body.clone();
        merge(&mut whole, &self.marked());
        match seed.below(6) {
            0 => self.ask("update", Method::PUT, JSON, whole, has),
            1 if self.sort.blind => {
                without_revision(&mut whole);
                self.ask("update whatever is there", Method::PUT, JSON, whole, has)
            }
            1 | 2 => self.ask("merge patch", Method::PATCH, MERGE, self.marked(), has),
            3 => {
                let mut steps = vec![json!({"op": "test", "path": "/metadata/name", "value": self.name})];
                steps_to(&self.marked(), "", &mut steps);
                let content = "application/json-patch+json";
                self.ask("json patch", Method::PATCH, content, steps.into(), has)
            }
            4 if !self.sort.custom => {
                let content = "application/strategic-merge-patch+json";
                self.ask("strategic merge patch", Method::PATCH, content, self.marked(), has)
            }
            // What is applied to something that leaves must not bring it back.
            _ => self.apply(),
        }
    }

    /// What must not happen.
    fn refused(&self, body: &Value, seed: &mut Seed) -> Ask {
        let mut whole = body.clone();
        merge(&mut whole, &self.marked());
        let (ask, code) = match seed.below(4) {
            0 => {
                whole["metadata"]["resourceVersion"] = "1".into();
                (self.ask("stale update", Method::PUT, JSON, whole, Expect::Nothing), 409)
            }
            1 if !self.sort.blind => {
                without_revision(&mut whole);
                let deed = "update without a revision";
                (self.ask(deed, Method::PUT, JSON, whole, Expect::Nothing), 422)
            }
            2 => {
                let options = json!({"preconditions": {"uid": "00000000-0000-4000-8000-000000000000"}});
                (self.delete("delete of another uid", options, Expect::Nothing), 409)
            }
            3 => {
                let options = json!({"preconditions": {"resourceVersion": "1"}});
                (self.delete("delete of another revision", options, Expect::Nothing), 409)
            }
            _ => {
                let object = self.sort.object(self.name, self.writer, self.mark);
                let again = self.ask("create again", Method::POST, JSON, object, Expect::Nothing);
                let path = self.sort.collection();
                (Ask { path, ..again }, 409)
            }
        };
        Ask {
            refused: Some(code),
            ..ask
        }
    }

    /// What changes nothing.
    fn nothing(&self, body: &Value, seed: &mut Seed) -> Ask {
        let dry = |ask: Ask| Ask {
            path: format!("{}?dryRun=All", ask.path),
            ..ask
        };
        match seed.below(4) {
            0 => dry(self.ask(
                "dry run of a patch",
                Method::PATCH,
                MERGE,
                self.marked(),
                Expect::Nothing,
            )),
            1 => dry(self.delete("dry run of a delete", json!({}), Expect::Nothing)),
            2 => self.ask("update to the same", Method::PUT, JSON, body.clone(), Expect::Nothing),
            _ => {
                let same = json!({"metadata": {"labels": {WRITER: self.writer}}});
                self.ask("patch to the same", Method::PATCH, MERGE, same, Expect::Nothing)
            }
        }
    }

    /// A write by another door, if the kind has one.
    fn subresource(&self, known: &Known, seed: &mut Seed) -> Ask {
        let body = known.body.as_ref().unwrap_or(&Value::Null);
        let at = |name: &str, ask: Ask| Ask {
            path: format!("{}/{name}", self.path),
            ..ask
        };
        let status = self.sort.status(self.mark);
        let has = Expect::Has(status.clone());
        match seed.below(4) {
            0 if self.sort.status => at(
                "status",
                self.ask("patch of the status", Method::PATCH, MERGE, status, has),
            ),
            1 if self.sort.status => {
                let mut whole = body.clone();
                merge(&mut whole, &status);
                at(
                    "status",
                    self.ask("update of the status", Method::PUT, JSON, whole, has),
                )
            }
            2 | 3 if self.sort.scale => at("scale", self.scale(known, seed)),
            2 if self.sort.kind == "Pod" && !is_bound(known) => {
                let target = json!({"kind": "Node", "name": "nowhere"});
                let binding = json!({
                    "apiVersion": "v1", "kind": "Binding", "metadata": {"name": self.name}, "target": target,
                });
                let bound = Expect::Has(json!({"spec": {"nodeName": "nowhere"}}));
                at("binding", self.ask("binding", Method::POST, JSON, binding, bound))
            }
            3 if self.sort.kind == "Pod" && !is_evicted(body) => {
                let eviction = json!({
                    "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": self.name},
                    "deleteOptions": {"gracePeriodSeconds": 0},
                });
                at(
                    "eviction",
                    self.ask("eviction", Method::POST, JSON, eviction, Expect::Evicted),
                )
            }
            _ => self.mark(body, seed),
        }
    }

    fn scale(&self, known: &Known, seed: &mut Seed) -> Ask {
        let now = known.must["spec"]["replicas"].as_u64().unwrap_or_default();
        let replicas = json!({"spec": {"replicas": (now + 1) % 3}});
        let has = Expect::Has(replicas.clone());
        if seed.below(2) == 0 {
            return self.ask("patch of the scale", Method::PATCH, MERGE, replicas, has);
        }
        let mut scale = json!({
            "apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": self.name, "namespace": "default"},
        });
        merge(&mut scale, &replicas);
        self.ask("update of the scale", Method::PUT, JSON, scale, has)
    }

    /// What leads to its end, at once or later.
    fn end(&self, known: &Known, seed: &mut Seed) -> Ask {
        let is_pod = self.sort.kind == "Pod";
        let expect = if is_held(known) || (is_pod && is_bound(known)) {
            Expect::Leaving
        } else {
            Expect::Gone
        };
        match seed.below(4) {
            0 if !is_pod && !is_held(known) => {
                let finalizers = json!({"metadata": {"finalizers": [FINALIZER]}});
                let mut patch = self.marked();
                merge(&mut patch, &finalizers);
                let has = Expect::Has(patch.clone());
                self.ask("hold by a finalizer", Method::PATCH, MERGE, patch, has)
            }
            1 => {
                let mut preconditions = Map::from_iter([("uid".to_owned(), known.uid.clone().into())]);
                if let Some(revision) = known.revision.filter(|_| !self.sort.shared) {
                    preconditions.insert("resourceVersion".into(), revision.to_string().into());
                }
                let options = json!({"preconditions": preconditions});
                self.delete("delete with preconditions", options, expect)
            }
            2 if expect == Expect::Gone && !is_pod && !self.sort.shared => {
                let policy = *seed.pick(&["Foreground", "Orphan"]);
                let options = json!({"propagationPolicy": policy});
                self.delete("delete by the collector", options, Expect::Swept)
            }
            _ => self.delete("delete", json!({}), expect),
        }
    }

    /// Lets go of what is held.
    fn release(&self, seed: &mut Seed) -> Ask {
        if seed.below(2) == 0 {
            let none = json!({"metadata": {"finalizers": null}});
            return self.ask("release", Method::PATCH, MERGE, none, Expect::Gone);
        }
        let steps = json!([{"op": "remove", "path": "/metadata/finalizers"}]);
        let content = "application/json-patch+json";
        self.ask("release by a json patch", Method::PATCH, content, steps, Expect::Gone)
    }

    fn delete(&self, deed: &'static str, options: Value, expect: Expect) -> Ask {
        self.ask(deed, Method::DELETE, JSON, options, expect)
    }
}

fn is_bound(known: &Known) -> bool {
    known.must["spec"]["nodeName"] == "nowhere"
}

fn without_revision(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
}

/// The steps of a JSON patch that set what a merge patch says, one for each leaf.
fn steps_to(patch: &Value, at: &str, steps: &mut Vec<Value>) {
    match patch {
        Value::Object(members) => {
            for (name, value) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                steps_to(value, &format!("{at}/{name}"), steps);
            }
        }
        leaf => steps.push(json!({"op": "add", "path": at, "value": leaf})),
    }
}

/// The selection of one half.
pub(crate) fn left() -> String {
    format!("{SIDE}={}", side(0))
}
