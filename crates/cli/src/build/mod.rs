//! `gantry image build`: a Dockerfile becomes an image. Neither server nor node need to run.
//!
//! What a Dockerfile means is the image crate's business; here are the command line, the machine that runs commands
//! (`host`, with the engine), and how progress is shown (`output`).

pub mod args;
mod cri;
mod host;
mod mounts;
mod output;
mod pull;

use std::path::Path;

use anyhow::Context as _;
use image::{Room, Store};

use crate::instance::Instance;
use args::BuildArgs;
use host::Machine;
use output::Output;

/// Runs the command. All that it mounts is seen by it and its containers alone, and gone with them.
pub fn run(instance: &Instance, args: &BuildArgs) -> anyhow::Result<()> {
    engine::private_mounts()?;
    let mut options = args.options()?;
    let store = Store::open(node::image_dir(instance.dir()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(sweep(instance.dir(), &instance.id()))?;
    let room = store.new_room()?;
    options.workspace = room.dir().join("files");
    let machine = Machine::new(runtime.handle().clone(), &room, instance);
    machine.listen_for_the_end();
    let output = Output::new(args.progress, args.quiet, &args.dir, args.file.as_deref());
    let built = store.build(&options, &machine, &output);
    let ended = machine.close();
    let removed = room.remove();
    let built = match built {
        Ok(built) => built,
        Err(_) if machine.is_told_to_end() => anyhow::bail!("interrupted; nothing is left of the build"),
        Err(error) => {
            output.failed(&error);
            return Err(error.into());
        }
    };
    ended?;
    removed?;
    let name = built.name.to_string();
    let id = store.resolve(&name)?.map(|image| image.id).unwrap_or_default();
    if let Some(file) = &args.iidfile {
        std::fs::write(file, &id).with_context(|| format!("writing {}", file.display()))?;
    }
    if args.quiet {
        println!("{id}");
    } else {
        for name in &options.names {
            println!("{name}  {}", built.digest);
        }
    }
    Ok(())
}

/// Takes away what killed builds have left: processes, cgroups, files.
pub async fn sweep(data_dir: &Path, instance: &str) -> anyhow::Result<()> {
    let images = node::image_dir(data_dir);
    if !images.join("build/rooms").exists() {
        return Ok(());
    }
    for room in Store::open(images)?.stale_rooms()? {
        host::retire(&room, instance)
            .await
            .with_context(|| format!("cleaning up after the build {}", room.name()))?;
        room.remove()?;
    }
    Ok(())
}

/// The engine's own files in a room.
fn engine_config(room: &Room, instance: &str) -> engine::Config {
    engine::Config {
        state_dir: room.dir().join("engine"),
        cgroup_parent: format!("gantry-{instance}-{}", room.name()),
    }
}
