//! Logs and attached clients.

use std::io::{Read, Write};
use std::time::Duration;

use crate::harness::{World, content, id};

#[tokio::test]
async fn a_long_line_comes_in_parts_and_loses_nothing() {
    let world = World::new().await;
    let text = "x".repeat(40_000) + "\nend\n";
    let (_, log) = world.run("c", &["report", "print", &text]).await;
    assert_eq!(log, text);
    let raw = std::fs::read_to_string(world.log_path("c")).unwrap();
    let marks: Vec<_> = raw.lines().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(marks, ["P", "P", "F", "F"]);
}

#[tokio::test]
async fn logs_are_rotated_by_size_and_opened_anew_on_demand() {
    let world = World::new().await;
    let mut container = world.container("c", world.spec(&["report", "lines", "100", "1"]));
    let log = container.log.as_mut().unwrap();
    (log.max_size, log.max_files) = (1000, 4);
    world.engine.create(container).await.unwrap();
    world.engine.start(&id("c")).await.unwrap();
    world.engine.wait(&id("c")).await.unwrap();
    let path = |n: usize| {
        if n == 0 {
            world.log_path("c")
        } else {
            world.dir.join(format!("logs/c.{n}"))
        }
    };
    let all: String = (0..4).rev().map(|n| content(&path(n))).collect();
    let wanted: String = (1..=100).map(|line| format!("line {line}\n")).collect();
    assert!(wanted.ends_with(&all) && all.len() > 500, "{all}");
    assert!((0..4).all(|n| std::fs::metadata(path(n)).unwrap().len() <= 1000) && !path(4).exists());

    let d = world.launch("d", &["report", "lines", "100", "10"]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    std::fs::rename(world.log_path("d"), world.dir.join("logs/moved")).unwrap();
    world.engine.reopen_log(&d).await.unwrap();
    world.engine.wait(&d).await.unwrap();
    let both = content(&world.dir.join("logs/moved")) + &content(&world.log_path("d"));
    assert_eq!(both, wanted);
}

#[tokio::test]
async fn a_client_attaches_to_input_and_output() {
    let world = World::new().await;
    let mut container = world.container("c", world.spec(&["report", "cat"]));
    (container.stdin, container.stdin_once) = (true, true);
    world.engine.create(container).await.unwrap();
    world.engine.start(&id("c")).await.unwrap();
    let attached = world.engine.attach(&id("c"), true).await.unwrap();
    let mut input = std::fs::File::from(attached.stdin.unwrap());
    input.write_all(b"said\n").unwrap();
    drop(input);
    assert_eq!(world.engine.wait(&id("c")).await.unwrap().code, 0);
    let mut heard = String::new();
    rustix::io::ioctl_fionbio(&attached.stdout, false).unwrap();
    std::fs::File::from(attached.stdout).read_to_string(&mut heard).unwrap();
    assert_eq!(
        (heard.as_str(), content(&world.log_path("c")).as_str()),
        ("said\n", "said\n")
    );
}

#[tokio::test]
async fn a_slow_client_misses_nothing_and_one_that_went_holds_up_nobody() {
    let world = World::new().await;
    let mut container = world.container("c", world.spec(&["report", "cat"]));
    (container.stdin, container.stdin_once) = (true, true);
    world.engine.create(container).await.unwrap();
    world.engine.start(&id("c")).await.unwrap();
    for _ in 0..20 {
        // Each of these goes before there is any output.
        drop(world.engine.attach(&id("c"), false).await.unwrap());
    }
    let attached = world.engine.attach(&id("c"), true).await.unwrap();
    rustix::io::ioctl_fionbio(attached.stdin.as_ref().unwrap(), false).unwrap();
    rustix::io::ioctl_fionbio(&attached.stdout, false).unwrap();
    let said: Vec<u8> = (0..200_000u32)
        .flat_map(|n| format!("line {n}\n").into_bytes())
        .collect();
    let mut input = std::fs::File::from(attached.stdin.unwrap());
    let written = said.clone();
    let writer = std::thread::spawn(move || input.write_all(&written).unwrap());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!writer.is_finished(), "the program waits for who doesn't read");
    let mut output = std::fs::File::from(attached.stdout);
    let reader = std::thread::spawn(move || {
        let mut heard = Vec::new();
        output.read_to_end(&mut heard).unwrap();
        heard
    });
    assert_eq!(world.engine.wait(&id("c")).await.unwrap().code, 0);
    writer.join().unwrap();
    assert!(reader.join().unwrap() == said, "what was heard isn't what was said");
}
