//! What is true after an engine, or a shim, has died.

use std::time::Duration;

use engine::{Event, State};

use crate::harness::{World, content};

fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')')
        .unwrap()
        .1
        .split(' ')
        .nth(2)
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn another_engine_finds_containers_and_the_exits_it_missed() {
    let mut world = World::new().await;
    let goes_on = world.launch("goes-on", &["report", "lines", "60", "20"]).await;
    let ends = world.launch("ends", &["report", "sleep", "50"]).await;
    let before = world.engine.state(&goes_on).unwrap();
    let first = world.engine.clone();
    let exit = first.wait(&ends).await.unwrap();
    world.reopen().await;
    assert_eq!(world.engine.state(&goes_on).unwrap(), before);
    assert_eq!(world.engine.state(&ends).unwrap(), State::Exited(exit));
    assert_eq!(
        world.engine.sandbox(&world.sandbox).unwrap().owner.as_deref(),
        Some("pod")
    );
    let labels = world
        .engine
        .containers()
        .into_iter()
        .find(|c| c.id == ends)
        .unwrap()
        .labels;
    assert_eq!(labels, [("name".to_owned(), "ends".to_owned())]);
    let mut events = world.engine.events();
    assert_eq!(world.engine.wait(&goes_on).await.unwrap().code, 0);
    assert!(matches!(events.recv().await.unwrap(), Event::Exited(id, _) if id == goes_on));
    let lines: String = (1..=60).map(|line| format!("line {line}\n")).collect();
    assert_eq!(content(&world.log_path("goes-on")), lines);
}

#[tokio::test]
async fn a_container_whose_shim_is_killed_ends_and_says_that_it_is_not_sure() {
    let world = World::new().await;
    let c = world.launch("c", &["report", "sleep", "60000"]).await;
    let State::Running(started) = world.engine.state(&c).unwrap() else {
        panic!("not running")
    };
    let shim = rustix::process::Pid::from_raw(parent_of(started.pid)).unwrap();
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
    let exit = tokio::time::timeout(Duration::from_secs(5), world.engine.wait(&c))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((exit.code, exit.uncertain), (137, true));
    // Its new parent may not have reaped it yet.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", started.pid)).unwrap_or(") Z".into());
    assert!(stat.contains(") Z"), "{stat}");
    world.engine.delete(&c).await.unwrap();
}

#[tokio::test]
async fn what_a_start_left_behind_is_reclaimed() {
    let mut world = World::new().await;
    let c = world.launch("c", &["report", "sleep", "60000"]).await;
    let State::Running(started) = world.engine.state(&c).unwrap() else {
        panic!("not running")
    };
    // As if the engine had died before the shim could note the start.
    std::fs::remove_file(world.dir.join("state/containers/c/started")).unwrap();
    world.reopen().await;
    assert_eq!(world.engine.state(&c).unwrap(), State::Created);
    assert!(std::fs::metadata(format!("/proc/{}", started.pid)).is_err());
    world.engine.start(&c).await.unwrap();
    world.engine.delete(&c).await.unwrap();
}
