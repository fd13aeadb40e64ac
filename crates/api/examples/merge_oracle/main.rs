//! Compares patches and apply with Kubernetes' own libraries on random objects. Started by `cargo xtask oracle-merge`
//! with the program that answers for Kubernetes: `merge_oracle PROGRAM [CASES] [SEED]`.

mod asking;
mod world;

use std::process::ExitCode;

use api::merge::apply::{Config, OneVersion, ResetFields, Target, apply, track_update};
use api::merge::{Problem, strategic, strategic_diff};
use api::schema::{Schema, TypeId};
use asking::{Answer, Oracle, compare_objects, compare_values};
use jiff::Timestamp;
use meta::Status;
use serde_json::{Value, json};
use world::World;

/// The kinds that are compared, by their names in the schema.
const KINDS: &[(&str, &str, &str)] = &[
    ("v1", "Pod", "io.k8s.api.core.v1.Pod"),
    ("v1", "Service", "io.k8s.api.core.v1.Service"),
    ("v1", "ConfigMap", "io.k8s.api.core.v1.ConfigMap"),
    ("v1", "Node", "io.k8s.api.core.v1.Node"),
    ("v1", "ServiceAccount", "io.k8s.api.core.v1.ServiceAccount"),
    (
        "v1",
        "PersistentVolumeClaim",
        "io.k8s.api.core.v1.PersistentVolumeClaim",
    ),
    ("apps/v1", "Deployment", "io.k8s.api.apps.v1.Deployment"),
    ("apps/v1", "StatefulSet", "io.k8s.api.apps.v1.StatefulSet"),
    ("apps/v1", "ControllerRevision", "io.k8s.api.apps.v1.ControllerRevision"),
    ("batch/v1", "CronJob", "io.k8s.api.batch.v1.CronJob"),
    ("networking.k8s.io/v1", "Ingress", "io.k8s.api.networking.v1.Ingress"),
    (
        "networking.k8s.io/v1",
        "NetworkPolicy",
        "io.k8s.api.networking.v1.NetworkPolicy",
    ),
    (
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    ),
    (
        "discovery.k8s.io/v1",
        "EndpointSlice",
        "io.k8s.api.discovery.v1.EndpointSlice",
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        "io.k8s.api.rbac.v1.ClusterRole",
    ),
];

/// What one case found; `Err` is a difference.
type Finding = Result<(), String>;

struct Case<'a> {
    world: World<'a>,
    schema: &'a Schema,
    ty: TypeId,
    api_version: &'static str,
    kind: &'static str,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().unwrap_or_default();
    let mut number = |default: u64| arguments.next().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (cases, seed) = (number(2_000), number(1));
    let mut oracle = match Oracle::start(&program) {
        Ok(oracle) => oracle,
        Err(error) => {
            eprintln!("the oracle {program:?} doesn't start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let schema = Schema::builtin();
    let mut differences = 0;
    for index in seed..seed + cases {
        let (api_version, kind, name) = KINDS[index as usize % KINDS.len()];
        let Some(ty) = schema.named(name) else {
            eprintln!("{name} is not in the table");
            return ExitCode::FAILURE;
        };
        let mut case = Case {
            world: World::new(schema, index),
            schema,
            ty,
            api_version,
            kind,
        };
        let finding = case
            .diff(&mut oracle)
            .and_then(|()| case.patch(&mut oracle))
            .and_then(|()| case.session(&mut oracle));
        if let Err(difference) = finding {
            differences += 1;
            println!("seed {index}, {kind}: {difference}\n");
        }
    }
    println!(
        "{cases} cases, {differences} differences; {} answers, {} of them refusals",
        oracle.answers, oracle.refusals
    );
    if differences == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Case<'_> {
    fn ask(&self, oracle: &mut Oracle, mut question: Value) -> Result<Answer, String> {
        question["apiVersion"] = self.api_version.into();
        question["kind"] = self.kind.into();
        oracle.ask(&question).map_err(|error| format!("no answer: {error}"))
    }

    fn pair(&mut self) -> (Value, Value) {
        self.world.strange = 0;
        let old = self.world.object(self.ty, self.api_version, self.kind);
        let new = self.world.changed(self.ty, &old, self.api_version, self.kind);
        (old, new)
    }

    /// Our diff applied by both gives the target, and both diffs do.
    fn diff(&mut self, oracle: &mut Oracle) -> Finding {
        let (old, new) = self.pair();
        let theirs = self.ask(oracle, json!({"op": "diff", "old": old, "new": new}))?;
        let ours = strategic_diff(self.schema, self.ty, &old, &new);
        compare_values("diff", &json!([old, new]), ours.clone(), theirs)?;
        let Ok(patch) = ours else { return Ok(()) };
        let question = json!({"op": "strategic", "old": old, "new": patch});
        let theirs = self.ask(oracle, question.clone())?;
        let ours = strategic(self.schema, self.ty, &old, &patch);
        compare_values("diff, then patch", &question, ours.clone(), theirs)?;
        let reached = |result: &Value| asking::without_empty(result) == asking::without_empty(&new);
        let Some(result) = ours.ok().filter(|result| !reached(result)) else {
            return Ok(());
        };
        // Where a merge key is there twice, Kubernetes' own diff doesn't lead there either.
        let theirs = self.ask(oracle, json!({"op": "diff", "old": old, "new": new}))?.value;
        let theirs = self
            .ask(oracle, json!({"op": "strategic", "old": old, "new": theirs}))?
            .value;
        match reached(&theirs) {
            true => Err(format!(
                "the diff doesn't lead to the target\n  old {old}\n  new {new}\n  patch {patch}\n  got {result}"
            )),
            false => Ok(()),
        }
    }

    /// Patches that nobody computed, directives and mistakes among them.
    fn patch(&mut self, oracle: &mut Oracle) -> Finding {
        let (old, _) = self.pair();
        self.world.strange = 5;
        let mut patch = self.world.changed(self.ty, &old, self.api_version, self.kind);
        sprinkle(&mut self.world, &mut patch);
        let question = json!({"op": "strategic", "old": old, "new": patch});
        let theirs = self.ask(oracle, question.clone())?;
        compare_values(
            "patch",
            &question,
            strategic(self.schema, self.ty, &old, &patch),
            theirs,
        )
    }

    /// A few writes one after the other, each from the state that Kubernetes has reached.
    fn session(&mut self, oracle: &mut Oracle) -> Finding {
        let mut live: Option<Value> = None;
        for _ in 0..2 + self.world.below(6) {
            let next = self.write(oracle, live.as_ref())?;
            if let Some(mut next) = next {
                next["metadata"]["uid"] = "some-uid".into();
                next = asking::without_null(&next);
                asking::age(&mut next);
                live = Some(next);
            }
        }
        Ok(())
    }

    fn write(&mut self, oracle: &mut Oracle, live: Option<&Value>) -> Result<Option<Value>, String> {
        self.world.strange = 2;
        let manager = *self.world.pick(&["a", "b", "kubectl"]);
        let force = self.world.chance(30);
        let (subresource, paths): (&str, &[&str]) = match self.world.below(6) {
            0 => ("status", &["spec", "metadata.labels"]),
            1..=3 => ("", &["status"]),
            _ => ("", &[]),
        };
        let reset = if paths.is_empty() {
            ResetFields::Nothing
        } else {
            ResetFields::these(paths)
        };
        let applies = self.world.chance(60);
        let mut object = match live {
            Some(live) if !self.world.chance(30) => self.world.changed(self.ty, live, self.api_version, self.kind),
            _ => self.world.object(self.ty, self.api_version, self.kind),
        };
        if let Some(live) = live.filter(|_| !applies) {
            object["metadata"]["uid"] = live["metadata"]["uid"].clone();
            if self.world.chance(10) {
                object["metadata"]["managedFields"] = self.world.pick(&[json!([]), json!([{}])]).clone();
            } else if self.world.chance(20) {
                object["metadata"]["managedFields"] = live["metadata"]["managedFields"].clone();
            }
            if self.world.chance(15) {
                let applied = self.world.changed(self.ty, &object, self.api_version, self.kind);
                object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] =
                    applied.to_string().into();
            }
        }
        let op = if applies { "apply" } else { "update" };
        let paths: Vec<Vec<&str>> = paths.iter().map(|path| path.split('.').collect()).collect();
        let question = json!({
            "op": op, "old": live, "new": object, "manager": manager, "force": force,
            "subresource": subresource, "reset": paths,
        });
        let theirs = self.ask(oracle, question.clone())?;
        let target = Target {
            schema: self.schema,
            ty: self.ty,
            api_version: self.api_version,
            kind: self.kind,
            subresource,
            reset: &reset,
            versions: &OneVersion,
        };
        let now = Timestamp::from_second(2_000_000_000).unwrap_or_default();
        let ours: Result<Value, Problem> = if applies {
            apply(
                &target,
                live,
                Config {
                    object: &object,
                    manager,
                    force,
                },
                now,
            )
        } else {
            let mut new = object.clone();
            track_update(&target, live, &mut new, manager, now);
            Ok(new)
        };
        let next = theirs.next.clone();
        compare_objects(&question, ours.map_err(Status::from), theirs)?;
        Ok(next)
    }
}

/// Puts directives into a patch, sensible ones and others.
fn sprinkle(world: &mut World<'_>, patch: &mut Value) {
    match patch {
        Value::Object(map) => {
            for value in map.values_mut() {
                sprinkle(world, value);
            }
            let names: Vec<String> = map.keys().cloned().collect();
            if !names.is_empty() && world.chance(4) {
                let name = world.pick(&names).clone();
                let value = map[&name].clone();
                match world.below(4) {
                    0 => _ = map.insert(format!("$setElementOrder/{name}"), value),
                    1 if value.is_array() => {
                        map.remove(&name);
                        map.insert(format!("$deleteFromPrimitiveList/{name}"), value);
                    }
                    2 => _ = map.insert("$retainKeys".into(), names.into()),
                    _ => _ = map.insert(name, Value::Null),
                }
            } else if world.chance(2) {
                let directive = *world.pick(&["replace", "delete", "merge", "what"]);
                map.insert("$patch".into(), directive.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| sprinkle(world, item)),
        _ => {}
    }
}
