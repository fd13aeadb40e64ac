//! `gantry image`: what is done with the images of this machine.

pub(crate) mod transfer;

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use image::{InUse, Reference, Store};

use crate::args::{ImageCommand, Output};
use crate::instance::Instance;
use crate::process::is_root;
use crate::progress::Progress;

/// Runs the command.
pub fn run(instance: &Instance, command: ImageCommand) -> anyhow::Result<()> {
    if !is_root() {
        bail!("images belong to root: run `sudo gantry image ...`");
    }
    let store = Store::open(node::image_dir(instance.dir()))?;
    match command {
        ImageCommand::Import { source, name } => import(&store, &source, name.as_deref()),
        ImageCommand::Build(args) => crate::build::run(instance, &args),
        ImageCommand::Pull {
            name,
            insecure,
            platform,
            quiet,
        } => transfer::pull(
            store,
            instance,
            &name,
            transfer::How {
                insecure,
                platform,
                quiet,
            },
        ),
        ImageCommand::Push { name, insecure } => transfer::push(store, instance, &name, insecure),
        ImageCommand::Tag { source, name } => Ok(store.tag(&source, &name.parse()?)?),
        ImageCommand::Export { names, output } => export(&store, &names, output.as_deref()),
        ImageCommand::Ls {
            filter,
            output: Output::Json,
            ..
        } => print_json(&store, filter.as_deref()),
        ImageCommand::Ls {
            filter, quiet, digests, ..
        } => list(&store, filter.as_deref(), quiet, digests),
        ImageCommand::Rm { names, force } => remove(&store, &names, force),
        ImageCommand::Prune { all } => prune(&store, all),
    }
}

fn import(store: &Store, source: &Path, name: Option<&str>) -> anyhow::Result<()> {
    let name: Option<Reference> = name.map(str::parse).transpose()?;
    let progress = Progress::start();
    let step = progress.step(format!("importing {}", source.display()));
    let images = if source == Path::new("-") {
        store.import_stream(std::io::stdin().lock(), name.as_ref())
    } else {
        store.import(source, name.as_ref())
    }?;
    step.done();
    for image in images {
        println!("{}  {}", image.name, image.digest);
    }
    Ok(())
}

fn export(store: &Store, names: &[String], output: Option<&Path>) -> anyhow::Result<()> {
    let names: Vec<Reference> = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
    match output {
        Some(path) => Ok(store.export_to(&names, path)?),
        None if std::io::stdout().is_terminal() => {
            bail!("an archive is nothing for a terminal: give a file with -o, or pipe it")
        }
        None => Ok(store.export(&names, std::io::stdout().lock())?),
    }
}

fn listed(store: &Store, filter: Option<&str>) -> anyhow::Result<Vec<image::Summary>> {
    let mut images = store.list()?;
    images.retain(|image| filter.is_none_or(|part| image.name.contains(part)));
    Ok(images)
}

fn print_json(store: &Store, filter: Option<&str>) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&listed(store, filter)?)?);
    Ok(())
}

fn list(store: &Store, filter: Option<&str>, quiet: bool, digests: bool) -> anyhow::Result<()> {
    let images = listed(store, filter)?;
    if quiet {
        let mut ids: Vec<&str> = images.iter().map(|image| image.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.iter().for_each(|id| println!("{id}"));
        return Ok(());
    }
    let width = images.iter().map(|image| image.name.len()).max().unwrap_or(0).max(4);
    let head = if digests {
        format!("{:<71}  ", "DIGEST")
    } else {
        String::new()
    };
    println!("{:<width$}  {head}{:<12}  {:>9}  CREATED", "NAME", "ID", "SIZE");
    for image in images {
        let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        let digest = if digests {
            format!("{:<71}  ", image.digest)
        } else {
            String::new()
        };
        println!(
            "{:<width$}  {digest}{id}  {:>9}  {}",
            image.name,
            size(image.size),
            image.created.as_deref().unwrap_or("-")
        );
    }
    Ok(())
}

/// One that can't be removed doesn't keep the others.
fn remove(store: &Store, names: &[String], force: bool) -> anyhow::Result<()> {
    let in_use = InUse::of_mounts(store);
    let mut failures = Vec::new();
    for name in names {
        match store.remove(name, &in_use, force) {
            Ok(removed) => println!("removed {}, {} freed", removed.names.join(", "), size(removed.freed)),
            Err(error) => failures.push(error.to_string()),
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!("{}", failures.join("; "))
}

fn prune(store: &Store, all: bool) -> anyhow::Result<()> {
    let removed = store.prune(all, &InUse::of_mounts(store), |_| false)?;
    removed.names.iter().for_each(|name| println!("removed {name}"));
    println!("{} freed", size(removed.freed));
    Ok(())
}

/// `12.3 MB`, in powers of ten as Docker has it.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// The image of the demo, made from the program that the binary carries.
pub fn add_demo(instance: &Instance, name: &str) -> anyhow::Result<()> {
    let store = Store::open(node::image_dir(instance.dir()))?;
    let mut layer = store.new_layer()?;
    layer.file("hello", 0o755, shim::HELLO)?;
    let run = image::RunConfig {
        entrypoint: vec!["/hello".to_string()],
        exposed_ports: [("8080/tcp".to_string(), serde_json::json!({}))].into(),
        ..image::RunConfig::default()
    };
    store
        .assemble(&name.parse()?, vec![layer.finish()?], run)
        .context("making the demo's image")?;
    Ok(())
}
