//! RUN carried out: what the command sees is put together, a [`Host`](super::Host) runs it, and what it changed
//! becomes a layer.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use crate::error::{At as _, Result};
use crate::spec::Descriptor;
use crate::store::Store;

use super::add::materialise;
use super::cache::Key;
use super::copy::{Copies, Rules};
use super::diff::{self, Stubs};
use super::host::{Job, JobMount, Source};
use super::instruction::Run;
use super::mount::{Kind, Mount, Sharing};
use super::parse::announced;
use super::pattern::Ignore;
use super::stage::{Build, From};
use super::state::{PATH, State, set};
use super::tarball::Tarball;
use super::tree::{Node, Tree};
use super::users::{self, User};
use super::words::join;
use super::{Event, fault};

/// What every command has mounted, besides what it asks for.
const ALWAYS: [&str; 5] = ["/dev", "/proc", "/sys", RESOLV_CONF, HOSTS];
/// The host's resolver.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Names that need no resolver.
const HOSTS: &str = "/etc/hosts";

/// A mount that was asked for, and where its files come from.
struct Wanted {
    mount: Mount,
    /// Absolute, links of the image resolved.
    target: String,
    from: Option<From>,
}

/// A command line, and the script that it runs if its text is one of its own.
struct Script {
    args: Vec<String>,
    file: Option<(String, String)>,
}

impl Build<'_> {
    /// RUN.
    pub(super) fn run_command(&self, index: usize, state: &mut State, run: &Run, name: &str) -> Result<()> {
        let script = script(run, &state.shell())?;
        let mut wanted = Vec::new();
        for text in &run.mounts {
            let mount = Mount::parse(&state.expand(text).map_err(fault)?).map_err(fault)?;
            wanted.push(self.wanted(index, state, mount)?);
        }
        let key = self.run_key(state, run, &script, &wanted)?;
        let before = state.clone();
        self.layer(state, name, &key, |step| {
            self.check()?;
            self.execute(step, &before, run, &script, &wanted)
        })?;
        let mut words = Vec::new();
        let mut shown: Vec<(String, String)> = Vec::new();
        for (name, declared) in &state.arguments {
            let value = state.env.iter().find(|(key, _)| key == name).map(|(_, value)| value);
            set(&mut shown, name, value.or(declared.as_ref()).map_or("", String::as_str));
        }
        if !shown.is_empty() {
            words.push(format!("|{}", shown.len()));
            words.extend(shown.iter().map(|(name, value)| format!("{name}={value}")));
        }
        words.extend(script.args.iter().cloned());
        state.note(format!("RUN {}", words.join(" ")), false);
        Ok(())
    }

    fn wanted(&self, index: usize, state: &State, mount: Mount) -> Result<Wanted> {
        let from = match &mount.kind {
            Kind::Bind { from, .. } => Some(self.from(index, Some(from))?),
            Kind::Cache { from, .. } if !from.is_empty() => Some(self.from(index, Some(from))?),
            _ => None,
        };
        let target = match (&mount.kind, mount.target.as_str()) {
            (Kind::Secret { id, .. }, "") => format!("/run/secrets/{id}"),
            (_, target) => join(&state.config.config.working_dir, &state.expand(target).map_err(fault)?),
        };
        let real = state.tree.real_path(&target)?;
        if real.as_os_str().is_empty() {
            return Err(fault("nothing can be mounted on /"));
        }
        Ok(Wanted {
            mount,
            target: format!("/{}", real.display()),
            from,
        })
    }

    /// All that the command's result depends on: not what is in caches, secrets and the network.
    fn run_key(&self, state: &State, run: &Run, script: &Script, wanted: &[Wanted]) -> Result<Key> {
        let mut parts: Vec<String> = vec!["RUN".to_string(), format!("{:?}", run.network)];
        parts.extend(script.args.iter().cloned());
        parts.extend(script.file.iter().map(|(_, text)| text.clone()));
        parts.push("env".to_string());
        parts.extend(state.env.iter().map(|(name, value)| format!("{name}={value}")));
        parts.push(state.config.config.user.clone());
        parts.push(state.config.config.working_dir.clone());
        for one in wanted {
            parts.push(format!("{:?} {}", one.mount, one.target));
            if let (Kind::Bind { source, .. }, Some(from)) = (&one.mount.kind, &one.from) {
                parts.push(match &from.digest {
                    Some(digest) => digest.clone(),
                    None => self.taken(from, source)?.digest()?,
                });
            }
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(self.key(state, &parts))
    }

    /// What a mount's source names in a tree, as a list of files.
    fn taken(&self, from: &From, source: &str) -> Result<Copies> {
        let rules = Rules {
            target: "/".to_string(),
            into_directory: true,
            owner: (!from.keeps_owner).then(User::default),
            chmod: None,
            parents: false,
            exclude: Ignore::default(),
            times: self.times,
        };
        let mut copies = Copies::default();
        copies.add(&from.tree, source, &Tree::default(), &rules)?;
        Ok(copies)
    }

    fn execute(&self, step: u32, state: &State, run: &Run, script: &Script, wanted: &[Wanted]) -> Result<Descriptor> {
        let room = self.scratch()?;
        let made = |name: &str| -> Result<PathBuf> {
            let path = room.path().join(name);
            fs::create_dir(&path).at("making", &path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).at("making", &path)?;
            Ok(path)
        };
        let (upper, work) = (made("upper")?, made("work")?);
        let mut lowers = solid(state.tree.layers());
        if lowers.is_empty() {
            lowers.push(made("empty")?);
        }
        self.copy_root_attributes(&lowers, &upper)?;
        let user = users::runner(&state.config.config.user, &state.tree)?;
        let mut env = self.environment(state);
        let (mounts, locks) = self.mounts(wanted, &mut env, script, room.path(), state)?;
        let cwd = match state.config.config.working_dir.as_str() {
            "" => "/".to_string(),
            dir => dir.to_string(),
        };
        let mut targets: Vec<String> = ALWAYS.iter().map(|path| path.to_string()).collect();
        targets.extend(mounts.iter().map(|mount| mount.target.clone()));
        let stubs = Stubs::before(&state.tree, &targets)?;
        let job = Job {
            args: script.args.clone(),
            env: env.into_iter().map(|(name, value)| format!("{name}={value}")).collect(),
            cwd,
            uid: user.uid,
            gid: user.gid,
            groups: user.groups,
            lowers,
            upper: upper.clone(),
            work,
            mounts,
            network: run.network,
        };
        let code = self.host.run(&job, &mut |stream, bytes| {
            self.progress.event(Event::Output { step, stream, bytes });
        });
        drop(locks);
        self.check()?;
        match code.map_err(fault)? {
            0 => {}
            code => {
                return Err(fault(format!(
                    "process {:?} did not complete successfully: exit code: {code}",
                    script.args.join(" ")
                )));
            }
        }
        stubs.clear(&upper, &state.tree)?;
        let mut layer = Tarball::new(self.store, &state.tree, self.times)?;
        diff::write(&upper, &state.tree, &mut layer)?;
        layer.finish()
    }

    /// The root directory's mode and owner come from the image, not from the new upper directory.
    fn copy_root_attributes(&self, lowers: &[PathBuf], upper: &Path) -> Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let Some(top) = lowers.first() else { return Ok(()) };
        let metadata = fs::metadata(top).at("reading", top)?;
        chown(upper, Some(metadata.uid()), Some(metadata.gid())).at("changing the owner of", upper)?;
        fs::set_permissions(upper, fs::Permissions::from_mode(metadata.mode() & 0o7777))
            .at("changing the mode of", upper)
    }

    /// The command's variables: the stage's, a PATH, and proxies that aren't set otherwise.
    fn environment(&self, state: &State) -> Vec<(String, String)> {
        let mut env = state.env.clone();
        let mut default = |name: &str, value: &str| {
            if !env.iter().any(|(key, _)| key == name) {
                env.push((name.to_string(), value.to_string()));
            }
        };
        default("PATH", PATH);
        for (name, value) in &self.options.proxies {
            default(name, value);
        }
        env
    }

    /// What is mounted, parents first, and the locks that hold caches.
    fn mounts(
        &self,
        wanted: &[Wanted],
        env: &mut Vec<(String, String)>,
        script: &Script,
        room: &Path,
        state: &State,
    ) -> Result<(Vec<JobMount>, Vec<File>)> {
        let (mut mounts, mut locks) = (Vec::new(), Vec::new());
        for file in [RESOLV_CONF, HOSTS] {
            let real = state.tree.real_path(file)?;
            mounts.push(JobMount {
                target: format!("/{}", real.display()),
                source: Source::Host {
                    path: PathBuf::from(file),
                    read_only: true,
                },
            });
        }
        for (number, one) in wanted.iter().enumerate() {
            let room = room.join(format!("mount-{number}"));
            fs::create_dir(&room).at("making", &room)?;
            let source = match &one.mount.kind {
                Kind::Tmpfs { size } => Some(Source::Tmpfs { size: *size }),
                Kind::Bind { source, .. } => Some(self.bind(one, source, &room)?),
                Kind::Cache { .. } => {
                    let (source, lock) = self.cache_mount(one)?;
                    locks.push(lock);
                    Some(source)
                }
                Kind::Secret { .. } => self.secret(one, env)?,
            };
            mounts.extend(source.map(|source| JobMount {
                target: one.target.clone(),
                source,
            }));
        }
        mounts.sort_by_key(|mount| mount.target.matches('/').count());
        if let Some((name, text)) = &script.file {
            let path = room.join("script");
            fs::write(&path, text).at("writing", &path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).at("writing", &path)?;
            mounts.push(JobMount {
                target: format!("/dev/pipes/{name}"),
                source: Source::Host { path, read_only: true },
            });
        }
        Ok((mounts, locks))
    }

    fn bind(&self, one: &Wanted, source: &str, room: &Path) -> Result<Source> {
        let Some(from) = &one.from else {
            return Err(fault("a bind mount without a source"));
        };
        let real = from.tree.real_path(&join("/", source))?;
        let Some(node) = from.tree.at(&real)? else {
            return Err(fault(format!("{source:?} is not there to be mounted")));
        };
        if from.keeps_owner {
            let scratch = (!one.mount.read_only).then(|| room.to_path_buf());
            return Ok(Source::Layers {
                layers: solid(from.tree.layers()),
                path: real,
                scratch,
            });
        }
        // A copy, so that neither what is left out is seen nor anything written to the user's files.
        materialise(self, &self.taken(from, source)?, room)?;
        let path = match &node {
            Node::Directory(..) => room.to_path_buf(),
            Node::Other(path, ..) => room.join(path.file_name().unwrap_or_default()),
        };
        Ok(Source::Host {
            path,
            read_only: one.mount.read_only,
        })
    }

    /// A directory that stays from build to build, and the lock that says who has it.
    fn cache_mount(&self, one: &Wanted) -> Result<(Source, File)> {
        let Kind::Cache {
            id,
            sharing,
            from,
            source,
            mode,
            uid,
            gid,
        } = &one.mount.kind
        else {
            return Err(fault("no cache"));
        };
        let parent = mounts_dir(self.store);
        fs::create_dir_all(&parent).at("making", &parent)?;
        let key = Key::of([id.as_str(), from, source]);
        for number in 0.. {
            let name = match number {
                0 => key.as_str().to_string(),
                number => format!("{}-{number}", key.as_str()),
            };
            let lock = lock_file(&parent.join(format!("{name}.lock")))?;
            match sharing {
                Sharing::Shared => lock.lock_shared().at("locking", &parent)?,
                Sharing::Locked => lock.lock().at("locking", &parent)?,
                Sharing::Private if lock.try_lock().is_err() => continue,
                Sharing::Private => {}
            }
            let path = parent.join(&name);
            if !path.exists() {
                let new = self.scratch()?;
                if let Some(from) = &one.from {
                    materialise(self, &self.taken(from, source)?, new.path())?;
                }
                chown(new.path(), Some(*uid), Some(*gid)).at("changing the owner of", new.path())?;
                fs::set_permissions(new.path(), fs::Permissions::from_mode(*mode))
                    .at("changing the mode of", new.path())?;
                match fs::rename(new.path(), &path) {
                    // Another one was faster.
                    Err(_) if path.exists() => {}
                    other => other.at("renaming to", &path)?,
                }
            }
            let read_only = one.mount.read_only;
            return Ok((Source::Host { path, read_only }, lock));
        }
        Err(fault("no cache is free"))
    }

    fn secret(&self, one: &Wanted, env: &mut Vec<(String, String)>) -> Result<Option<Source>> {
        let Kind::Secret {
            id,
            required,
            env: variable,
            mode,
            uid,
            gid,
        } = &one.mount.kind
        else {
            return Ok(None);
        };
        let Some(content) = self.options.secrets.get(id) else {
            return match required {
                true => Err(fault(format!(
                    "the secret {id} is not there; give it with --secret id={id},src=FILE"
                ))),
                false => Ok(None),
            };
        };
        if let Some(name) = variable {
            let text = String::from_utf8(content.clone());
            set(
                env,
                name,
                &text.map_err(|_| fault(format!("the secret {id} is no text for a variable")))?,
            );
            if one.mount.target.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(Source::Secret {
            content: content.clone(),
            mode: *mode,
            uid: *uid,
            gid: *gid,
        }))
    }
}

/// The layers that anything is in; overlayfs takes only so many.
fn solid(layers: &[PathBuf]) -> Vec<PathBuf> {
    let has_files = |dir: &&PathBuf| fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
    layers.iter().filter(has_files).cloned().collect()
}

/// What here-documents make of a command: one alone is the script itself; among other words the shell reads them.
fn script(run: &Run, shell: &[String]) -> Result<Script> {
    let Some(first) = run.documents.first() else {
        return Ok(Script {
            args: run.command.argv(shell),
            file: None,
        });
    };
    let mut text = run.command.words.join(" ");
    let mut file = None;
    if announced(text.trim()).is_some() && run.documents.len() == 1 {
        let data = first.data();
        if data.starts_with("#!") {
            text = format!("/dev/pipes/{}", first.name);
            file = Some((first.name.clone(), data));
        } else {
            text = data;
        }
    } else {
        for document in &run.documents {
            text.push('\n');
            text.push_str(&document.content);
            text.push_str(&document.name);
        }
    }
    Ok(Script {
        args: shell.iter().cloned().chain([text]).collect(),
        file,
    })
}

fn lock_file(path: &Path) -> Result<File> {
    let options = File::options().create(true).truncate(false).write(true).open(path);
    options.at("opening", path)
}

fn mounts_dir(store: &Store) -> PathBuf {
    store.root().join("build/mounts")
}

/// Removes cache mounts that no build has at the moment.
pub(super) fn clear_mounts(store: &Store) -> Result<()> {
    let dir = mounts_dir(store);
    for entry in fs::read_dir(&dir).into_iter().flatten() {
        let path = entry.at("reading", &dir)?.path();
        if path.extension().is_some() {
            continue;
        }
        if lock_file(&path.with_extension("lock"))?.try_lock().is_ok() {
            fs::remove_dir_all(&path).at("removing", &path)?;
        }
    }
    Ok(())
}
