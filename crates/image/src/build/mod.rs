//! Building an image from a Dockerfile, as its reference describes it and as BuildKit's users expect it.
//!
//! Text becomes lines (`parse`), lines become instructions (`instruction`), instructions become stages (`plan`), all
//! without looking at a file. Then each stage that is needed is built (`stage`), one thread each: a step that makes a
//! layer first asks the cache. Nothing in here runs a program: a [`Host`] does.

mod add;
pub(crate) mod cache;
mod chmod;
mod copy;
mod diff;
mod flags;
mod host;
mod instruction;
mod mount;
mod parse;
mod pattern;
mod plan;
mod room;
mod run;
mod stage;
mod state;
mod tarball;
mod tree;
mod users;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::archive::Imported;
use crate::error::{At as _, Error, Result};
use crate::reference::Reference;
use crate::spec::{Descriptor, ImageConfig, host_platform};
use crate::store::Store;

pub use host::{Failure, Host, Job, JobMount, Network, Source, Stream};
pub use room::Room;

use pattern::Ignore;
use plan::{Plan, Request};
use stage::Build;
use tree::Tree;

/// An image that a build made.
pub type Built = Imported;

/// What to build, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The directory whose files the Dockerfile may copy.
    pub context: PathBuf,
    /// The Dockerfile; `None` is the context's.
    pub file: Option<PathBuf>,
    /// The Dockerfile's text, when it is in no file.
    pub text: Option<String>,
    /// The names that the image gets.
    pub names: Vec<Reference>,
    /// The stage to build, by name or number; `None` is the last.
    pub target: Option<String>,
    /// Values for ARGs.
    pub arguments: Vec<(String, String)>,
    /// Values of ARGs that need no declaration and are in no key and no history: proxies.
    pub proxies: Vec<(String, String)>,
    /// Directories and images (`docker-image://NAME`) by the names that FROM and `--from` use.
    pub contexts: BTreeMap<String, String>,
    /// Secrets by their ids.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Labels besides the Dockerfile's.
    pub labels: Vec<(String, String)>,
    /// Whether nothing is taken from earlier builds.
    pub no_cache: bool,
    /// Whether the registry is asked for images that are here.
    pub pull: bool,
    /// The platform that is wanted; another than this machine's is an error.
    pub platform: Option<String>,
    /// SOURCE_DATE_EPOCH: the time of the build, and the latest of any file in it, in seconds.
    pub epoch: Option<i64>,
    /// An empty directory of this build on the store's file system; the caller removes it.
    pub workspace: PathBuf,
}

/// Told what happens while it happens, from several threads.
pub trait Progress: Sync {
    /// One event.
    fn event(&self, event: Event<'_>);
}

/// What happens in a build. Steps are counted from 1 in the order in which they begin.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A step begins.
    Started {
        /// Its number.
        step: u32,
        /// Such as `[2/4] RUN make`.
        name: &'a str,
    },
    /// A step's command writes something.
    Output {
        /// The step's number.
        step: u32,
        /// To which of its streams.
        stream: Stream,
        /// What.
        bytes: &'a [u8],
    },
    /// A step is done.
    Done {
        /// Its number.
        step: u32,
        /// Whether an earlier build had done it.
        cached: bool,
    },
    /// A step can't be done.
    Failed {
        /// Its number.
        step: u32,
        /// Why.
        reason: &'a str,
    },
    /// Something that is odd and no error.
    Warning(&'a str),
}

impl Store {
    /// Builds an image and names it.
    pub fn build(&self, options: &Options, host: &dyn Host, progress: &dyn Progress) -> Result<Built> {
        let _lock = self.lock(false)?;
        cache::trim(self, false)?;
        if let Some(platform) = &options.platform {
            plan::check_platform(platform).map_err(|reason| Error::Dockerfile { line: 1, reason })?;
        }
        let path = options
            .file
            .clone()
            .unwrap_or_else(|| options.context.join("Dockerfile"));
        let text = match &options.text {
            Some(text) => text.clone(),
            None => std::fs::read_to_string(&path).at("reading", &path)?,
        };
        let contexts: Vec<String> = options.contexts.keys().cloned().collect();
        let request = Request {
            target: options.target.as_deref(),
            arguments: &options.arguments,
            contexts: &contexts,
        };
        let plan = Plan::make(parse::parse(&text)?, &request)?;
        let context = Tree::of_directory(
            &options.context,
            ignore_file(&options.context, options.file.as_deref())?,
        )?;
        let build = Build::new(self, options, host, progress, plan, context);
        let config = build.run()?;
        build.export(config)
    }

    /// Forgets what earlier builds made: the layers go with the next collection of what is not needed.
    pub fn forget_builds(&self) -> Result<()> {
        cache::trim(self, true)?;
        run::clear_mounts(self)
    }

    /// Makes an image of layers that were made with [`Store::new_layer`] and names it; for images that the program
    /// itself brings.
    pub fn assemble(&self, name: &Reference, layers: Vec<Descriptor>, run: crate::RunConfig) -> Result<Built> {
        let _lock = self.lock(false)?;
        let platform = host_platform();
        let mut config = ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            config: run,
            ..ImageConfig::default()
        };
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.digest.clone()).collect();
        let digest = self.put_image(&config, layers)?;
        self.set_name(name, &digest)?;
        Ok(Built {
            name: name.clone(),
            digest,
        })
    }
}

/// A Dockerfile's own `NAME.dockerignore` wins over the context's.
fn ignore_file(context: &Path, dockerfile: Option<&Path>) -> Result<Ignore> {
    let own = dockerfile.map_or_else(|| context.join("Dockerfile"), Path::to_path_buf);
    let mut own = own.into_os_string();
    own.push(".dockerignore");
    for path in [PathBuf::from(own), context.join(".dockerignore")] {
        match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at("reading", path),
            Ok(text) => {
                return Ignore::parse(&text)
                    .map_err(|reason| crate::error::invalid(path.display().to_string(), reason));
            }
        }
    }
    Ok(Ignore::default())
}

/// An error of a step; the line is added where it is known.
fn fault(reason: impl ToString) -> Error {
    Error::Dockerfile {
        line: 0,
        reason: reason.to_string(),
    }
}

/// Adds the line to an error that a step gave, causes included.
fn at_line(line: usize, error: Error) -> Error {
    match error {
        error @ Error::Dockerfile { line: 1.., .. } => error,
        error => Error::Dockerfile {
            line,
            reason: reason(&error),
        },
    }
}

/// An error with its causes, without a line.
fn reason(error: &Error) -> String {
    if let Error::Dockerfile { reason, .. } = error {
        return reason.clone();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
