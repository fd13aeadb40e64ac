//! Failures at each step of a start, on purpose: an error is told, and nothing stays behind.

use std::process::Command;

use engine::{Engine, SandboxId};
use testkit::leaks::Snapshot;

use crate::harness::{World, id};

const THIS: &str = "faults::nothing_stays_behind_whatever_step_fails";
const POINTS: &str = "GANTRY_FAILPOINTS";

/// The test runs itself once per fault, since the switch is an environment variable.
#[tokio::test]
async fn nothing_stays_behind_whatever_step_fails() {
    if std::env::var_os(POINTS).is_some() {
        return with_fault().await;
    }
    let mut faults: Vec<String> = ["kill", "error"]
        .iter()
        .flat_map(|how| (1..70).step_by(6).map(move |n| format!("init.step={how}({n})")))
        .collect();
    for point in [
        "shim.park",
        "shim.run",
        "shim.cloned",
        "shim.started",
        "shim.exited",
        "shim.noted",
    ] {
        faults.push(format!("{point}=kill"));
    }
    for fault in faults {
        let mut again = Command::new(std::env::current_exe().unwrap());
        let done = again.args(["--exact", THIS]).env(POINTS, &fault).output().unwrap();
        assert!(
            done.status.success(),
            "{fault}: {}",
            String::from_utf8_lossy(&done.stdout)
        );
    }
}

async fn with_fault() {
    let (dir, parent) = {
        let world = World::without_sandbox().await;
        let sandbox = SandboxId::new("slot").unwrap();
        let prepared = world.engine.sandbox_prepare(sandbox.clone(), Default::default()).await;
        if prepared.is_ok() {
            life(&world).await;
            world.engine.sandbox_remove(&sandbox).await.unwrap();
        }
        assert!(world.engine.sandboxes().is_empty() && world.engine.containers().is_empty());
        let left: Vec<_> = std::fs::read_dir(world.dir.join("state/containers")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        let shims = Snapshot::take(&["gantry-shim c ", "gantry-shim slot "]);
        let ours = |line: &&str| line.contains(world.dir.to_str().unwrap()) || line.contains(world.parent());
        assert_eq!(shims.lines().filter(ours).collect::<Vec<_>>(), Vec::<&str>::new());
        (world.dir.to_str().unwrap().to_owned(), world.parent().to_owned())
    };
    let left = Snapshot::take(&[&dir, &parent]);
    assert!(left.is_empty(), "{left:?}");
}

async fn life(world: &World) {
    let engine: &Engine = &world.engine;
    let spec = world.container("c", world.spec(&["report", "sleep", "20"]));
    engine.create(spec).await.unwrap();
    // A failed start can be followed by another, which meets the same fault.
    for _ in 0..2 {
        if engine.start(&id("c")).await.is_ok() {
            engine.wait(&id("c")).await.unwrap();
            break;
        }
    }
    engine.delete(&id("c")).await.unwrap();
}
