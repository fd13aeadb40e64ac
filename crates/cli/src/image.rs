//! `gantry image`: what is done with the images of this machine.

use std::path::Path;

use anyhow::{Context as _, bail};
use image::{Reference, Store};

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
        ImageCommand::Ls { output } => list(&store, output),
        ImageCommand::Rm { names } => remove(&store, instance, &names),
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

fn list(store: &Store, output: Output) -> anyhow::Result<()> {
    let images = store.list()?;
    if output == Output::Json {
        println!("{}", serde_json::to_string_pretty(&images)?);
        return Ok(());
    }
    let width = images.iter().map(|image| image.name.len()).max().unwrap_or(0).max(4);
    println!("{:<width$}  {:<12}  {:>9}  CREATED", "NAME", "ID", "SIZE");
    for image in images {
        let id: String = image.id.trim_start_matches("sha256:").chars().take(12).collect();
        println!(
            "{:<width$}  {id}  {:>9}  {}",
            image.name,
            size(image.size),
            image.created.as_deref().unwrap_or("-")
        );
    }
    Ok(())
}

/// Layers that a container stands on stay until it is gone.
fn remove(store: &Store, instance: &Instance, names: &[String]) -> anyhow::Result<()> {
    let used = used_layers(instance);
    for name in names {
        let freed = store.remove(name, |layer| {
            used.iter().any(|path| path.contains(&*layer.to_string_lossy()))
        })?;
        println!("removed {name}, {} freed", size(freed));
    }
    Ok(())
}

/// The lower directories of mounted overlays. A container's root is mounted in its own mount namespace, so each
/// process's mounts are looked at.
fn used_layers(instance: &Instance) -> Vec<String> {
    let own = instance.dir().to_string_lossy().into_owned();
    let mut used = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let mounts = std::fs::read_to_string(entry.path().join("mounts")).unwrap_or_default();
        let overlays = mounts
            .lines()
            .filter(|line| line.contains(" overlay ") && line.contains(&own));
        used.extend(overlays.map(str::to_string));
    }
    used.sort();
    used.dedup();
    used
}

/// `12.3 MB`, in powers of ten as Docker has it.
fn size(bytes: u64) -> String {
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
