//! What a container sees and may do.

use engine::{Limits, Namespaces, RootFs, bundle, default_profile};
use oci_spec::runtime::{LinuxResources, Spec};

use crate::harness::{World, id};

fn section<'a>(report: &'a str, name: &str) -> &'a str {
    let start = report
        .find(&format!("== {name}\n"))
        .unwrap_or_else(|| panic!("no {name} in {report}"));
    report[start..].split("\n== ").next().unwrap()
}

fn probe(report: &str, name: &str) -> i32 {
    let line = section(report, "probes")
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

async fn report(world: &World, spec: Spec) -> String {
    world.engine.create(world.container("c", spec)).await.unwrap();
    world.engine.start(&id("c")).await.unwrap();
    assert_eq!(world.engine.wait(&id("c")).await.unwrap().code, 0);
    let log = std::fs::read_to_string(world.log_path("c")).unwrap();
    log.lines()
        .map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default())
        .fold(String::new(), |all, line| all + line + "\n")
}

#[tokio::test]
async fn the_default_container_is_confined() {
    let world = World::new().await;
    let mut spec = world.spec(&["report"]);
    let capabilities = bundle::DEFAULT_CAPABILITIES.into_iter().collect();
    spec.linux_mut()
        .as_mut()
        .unwrap()
        .set_seccomp(Some(default_profile(&capabilities)));
    let report = report(&world, spec).await;
    let status = section(&report, "/proc/self/status");
    for line in [
        "CapEff:\t00000000a80425fb",
        "CapBnd:\t00000000a80425fb",
        "CapInh:\t0000000000000000",
        "Seccomp:\t2",
        "Seccomp_filters:\t1",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
    assert!(section(&report, "/proc/sys/kernel/hostname").ends_with("\nhere"));
    assert!(
        section(&report, "descriptors").ends_with("\n0\n1\n2"),
        "{}",
        section(&report, "descriptors")
    );
    let wanted = [
        ("write /", 0),
        ("write /proc/sys", libc::EROFS),
        ("list /sys/firmware", 0),
        ("write /sys", libc::EROFS),
        ("/dev/null", 0),
        ("/dev/stdout", 0),
        ("/dev/ptmx", 0),
        ("/dev/mqueue", 0),
        ("unshare mount", libc::EPERM),
        ("mount tmpfs", libc::EPERM),
        ("sethostname", libc::EPERM),
        ("packet socket", 0),
        ("vsock", libc::EPERM),
        ("tcp socket", 0),
        ("mknod disk", 0),
        ("open disk", libc::EPERM),
        ("clone3", libc::ENOSYS),
    ];
    for (name, errno) in wanted {
        assert_eq!(probe(&report, name), errno, "{name}: {}", section(&report, "probes"));
    }
    let mounts = section(&report, "/proc/self/mountinfo");
    assert!(
        !mounts.contains("/state/sandboxes") && !mounts.contains("put_old"),
        "{mounts}"
    );
}

#[tokio::test]
async fn user_groups_limits_and_read_only_root_hold() {
    let world = World::new().await;
    let text = r#"{"user":{"uid":1000,"gid":1001,"additionalGids":[7,9],"umask":63},"cwd":"/made/here","noNewPrivileges":true,
        "args":["/bin/report"],"env":["X=y"],"rlimits":[{"type":"RLIMIT_NOFILE","soft":100,"hard":200}],"oomScoreAdj":500}"#;
    let mut spec = world.spec(&["report"]);
    spec.set_process(Some(serde_json::from_str(text).unwrap()));
    spec.root_mut().as_mut().unwrap().set_readonly(Some(true));
    let report = report(&world, spec).await;
    let status = section(&report, "/proc/self/status");
    for line in [
        "Uid:\t1000\t1000\t1000\t1000",
        "Gid:\t1001\t1001",
        "Groups:\t7 9",
        "NoNewPrivs:\t1",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "Umask:\t0077",
    ] {
        assert!(status.contains(line), "{line} in {status}");
    }
    assert!(section(&report, "cwd").ends_with("/made/here"));
    assert!(section(&report, "/proc/self/limits").contains("Max open files            100                  200"));
    assert!(section(&report, "/proc/self/oom_score_adj").ends_with("\n500"));
    assert_eq!(probe(&report, "write /"), libc::EROFS);
}

#[tokio::test]
async fn links_in_an_image_lead_nowhere_outside() {
    let world = World::new().await;
    let outside = world.dir.join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, world.dir.join("image/link")).unwrap();
    let mut spec = world.spec(&["report", "file", "/link/in/hosts"]);
    std::fs::write(world.dir.join("hosts"), "mounted\n").unwrap();
    let source = world.dir.join("hosts");
    let mount = bundle::mount(
        "/link/in/hosts",
        "bind",
        source.to_str().unwrap(),
        &["rbind", "rprivate", "ro"],
    );
    spec.mounts_mut().as_mut().unwrap().push(mount);
    assert_eq!(report(&world, spec).await, "mounted\n");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[tokio::test]
async fn memory_limits_kill_and_are_told() {
    let world = World::new().await;
    let mut spec = world.spec(&["report", "touch", "100000000"]);
    let resources: LinuxResources =
        serde_json::from_str(r#"{"memory":{"limit":20000000},"pids":{"limit":5}}"#).unwrap();
    spec.linux_mut().as_mut().unwrap().set_resources(Some(resources));
    world.engine.create(world.container("c", spec)).await.unwrap();
    world.engine.start(&id("c")).await.unwrap();
    let exit = world.engine.wait(&id("c")).await.unwrap();
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    let d = world.launch("d", &["report", "sleep", "60000"]).await;
    world
        .engine
        .update(
            &d,
            &Limits {
                memory: Some(30 << 20),
                cpu_quota: Some(50_000),
                ..Limits::default()
            },
        )
        .await
        .unwrap();
    let stats = world.engine.stats(&d).await.unwrap();
    assert_eq!(stats.pids, 1);
    assert!(stats.cpu_ns > 0 && stats.memory_usage > 0, "{stats:?}");
    world.engine.delete(&d).await.unwrap();
}

#[tokio::test]
async fn containers_can_share_their_process_namespace() {
    let world = World::with(Namespaces {
        shared_pid: true,
        ..Namespaces::default()
    })
    .await;
    let c = world.launch("c", &["report", "sleep", "60000"]).await;
    assert_eq!(world.engine.containers().len(), 1);
    let (_, log) = world.run("d", &["report", "file", "/proc/1/comm"]).await;
    assert_eq!(log, "pause\n");
    let engine::State::Running(first) = world.engine.state(&c).unwrap() else {
        panic!("not running")
    };
    let ns = std::fs::read_to_string(format!("/proc/{}/status", first.pid)).unwrap();
    assert!(ns.contains("\nNSpid:"), "{ns}");
    world.engine.sandbox_remove(&world.sandbox).await.unwrap();
    assert!(world.engine.containers().is_empty() && world.engine.sandboxes().is_empty());
}

#[tokio::test]
async fn a_directory_can_be_the_root() {
    let world = World::new().await;
    let mut container = world.container("c", world.spec(&["report", "print", "x"]));
    container.rootfs = RootFs::Dir(world.dir.join("image"));
    world.engine.create(container).await.unwrap();
    world.engine.start(&id("c")).await.unwrap();
    assert_eq!(world.engine.wait(&id("c")).await.unwrap().code, 0);
}
