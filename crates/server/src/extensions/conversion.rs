//! Conversion of custom resources by a webhook: between the version that an object is stored in and the one that a
//! request is about. Results are kept for a while, so that an object is converted once for all who read it.
//!
//! Which version an object is stored in stands at the end of its stored bytes; what has no mark was stored before the
//! definition had a webhook, in the first of its stored versions.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meta::{Revision, Status};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::callout::Endpoint;
use crate::core::Core;
use crate::object::{self, text};
use crate::traces::{self, Caller};

const VERSION: &str = "apiextensions.k8s.io/v1";
/// No conversion takes longer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// So many results are kept for each version.
const MOST_KEPT: usize = 2048;

/// The webhook of a definition.
pub(crate) struct Converter {
    endpoint: Result<Endpoint, String>,
    speaks_v1: bool,
    /// The definition's.
    name: String,
    kind: String,
    /// What is stored, as `apiVersion` has it.
    pub(crate) storage: String,
    unmarked: String,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Stored bytes and the wanted version, and what came of them.
    results: HashMap<(Bytes, String), Bytes>,
    order: VecDeque<(Bytes, String)>,
}

impl Converter {
    /// The converter of a definition that has one.
    pub(crate) fn of(definition: &Value) -> Option<Arc<Converter>> {
        let conversion = &definition["spec"]["conversion"];
        if conversion["strategy"] != "Webhook" {
            return None;
        }
        let group = text(definition, &["spec", "group"]);
        let mut versions = definition["spec"]["versions"].as_array().into_iter().flatten();
        let storage = versions.find(|version| version["storage"] == true)?;
        let storage = text(storage, &["name"]);
        let first = definition["status"]["storedVersions"][0].as_str().unwrap_or(storage);
        let spoken = conversion["webhook"]["conversionReviewVersions"].as_array();
        Some(Arc::new(Converter {
            endpoint: Endpoint::compile(&conversion["webhook"]["clientConfig"]),
            speaks_v1: spoken.into_iter().flatten().any(|version| version == "v1"),
            name: object::name(definition).to_owned(),
            kind: text(definition, &["spec", "names", "kind"]).to_owned(),
            storage: format!("{group}/{storage}"),
            unmarked: format!("{group}/{first}"),
            kept: Mutex::default(),
        }))
    }

    /// The version that stored bytes are in.
    fn version_of<'a>(&'a self, stored: &'a [u8]) -> &'a str {
        object::mark_of(stored).unwrap_or(&self.unmarked)
    }

    /// Stored bytes in a version, as far as that is known: they are in it, or were converted before.
    pub(crate) fn known(&self, stored: &[u8], wanted: &str) -> Option<Bytes> {
        if self.version_of(stored) == wanted {
            return Some(Bytes::copy_from_slice(stored));
        }
        let key = (Bytes::copy_from_slice(stored), wanted.to_owned());
        self.kept.lock().results.get(&key).cloned()
    }

    /// Whether bytes are stored in the version that is stored now.
    pub(crate) fn is_current(&self, stored: &[u8]) -> bool {
        self.version_of(stored) == self.storage
    }

    /// Converts what is in another version, all by one call.
    pub(crate) async fn convert(&self, core: &Core, all: &[Bytes], wanted: &str) -> Result<Vec<Bytes>, Status> {
        let mut out: Vec<Option<Bytes>> = all.iter().map(|stored| self.known(stored, wanted)).collect();
        let foreign = all.iter().enumerate().filter(|(at, _)| out[*at].is_none());
        let foreign: Vec<(usize, &Bytes)> = foreign.collect();
        if !foreign.is_empty() {
            let trees = foreign
                .iter()
                .map(|(_, stored)| object::to_tree(self.version_of(stored), &self.kind, stored, Revision(0)));
            let trees = trees.collect::<Result<Vec<_>, _>>()?;
            let converted = self.call(core, &trees, wanted).await;
            let converted = converted.map_err(|why| self.failed(&trees, &why))?;
            for ((at, stored), tree) in foreign.into_iter().zip(converted) {
                let bytes = object::marked(object::to_stored(&tree)?, wanted);
                self.keep(stored.clone(), wanted, bytes.clone());
                out[at] = Some(bytes);
            }
        }
        Ok(out.into_iter().flatten().collect())
    }

    /// An object in the version that is stored.
    pub(crate) async fn to_storage(&self, core: &Core, object: &Value) -> Result<Bytes, Status> {
        let trees = [object.clone()];
        let converted = self.call(core, &trees, &self.storage).await;
        let converted = converted.map_err(|why| self.failed(&trees, &why))?;
        let tree = converted
            .first()
            .ok_or_else(|| Status::internal("nothing was converted"))?;
        Ok(object::marked(object::to_stored(tree)?, &self.storage))
    }

    fn failed(&self, trees: &[Value], why: &str) -> Status {
        let from = trees
            .first()
            .map(|tree| text(tree, &["apiVersion"]))
            .unwrap_or_default();
        let message = format!("conversion webhook for {from}, Kind={} {why}", self.kind);
        Status::failure(500, "InternalError", message)
    }

    fn keep(&self, stored: Bytes, wanted: &str, result: Bytes) {
        let mut kept = self.kept.lock();
        let key = (stored, wanted.to_owned());
        if kept.results.insert(key.clone(), result).is_none() {
            kept.order.push_back(key);
        }
        while kept.order.len() > MOST_KEPT {
            if let Some(oldest) = kept.order.pop_front() {
                kept.results.remove(&oldest);
            }
        }
    }

    async fn call(&self, core: &Core, objects: &[Value], wanted: &str) -> Result<Vec<Value>, String> {
        if !self.speaks_v1 {
            return Err("failed: no supported conversion review versions".to_owned());
        }
        let failed = |why: String| format!("failed: {why}");
        let endpoint = self.endpoint.as_ref().map_err(|why| failed(why.clone()))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let review = json!({"kind": "ConversionReview", "apiVersion": VERSION,
            "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": objects}});
        let body = serde_json::to_vec(&review).map_err(|error| failed(error.to_string()))?;
        let mut span = traces::leaf("Call conversion webhook");
        span.set("custom-resource-definition", &self.name);
        span.set("desired-api-version", wanted);
        span.count("object-count", objects.len());
        span.set("UID", &uid);
        let caller = Caller {
            span: Some(&span),
            headers: None,
        };
        let answer = endpoint.post(core, caller, body.into(), TIMEOUT).await;
        let answer = answer.map_err(|why| {
            span.fail(&why);
            failed(why)
        })?;
        span.event("Request completed");
        let mut converted = read(&answer, &uid).map_err(failed)?;
        if converted.len() != objects.len() {
            let (got, expected) = (converted.len(), objects.len());
            return Err(format!("returned {got} objects, expected {expected}"));
        }
        for (at, (before, after)) in objects.iter().zip(&mut converted).enumerate() {
            let checked = check(before, after, wanted);
            checked.map_err(|why| format!("returned invalid converted object at index {at}: {why}"))?;
            restore(before, after)
                .map_err(|why| format!("returned invalid metadata in object at index {at}: {why}"))?;
        }
        Ok(converted)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reviewed {
    kind: String,
    api_version: String,
    response: Option<Response>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Response {
    uid: String,
    converted_objects: Option<Vec<Value>>,
    result: Value,
}

fn read(answer: &[u8], uid: &str) -> Result<Vec<Value>, String> {
    let reviewed: Reviewed = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    if reviewed.kind != "ConversionReview" || reviewed.api_version != VERSION {
        let (version, kind) = (&reviewed.api_version, &reviewed.kind);
        return Err(format!(
            "expected webhook response of {VERSION}, Kind=ConversionReview, got {version}, Kind={kind}"
        ));
    }
    let response = reviewed.response.ok_or("no response provided")?;
    if response.uid != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", response.uid));
    }
    let status = text(&response.result, &["status"]);
    match text(&response.result, &["message"]) {
        _ if status == "Success" => Ok(response.converted_objects.unwrap_or_default()),
        "" => Err(format!("response.result.status was '{status}', not 'Success'")),
        message => Err(message.to_owned()),
    }
}

/// Whether a converted object is the same object in the wanted version.
fn check(before: &Value, after: &Value, wanted: &str) -> Result<(), String> {
    let got = text(after, &["apiVersion"]);
    if got != wanted {
        return Err(format!("invalid groupVersion (expected {wanted}, received {got})"));
    }
    let (expected, got) = (text(before, &["kind"]), text(after, &["kind"]));
    if expected != got {
        return Err(format!("invalid kind (expected {expected}, received {got})"));
    }
    for (key, what) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (before, after) = (text(before, &["metadata", key]), text(after, &["metadata", key]));
        if before != after {
            return Err(format!("must have the same {what}: {before} != {after}"));
        }
    }
    Ok(())
}

/// All metadata but labels and annotations stays what it was.
fn restore(before: &Value, after: &mut Value) -> Result<(), String> {
    let given = after.get("metadata").ok_or("missing metadata in converted object")?;
    if !given.is_object() {
        return Err("invalid metadata of type in converted object".to_owned());
    }
    let mut metadata = before["metadata"].clone();
    for key in ["labels", "annotations"] {
        match given.get(key).filter(|value| !value.is_null()) {
            Some(value) => metadata[key] = value.clone(),
            None => {
                if let Some(metadata) = metadata.as_object_mut() {
                    metadata.remove(key);
                }
            }
        }
    }
    after["metadata"] = metadata;
    Ok(())
}
