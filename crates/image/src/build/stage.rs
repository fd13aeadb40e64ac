//! Building stages: each at most once, in a thread of its own, waiting for another only where it takes files from it.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::spec::{Descriptor, Manifest};
use crate::store::Store;

use super::cache::{self, Key, Made};
use super::host::Host;
use super::instruction::Instruction;
use super::parse::Line;
use super::plan::{Base, Plan, global};
use super::state::State;
use super::tarball::{Attributes, Tarball, Times};
use super::tree::{Node, Tree};
use super::{Built, Event, Options, Progress, at_line, fault, ignore_file, parse, reason, users};

/// A build under way.
pub(super) struct Build<'a> {
    pub(super) store: &'a Store,
    pub(super) options: &'a Options,
    pub(super) host: &'a dyn Host,
    pub(super) progress: &'a dyn Progress,
    pub(super) context: Tree,
    pub(super) times: Times,
    plan: Plan,
    created: String,
    slots: Vec<(Mutex<Slot>, Condvar)>,
    images: Mutex<HashMap<String, Arc<Mutex<Option<State>>>>>,
    steps: AtomicU32,
    stop: AtomicBool,
    failure: Mutex<Option<Error>>,
    used_arguments: Mutex<BTreeSet<String>>,
}

/// How far a stage is.
enum Slot {
    Idle,
    Running,
    Done(Box<State>),
    Failed,
}

/// Where files are copied from.
pub(super) struct From {
    pub(super) tree: Tree,
    /// Whether files keep their owners: of other images they do, of contexts they don't.
    pub(super) keeps_owner: bool,
    /// A digest of all that is in it; `None` of a directory, which must be looked through.
    pub(super) digest: Option<String>,
}

impl<'a> Build<'a> {
    pub(super) fn new(
        store: &'a Store,
        options: &'a Options,
        host: &'a dyn Host,
        progress: &'a dyn Progress,
        plan: Plan,
        context: Tree,
    ) -> Self {
        let now = options.epoch.unwrap_or_else(|| jiff::Timestamp::now().as_second());
        let created = jiff::Timestamp::from_second(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Self {
            store,
            options,
            host,
            progress,
            context,
            times: Times {
                now,
                latest: options.epoch,
            },
            created: created.to_string(),
            slots: plan
                .stages
                .iter()
                .map(|_| (Mutex::new(Slot::Idle), Condvar::new()))
                .collect(),
            plan,
            images: Mutex::default(),
            steps: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            failure: Mutex::default(),
            used_arguments: Mutex::default(),
        }
    }

    /// Builds all stages that are needed; answers the target's.
    pub(super) fn run(&self) -> Result<State> {
        std::thread::scope(|scope| {
            for index in (0..self.plan.stages.len()).filter(|index| self.plan.needed[*index]) {
                scope.spawn(move || drop(self.stage(index)));
            }
        });
        if let Some(error) = lock(&self.failure).take() {
            return Err(error);
        }
        self.warn_of_unused_arguments();
        self.stage(self.plan.target)
    }

    /// Stores the image and names it.
    pub(super) fn export(&self, mut state: State) -> Result<Built> {
        let step = self.begin("exporting to image");
        let created = state.created.unwrap_or_else(|| self.created.clone());
        // Only what was done before the first layer of an image from scratch has no time yet.
        for line in &mut state.config.history {
            line.created.get_or_insert_with(|| created.clone());
        }
        state.config.created = Some(created);
        state.config.config.labels.extend(self.options.labels.iter().cloned());
        let digest = self.store.put_image(&state.config, state.layers)?;
        for name in &self.options.names {
            self.store.set_name(name, &digest)?;
        }
        self.progress.event(Event::Done { step, cached: false });
        let name = self.options.names.first().cloned();
        let name = name.ok_or_else(|| fault("the image needs a name"))?;
        Ok(Built { name, digest })
    }

    /// A stage's result; built here if nobody has begun it.
    fn stage(&self, index: usize) -> Result<State> {
        let (slot, changed) = &self.slots[index];
        let mut held = lock(slot);
        loop {
            match &*held {
                Slot::Done(state) => return Ok((**state).clone()),
                Slot::Failed => return Err(fault("another stage failed")),
                Slot::Running => held = changed.wait(held).unwrap_or_else(PoisonError::into_inner),
                Slot::Idle => break,
            }
        }
        *held = Slot::Running;
        drop(held);
        let result = self.build_stage(index);
        let mut held = lock(slot);
        let answer = match result {
            Ok(state) => {
                *held = Slot::Done(Box::new(state.clone()));
                Ok(state)
            }
            Err(error) => {
                *held = Slot::Failed;
                let mut first = lock(&self.failure);
                if !self.stop.swap(true, Ordering::SeqCst) {
                    *first = Some(error);
                }
                Err(fault("another stage failed"))
            }
        };
        changed.notify_all();
        answer
    }

    fn build_stage(&self, index: usize) -> Result<State> {
        let stage = &self.plan.stages[index];
        let (mut state, triggers) = self.base(index).map_err(|error| at_line(stage.from.number, error))?;
        let mut steps = Vec::new();
        for trigger in triggers {
            let parsed = parse::parse(&trigger)?;
            for mut line in parsed.lines {
                let instruction = Instruction::of(&line, parsed.escape);
                line.number = stage.from.number;
                steps.push((
                    line,
                    instruction.map_err(|reason| at_line(stage.from.number, fault(reason)))?,
                ));
            }
        }
        steps.extend(stage.steps.iter().cloned());
        let makes_layer =
            |i: &Instruction| matches!(i, Instruction::Run(_) | Instruction::Copy(_) | Instruction::Workdir(_));
        let total = 1 + steps.iter().filter(|(_, instruction)| makes_layer(instruction)).count();
        let mut number = 1;
        self.show_base(index, total);
        for (line, instruction) in &steps {
            self.check()?;
            if makes_layer(instruction) {
                number += 1;
            }
            let label = format!("[{}{number}/{total}]", self.plan.label(index));
            let done = self.step(index, &mut state, line, instruction, &label);
            done.map_err(|error| at_line(line.number, error))?;
        }
        Ok(state)
    }

    fn show_base(&self, index: usize, total: usize) {
        let text = &self.plan.stages[index].from.text;
        let step = self.begin(&format!("[{}1/{total}] {text}", self.plan.label(index)));
        self.progress.event(Event::Done { step, cached: false });
    }

    /// What a stage stands on, and the triggers that its image has left.
    fn base(&self, index: usize) -> Result<(State, Vec<String>)> {
        match &self.plan.stages[index].base {
            Base::Scratch => Ok((State::scratch(self.plan.escape), Vec::new())),
            Base::Stage(other) => {
                let mut state = self.stage(*other)?.child();
                // They are for other images, not for other stages.
                state.take_triggers();
                Ok((state, Vec::new()))
            }
            Base::Image(name) => self.image_with_triggers(name),
            Base::Context(name) => match self.options.contexts[name].strip_prefix("docker-image://") {
                Some(image) => self.image_with_triggers(image),
                None => Err(fault(format!(
                    "the context {name} is a directory; a stage stands on an image (docker-image://NAME)"
                ))),
            },
        }
    }

    fn image_with_triggers(&self, name: &str) -> Result<(State, Vec<String>)> {
        let mut state = self.image(name)?;
        let triggers = state.take_triggers();
        Ok((state, triggers))
    }

    /// An image, brought in if it isn't here, or if the registry is to be asked. Stages that want the same one wait for
    /// each other; all of them get what the first has found.
    fn image(&self, name: &str) -> Result<State> {
        let own = lock(&self.images).entry(name.to_string()).or_default().clone();
        let mut own = lock(&own);
        if let Some(state) = &*own {
            return Ok(state.clone());
        }
        self.check()?;
        let mut found = self.store.resolve(name)?;
        if found.is_none() || self.options.pull {
            self.pull(name)?;
            found = self.store.resolve(name)?;
        }
        let image = found.ok_or_else(|| Error::NotFound(name.to_string()))?;
        let manifest: Manifest = self.store.blobs.json(&image.digest)?;
        let tree = Tree::of_layers(image.layers);
        let created = match (&image.config.created, self.options.epoch) {
            (Some(created), None) => created.clone(),
            _ => self.created.clone(),
        };
        let state = State::of(image.config, manifest.layers, tree, Some(created), self.plan.escape);
        *own = Some(state.clone());
        Ok(state)
    }

    fn pull(&self, name: &str) -> Result<()> {
        let step = self.begin(&format!("pulling {name}"));
        let pulled = self.host.pull(name, &mut |stream, bytes| {
            self.progress.event(Event::Output { step, stream, bytes });
        });
        self.end(step, pulled.as_ref().map(|()| false).map_err(ToString::to_string));
        pulled.map_err(fault)
    }

    fn step(&self, index: usize, state: &mut State, line: &Line, instruction: &Instruction, label: &str) -> Result<()> {
        match instruction {
            Instruction::Run(run) => self.run_command(index, state, run, &format!("{label} {}", shown(line))),
            Instruction::Copy(copy) => self.copy(index, state, copy, &format!("{label} {}", shown(line))),
            Instruction::Workdir(path) => self.workdir(state, path, &format!("{label} {}", line.text)),
            Instruction::Arg(arguments) => {
                let mut text = "ARG".to_string();
                for (name, default) in arguments {
                    lock(&self.used_arguments).insert(name.clone());
                    let given = self.argument(name);
                    state
                        .argument(name, default.as_deref(), given, global(&self.plan, name))
                        .map_err(fault)?;
                    text.push_str(&match state.arguments.last() {
                        Some((name, Some(value))) => format!(" {name}={value}"),
                        _ => format!(" {name}"),
                    });
                }
                state.note(text, true);
                Ok(())
            }
            other => state.configure(other).map(|_| ()).map_err(fault),
        }
    }

    fn argument(&self, name: &str) -> Option<&str> {
        let given = self.options.arguments.iter().rev().find(|(key, _)| key == name);
        given.map(|(_, value)| value.as_str())
    }

    /// Makes the directory if it isn't there, owned by the image's user.
    fn workdir(&self, state: &mut State, path: &str, name: &str) -> Result<()> {
        let path = state.enter(path).map_err(fault)?;
        let history = format!("WORKDIR {path}");
        if path == "/" {
            state.note(history, true);
            return Ok(());
        }
        let user = &state.config.config.user;
        let key = self.key(state, &["WORKDIR", &path, user]);
        let owner = if user.is_empty() {
            users::User::default()
        } else {
            users::owner(user, &state.tree)?
        };
        let below = state.tree.clone();
        self.layer(state, name, &key, |_| {
            let mut layer = Tarball::new(self.store, &below, self.times)?;
            let real = below.real_path(&path)?;
            let mut made = PathBuf::new();
            for part in real.components() {
                made.push(part);
                match below.at(&made)? {
                    Some(Node::Directory(..)) => {}
                    Some(Node::Other(..)) => return Err(fault(format!("WORKDIR {path} is no directory"))),
                    None => {
                        let attributes = Attributes {
                            mode: 0o755,
                            uid: owner.uid,
                            gid: owner.gid,
                            mtime: self.times.now,
                            ..Attributes::default()
                        };
                        layer.directory(&made, &attributes, false)?;
                    }
                }
            }
            layer.finish()
        })?;
        state.note(history, false);
        Ok(())
    }

    /// Puts a layer on a stage: an earlier build's, or one that is made now.
    pub(super) fn layer(
        &self,
        state: &mut State,
        name: &str,
        key: &Key,
        make: impl FnOnce(u32) -> Result<Descriptor>,
    ) -> Result<()> {
        let step = self.begin(name);
        let made = || -> Result<(Made, bool)> {
            let known = if self.options.no_cache {
                None
            } else {
                cache::find(self.store, key)?
            };
            if let Some(made) = known {
                return Ok((made, true));
            }
            let made = Made {
                layer: make(step)?,
                created: self.created.clone(),
            };
            cache::put(self.store, key, &made)?;
            Ok((made, false))
        };
        let made = made().and_then(|(made, cached)| {
            let unpacked = self.store.unpack_one(&made.layer)?;
            state.push(made.layer, unpacked);
            // A build that does nothing anew gives the same image again.
            state.created = Some(made.created);
            Ok(cached)
        });
        self.end(step, made.as_ref().map(|cached| *cached).map_err(reason));
        made.map(|_| ())
    }

    /// The key of a step on top of a stage.
    pub(super) fn key(&self, state: &State, parts: &[&str]) -> Key {
        let epoch = format!("{:?}", self.options.epoch);
        let chain = state.config.rootfs.diff_ids.iter().map(String::as_str);
        Key::of(
            ["gantry layer 1", &epoch]
                .into_iter()
                .chain(chain)
                .chain(["step"])
                .chain(parts.iter().copied()),
        )
    }

    /// The tree that a `from` means, for a step of a stage; without one the build's context.
    pub(super) fn from(&self, index: usize, from: Option<&str>) -> Result<From> {
        let Some(from) = from.filter(|from| !from.is_empty()) else {
            return Ok(From {
                tree: self.context.clone(),
                keeps_owner: false,
                digest: None,
            });
        };
        if let Some(place) = self.options.contexts.get(from) {
            if let Some(image) = place.strip_prefix("docker-image://") {
                return self.image(image).map(From::of);
            }
            let dir = PathBuf::from(place);
            return Ok(From {
                tree: Tree::of_directory(&dir, ignore_file(&dir, None)?)?,
                keeps_owner: false,
                digest: None,
            });
        }
        let contexts: Vec<String> = self.options.contexts.keys().cloned().collect();
        match self.plan.stage_before(index, from, &contexts) {
            Some(stage) => self.stage(stage).map(From::of),
            None if from == "scratch" => Err(fault("nothing can be taken from scratch")),
            None => self.image(from).map(From::of),
        }
    }

    /// An error when the build is to end.
    pub(super) fn check(&self) -> Result<()> {
        if self.host.cancelled() || self.stop.load(Ordering::SeqCst) {
            return Err(fault("interrupted"));
        }
        Ok(())
    }

    fn begin(&self, name: &str) -> u32 {
        let step = self.steps.fetch_add(1, Ordering::SeqCst) + 1;
        self.progress.event(Event::Started { step, name });
        step
    }

    fn end(&self, step: u32, result: std::result::Result<bool, String>) {
        self.progress.event(match &result {
            Ok(cached) => Event::Done { step, cached: *cached },
            Err(reason) => Event::Failed { step, reason },
        });
    }

    fn warn_of_unused_arguments(&self) {
        let used = lock(&self.used_arguments);
        let known = |name: &str| used.contains(name) || global(&self.plan, name).is_some();
        let unused: Vec<&str> = self
            .options
            .arguments
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|n| !known(n))
            .collect();
        if !unused.is_empty() {
            let text = format!("no ARG asks for these build arguments: {}", unused.join(", "));
            self.progress.event(Event::Warning(&text));
        }
    }
}

impl From {
    fn of(state: State) -> Self {
        Self {
            digest: Some(state.config.rootfs.diff_ids.join(" ")),
            tree: state.tree,
            keeps_owner: true,
        }
    }
}

/// An instruction in one line, with the beginning of its here-document.
fn shown(line: &Line) -> String {
    let text: Vec<&str> = line.text.split_whitespace().collect();
    let first = line
        .documents
        .first()
        .and_then(|document| document.content.lines().next());
    match first {
        Some(first) => format!("{} ({}...)", text.join(" "), first.trim()),
        None => text.join(" "),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
