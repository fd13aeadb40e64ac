//! Building an image from a Dockerfile (Dockerfile reference; one stage, no instruction that runs a container).

mod base;
mod copy;
mod words;

use std::path::Path;

use parse_dockerfile::{Command, Instruction};

use crate::archive::Imported;
use crate::error::{At as _, Error, Result, invalid};
use crate::reference::Reference;
use crate::spec::{Descriptor, History, ImageConfig, host_platform};
use crate::store::Store;

use base::Base;
use words::Variables;

/// Told of each instruction before it is carried out.
pub type Progress<'a> = &'a mut dyn FnMut(Step<'_>);

/// An image that a build made.
pub type Built = Imported;

/// An instruction that a build is about to carry out.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Counted from 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// As it is written.
    pub text: &'a str,
}

impl Store {
    /// Builds `context/Dockerfile` (or `dockerfile`, when given) and names the result.
    pub fn build(
        &self,
        context: &Path,
        dockerfile: Option<&Path>,
        name: &Reference,
        progress: Progress<'_>,
    ) -> Result<Built> {
        let path = dockerfile.map_or_else(|| context.join("Dockerfile"), Path::to_path_buf);
        let text = std::fs::read_to_string(&path).at("reading", &path)?;
        let parsed = parse_dockerfile::parse(&text).map_err(|error| invalid(path.display().to_string(), error))?;
        let _lock = self.lock(false)?;
        let mut build = Build::new(self, context, &text);
        let steps = parsed.instructions.len();
        for (i, instruction) in parsed.instructions.iter().enumerate() {
            let (start, line) = build.place(instruction);
            let text = text[start..].lines().next().unwrap_or_default();
            progress(Step {
                number: i + 1,
                of: steps,
                text,
            });
            build.step(instruction, text).map_err(|error| at_line(line, error))?;
        }
        let digest = build.finish()?;
        self.set_name(name, &digest)?;
        Ok(Built {
            name: name.clone(),
            digest,
        })
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

struct Build<'a> {
    store: &'a Store,
    context: &'a Path,
    text: &'a str,
    config: ImageConfig,
    layers: Vec<Descriptor>,
    base: Base,
    started: bool,
}

impl<'a> Build<'a> {
    fn new(store: &'a Store, context: &'a Path, text: &'a str) -> Self {
        let platform = host_platform();
        let config = ImageConfig {
            architecture: platform.architecture,
            os: platform.os,
            ..ImageConfig::default()
        };
        Self {
            store,
            context,
            text,
            config,
            layers: Vec::new(),
            base: Base::default(),
            started: false,
        }
    }

    /// Where an instruction stands: its first byte and its line.
    fn place(&self, instruction: &Instruction<'_>) -> (usize, usize) {
        let start = keyword_start(instruction);
        (start, self.text[..start].matches('\n').count() + 1)
    }

    fn step(&mut self, instruction: &Instruction<'_>, text: &str) -> Result<()> {
        let layers_before = self.layers.len();
        match instruction {
            Instruction::From(from) => {
                if let Some(option) = from.options.first() {
                    return Err(unknown_option("FROM", &option.name.value));
                }
                return self.from(&from.image.value);
            }
            _ if !self.started => return Err(fault("a build starts with FROM")),
            Instruction::Copy(copy) => self.copy(copy)?,
            Instruction::Env(env) => {
                for (key, value) in self.variables().pairs(&env.arguments.value).map_err(fault)? {
                    words::set(&mut self.config.config.env, &key, &value);
                }
            }
            Instruction::Label(label) => {
                let pairs = self.variables().pairs(&label.arguments.value).map_err(fault)?;
                self.config.config.labels.extend(pairs);
            }
            Instruction::Workdir(dir) => {
                let dir = self.variables().expand(&dir.arguments.value).map_err(fault)?;
                self.workdir(&dir)?;
            }
            Instruction::User(user) => {
                self.config.config.user = self.variables().expand(&user.arguments.value).map_err(fault)?;
            }
            Instruction::Expose(expose) => {
                for port in &expose.arguments {
                    let port = self.variables().expand(&port.value).map_err(fault)?;
                    let port = words::port(&port).map_err(fault)?;
                    self.config.config.exposed_ports.insert(port, serde_json::json!({}));
                }
            }
            Instruction::Entrypoint(command) => {
                self.config.config.entrypoint = argv(&command.arguments)?;
                // As Docker does: a new entry point doesn't inherit the base image's arguments.
                self.config.config.cmd.clear();
            }
            Instruction::Cmd(command) => self.config.config.cmd = argv(&command.arguments)?,
            other => return Err(fault(format!("{} is not supported", keyword(self.text, other)))),
        }
        let empty_layer = self.layers.len() == layers_before;
        self.config.history.push(History {
            created_by: Some(text.to_string()),
            empty_layer,
            created: None,
        });
        Ok(())
    }

    fn from(&mut self, image: &str) -> Result<()> {
        if std::mem::replace(&mut self.started, true) {
            return Err(fault("a second FROM (a build in several stages) is not supported"));
        }
        if image == "scratch" {
            return Ok(());
        }
        let found = self
            .store
            .resolve(image)?
            .ok_or_else(|| Error::NotFound(image.to_string()))?;
        let manifest: crate::Manifest = self.store.blobs.json(&found.digest)?;
        self.layers = manifest.layers;
        self.base = Base::new(found.layers);
        self.config = found.config;
        Ok(())
    }

    fn workdir(&mut self, dir: &str) -> Result<()> {
        let path = words::join(&self.config.config.working_dir, dir);
        self.config.config.working_dir = path.clone();
        if path == "/" || self.base.is_directory(&path)? {
            return Ok(());
        }
        let mut layer = self.store.new_layer()?;
        layer.directory(&self.base.real_path(&path)?, 0o755)?;
        self.push_layer(layer.finish()?)
    }

    fn push_layer(&mut self, layer: Descriptor) -> Result<()> {
        self.config.rootfs.diff_ids.push(layer.digest.clone());
        self.layers.push(layer.clone());
        // The next instruction sees what this one made.
        self.base.push(self.store.unpack_one(&layer)?);
        Ok(())
    }

    fn variables(&self) -> Variables<'_> {
        Variables::new(&self.config.config.env)
    }

    fn finish(self) -> Result<String> {
        if !self.started {
            return Err(invalid("Dockerfile", "it has no FROM"));
        }
        self.store.put_image(&self.config, self.layers)
    }
}

/// Exec form as it is; shell form through the default shell.
fn argv(command: &Command<'_>) -> Result<Vec<String>> {
    match command {
        Command::Exec(words) => Ok(words.value.iter().map(|word| word.value.to_string()).collect()),
        Command::Shell(line) => Ok(vec!["/bin/sh".to_string(), "-c".to_string(), line.value.to_string()]),
        _ => Err(fault("this form of a command is not supported")),
    }
}

fn keyword_start(instruction: &Instruction<'_>) -> usize {
    use Instruction as I;
    match instruction {
        I::Add(i) => i.add.span.start,
        I::Arg(i) => i.arg.span.start,
        I::Cmd(i) => i.cmd.span.start,
        I::Copy(i) => i.copy.span.start,
        I::Entrypoint(i) => i.entrypoint.span.start,
        I::Env(i) => i.env.span.start,
        I::Expose(i) => i.expose.span.start,
        I::From(i) => i.from.span.start,
        I::Healthcheck(i) => i.healthcheck.span.start,
        I::Label(i) => i.label.span.start,
        I::Maintainer(i) => i.maintainer.span.start,
        I::Onbuild(i) => i.onbuild.span.start,
        I::Run(i) => i.run.span.start,
        I::Shell(i) => i.shell.span.start,
        I::Stopsignal(i) => i.stopsignal.span.start,
        I::User(i) => i.user.span.start,
        I::Volume(i) => i.volume.span.start,
        I::Workdir(i) => i.workdir.span.start,
        _ => 0,
    }
}

fn keyword<'t>(text: &'t str, instruction: &Instruction<'_>) -> &'t str {
    text[keyword_start(instruction)..]
        .split_whitespace()
        .next()
        .unwrap_or_default()
}

fn fault(reason: impl ToString) -> Error {
    Error::Dockerfile {
        line: 0,
        reason: reason.to_string(),
    }
}

fn unknown_option(instruction: &str, option: &str) -> Error {
    fault(format!("{instruction} --{option} is not supported"))
}

/// Adds the line to an error that a step gave.
fn at_line(line: usize, error: Error) -> Error {
    match error {
        Error::Dockerfile { line: 0, reason } => Error::Dockerfile { line, reason },
        Error::NotFound(_) => Error::Dockerfile {
            line,
            reason: error.to_string(),
        },
        other => other,
    }
}
