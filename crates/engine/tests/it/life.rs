//! A container's life: started, heard, ended, gone; and all of that over restarts.

use std::time::Duration;

use engine::State;

use crate::harness::{World, content, id};

#[tokio::test]
async fn a_container_runs_and_its_exit_and_log_are_kept() {
    let world = World::new().await;
    let (exit, log) = world.run("c", &["report", "print", "one\ntwo\npart"]).await;
    assert_eq!(
        (exit.code, exit.signal, exit.oom_killed, exit.uncertain),
        (0, None, false, false)
    );
    assert_eq!(log, "one\ntwo\npart");
    assert!(exit.started_at.unwrap() <= exit.finished_at);
    let (exit, _) = world.run("d", &["/bin/report", "exit", "42"]).await;
    assert_eq!((exit.code, exit.signal), (42, None));
    let (_, log) = world.run("e", &["report", "error", "oh\n"]).await;
    assert_eq!(log, "!oh\n");
}

#[tokio::test]
async fn a_missing_program_is_told_with_its_name() {
    let world = World::new().await;
    world
        .engine
        .create(world.container("c", world.spec(&["nothing"])))
        .await
        .unwrap();
    let error = world.engine.start(&id("c")).await.unwrap_err();
    assert_eq!(error.to_string(), "exec \"nothing\": No such file or directory");
    assert_eq!(world.engine.state(&id("c")).unwrap(), State::Created);
}

#[tokio::test]
async fn signals_end_it_and_deletion_can_be_repeated() {
    let world = World::new().await;
    let c = world.launch("c", &["report", "stop"]).await;
    while content(&world.log_path("c")) != "ready\n" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.engine.signal(&c, libc::SIGTERM).await.unwrap();
    assert_eq!(world.engine.wait(&c).await.unwrap().code, 7);
    world.engine.signal(&c, libc::SIGTERM).await.unwrap();
    let d = world.launch("d", &["report", "sleep", "60000"]).await;
    world.engine.signal(&d, libc::SIGKILL).await.unwrap();
    let exit = world.engine.wait(&d).await.unwrap();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    for _ in 0..2 {
        world.engine.delete(&d).await.unwrap();
    }
    let e = world.launch("e", &["report", "sleep", "60000"]).await;
    world.engine.delete(&e).await.unwrap();
    assert_eq!(world.engine.containers().len(), 1);
}
