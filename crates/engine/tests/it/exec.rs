//! Further processes in a container.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use engine::{Exec, ExecSpec};

use crate::harness::World;

/// Reads to the end, also where that is an error of a closed terminal.
async fn all(fd: OwnedFd) -> String {
    rustix::io::ioctl_fionbio(&fd, false).unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let (mut file, mut bytes) = (std::fs::File::from(fd), Vec::new());
        let _ = file.read_to_end(&mut bytes);
        String::from_utf8(bytes).unwrap()
    });
    read.await.unwrap()
}

fn spec(args: &[&str]) -> ExecSpec {
    ExecSpec {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..ExecSpec::default()
    }
}

async fn output(exec: &mut Exec) -> (String, String, i32) {
    let out = all(exec.stdout.take().unwrap()).await;
    let err = match exec.stderr.take() {
        Some(err) => all(err).await,
        None => String::new(),
    };
    (out, err, exec.wait().await.unwrap().code)
}

#[tokio::test]
async fn it_has_streams_and_an_exit_code_of_its_own() {
    let world = World::new().await;
    let c = world.launch("c", &["report", "sleep", "60000"]).await;
    let mut exec = world
        .engine
        .exec(&c, spec(&["report", "print", "hello"]))
        .await
        .unwrap();
    assert_eq!(output(&mut exec).await, ("hello".into(), String::new(), 0));
    let mut exec = world.engine.exec(&c, spec(&["report", "error", "oh"])).await.unwrap();
    assert_eq!(output(&mut exec).await, (String::new(), "oh".into(), 0));
    let mut exec = world.engine.exec(&c, spec(&["report", "exit", "3"])).await.unwrap();
    assert_eq!(output(&mut exec).await.2, 3);
    let mut exec = world
        .engine
        .exec(
            &c,
            ExecSpec {
                stdin: true,
                ..spec(&["report", "cat"])
            },
        )
        .await
        .unwrap();
    let mut input = std::fs::File::from(exec.stdin.take().unwrap());
    input.write_all(b"to and fro").unwrap();
    drop(input);
    assert_eq!(output(&mut exec).await.0, "to and fro");
}

#[tokio::test]
async fn it_lives_in_the_container_and_dies_with_its_client() {
    let world = World::new().await;
    let c = world.launch("c", &["report", "sleep", "60000"]).await;
    let env = vec![
        ("A".to_owned(), "b".to_owned()),
        ("PATH".to_owned(), "/bin:/x".to_owned()),
    ];
    let mut exec = world
        .engine
        .exec(
            &c,
            ExecSpec {
                env,
                cwd: Some("/etc".into()),
                ..spec(&["report"])
            },
        )
        .await
        .unwrap();
    let (out, _, _) = output(&mut exec).await;
    assert!(
        out.contains("\nA=b\n") && out.contains("PATH=/bin:/x\n") && out.contains("== cwd\n/etc\n"),
        "{out}"
    );
    let engine::State::Running(first) = world.engine.state(&c).unwrap() else {
        panic!("not running")
    };
    for kind in ["net", "ipc", "uts", "pid", "mnt"] {
        let theirs = std::fs::read_link(format!("/proc/{}/ns/{kind}", first.pid)).unwrap();
        assert!(out.contains(&*theirs.to_string_lossy()), "{kind}: {out}");
    }
    let exec = world
        .engine
        .exec(&c, spec(&["report", "sleep", "60000"]))
        .await
        .unwrap();
    let proc = format!("/proc/{}", exec.pid);
    assert!(std::fs::metadata(&proc).is_ok());
    drop(exec);
    for _ in 0..200 {
        if std::fs::metadata(&proc).is_err() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the process goes on without its client");
}

#[tokio::test]
async fn it_can_have_a_terminal() {
    let world = World::new().await;
    let c = world.launch("c", &["report", "sleep", "60000"]).await;
    let with = |args: &[&str]| ExecSpec {
        tty: true,
        stdin: true,
        size: Some((33, 77)),
        ..spec(args)
    };
    let mut exec = world.engine.exec(&c, with(&["report", "sizes"])).await.unwrap();
    drop(exec.stdin.take());
    assert_eq!(output(&mut exec).await, ("33x77\r\n".into(), String::new(), 0));
    let mut exec = world.engine.exec(&c, with(&["report", "cat"])).await.unwrap();
    exec.resize(10, 20).unwrap();
    let mut input = std::fs::File::from(exec.stdin.take().unwrap());
    input.write_all(b"typed\n\x04").unwrap();
    assert_eq!(output(&mut exec).await.0, "typed\r\ntyped\r\n");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error() {
    let world = World::new().await;
    let c = world.launch("c", &["report", "sleep", "60000"]).await;
    let error = world.engine.exec(&c, spec(&["nothing"])).await.map(|_| ()).unwrap_err();
    assert!(
        matches!(
            error,
            engine::Error::Step {
                exec: true,
                errno: libc::ENOENT,
                ..
            }
        ),
        "{error}"
    );
    world.engine.delete(&c).await.unwrap();
    assert!(world.engine.exec(&c, spec(&["report"])).await.is_err());
}
