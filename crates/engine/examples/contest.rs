//! The engine against runc: the same bundles under both, and a program inside must report the same state, for the first
//! process and for a further one. Then who is faster. Needs root and runc; `cargo xtask contest` runs it.
#![allow(clippy::unwrap_used, reason = "a contest that cannot go on ends")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use engine::{
    Config, ContainerId, ContainerSpec, Engine, ExecSpec, LogSpec, Namespaces, RootFs, SandboxId, State, bundle,
    default_profile,
};
use oci_spec::runtime::Spec;

struct Arena {
    dir: PathBuf,
    engine: Engine,
    parent: String,
}

/// A bundle's name, and how it differs from the plain one.
type Bundle = (&'static str, fn(&mut serde_json::Value, &Path));

const BUNDLES: [Bundle; 12] = [
    ("plain", |_, _| {}),
    ("user", |spec, _| {
        spec["process"]["user"] = serde_json::json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 7], "umask": 63});
    }),
    ("capabilities", |spec, _| {
        let some = ["CAP_NET_BIND_SERVICE", "CAP_CHOWN", "CAP_SYS_PTRACE"];
        for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            spec["process"]["capabilities"][set] = serde_json::json!(some);
        }
        spec["process"]["user"] = serde_json::json!({"uid": 7, "gid": 7});
    }),
    ("read-only root", |spec, _| spec["root"]["readonly"] = true.into()),
    ("mounts", |spec, dir| {
        let source = |name: &str| dir.join("sources").join(name).to_string_lossy().into_owned();
        let more = serde_json::json!([
            {"destination": "/etc/hosts", "type": "bind", "source": source("file"), "options": ["rbind", "rprivate", "ro"]},
            {"destination": "/data/deep", "type": "bind", "source": source("dir"), "options": ["rbind", "rprivate", "rw"]},
            {"destination": "/safe", "type": "bind", "source": source("dir"), "options": ["bind", "nosuid", "nodev", "noexec", "ro"]},
            {"destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "mode=1777", "size=1m"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/quiet", "type": "tmpfs", "source": "tmpfs", "options": ["noatime", "ro"]},
        ]);
        spec["mounts"]
            .as_array_mut()
            .unwrap()
            .extend(more.as_array().unwrap().clone());
    }),
    ("limits", |spec, _| {
        spec["linux"]["resources"]["memory"] = serde_json::json!({"limit": 67108864});
        spec["linux"]["resources"]["cpu"] =
            serde_json::json!({"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"});
        spec["linux"]["resources"]["pids"] = serde_json::json!({"limit": 50});
        spec["process"]["rlimits"] = serde_json::json!([
            {"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
        spec["process"]["oomScoreAdj"] = 321.into();
    }),
    ("masks", |spec, _| {
        spec["linux"]["maskedPaths"] = serde_json::json!(["/proc/kcore", "/proc/keys", "/sys/firmware", "/not/there"]);
        spec["linux"]["readonlyPaths"] = serde_json::json!(["/proc/sys", "/proc/bus", "/etc"]);
    }),
    ("pid namespace of the host", |spec, _| without(spec, "pid")),
    ("namespaces of the host", |spec, _| {
        ["network", "ipc", "uts"].iter().for_each(|kind| without(spec, kind));
        spec.as_object_mut().unwrap().remove("hostname");
    }),
    ("no new privileges", |spec, _| {
        spec["process"]["noNewPrivileges"] = true.into();
        spec["process"]["user"] = serde_json::json!({"uid": 3, "gid": 3});
    }),
    ("seccomp", |spec, _| spec["linux"]["seccomp"] = profile()),
    ("seccomp and no new privileges", |spec, _| {
        spec["linux"]["seccomp"] = profile();
        spec["process"]["noNewPrivileges"] = true.into();
        spec["process"]["user"] = serde_json::json!({"uid": 65534, "gid": 65534});
        spec["process"]["cwd"] = "/made".into();
    }),
];

fn without(spec: &mut serde_json::Value, kind: &str) {
    spec["linux"]["namespaces"]
        .as_array_mut()
        .unwrap()
        .retain(|namespace| namespace["type"] != kind);
}

fn profile() -> serde_json::Value {
    let mut profile =
        serde_json::to_value(default_profile(&bundle::DEFAULT_CAPABILITIES.into_iter().collect())).unwrap();
    // Older libseccomp does not know the newest calls; runc leaves out what it does not know.
    profile["architectures"] = serde_json::json!(["SCMP_ARCH_X86_64"]);
    profile
}

impl Arena {
    async fn new(dir: PathBuf) -> Self {
        for at in [
            "image/bin",
            "image/proc",
            "image/sys",
            "image/dev",
            "image/etc",
            "sources/dir",
            "logs",
        ] {
            fs::create_dir_all(dir.join(at)).unwrap();
        }
        fs::write(dir.join("sources/file"), "file\n").unwrap();
        let program = dir.join("image/bin/report");
        fs::write(&program, shim::REPORT).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let parent = format!("gantry-contest-{}", std::process::id());
        let config = Config {
            state_dir: dir.join("state"),
            cgroup_parent: parent.clone(),
        };
        Self {
            engine: Engine::open(config).await.unwrap(),
            dir,
            parent,
        }
    }

    fn spec(&self, change: fn(&mut serde_json::Value, &Path), args: &[&str]) -> Spec {
        let mut spec = serde_json::to_value(bundle::default_spec()).unwrap();
        spec["process"]["args"] = serde_json::json!(args);
        spec["process"]["env"] = serde_json::json!(["PATH=/usr/bin:/bin", "GREETING=hello world"]);
        spec["hostname"] = "contest".into();
        spec["linux"]["resources"] = serde_json::json!({"devices": [{"allow": false, "access": "rwm"}]});
        spec["root"]["path"] = self.dir.join("image").to_string_lossy().into_owned().into();
        change(&mut spec, &self.dir);
        serde_json::from_value(spec).unwrap()
    }

    fn runc(&self) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.dir.join("runc")).stdin(Stdio::null());
        command
    }

    fn bundle(&self, spec: &Spec) -> PathBuf {
        let dir = self.dir.join("bundle");
        fs::create_dir_all(&dir).unwrap();
        let mut value = serde_json::to_value(spec).unwrap();
        value["linux"]["cgroupsPath"] = format!("/{}/runc", self.parent).into();
        fs::write(dir.join("config.json"), value.to_string()).unwrap();
        dir
    }

    /// The reports of a first and a further process under runc.
    fn under_runc(&self, change: fn(&mut serde_json::Value, &Path)) -> [String; 2] {
        let dir = self.bundle(&self.spec(change, &["report"]));
        let output = self.runc().args(["run", "-b"]).arg(&dir).arg("one").output().unwrap();
        let first = output.stdout;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let dir = self.bundle(&self.spec(change, &["report", "sleep", "60000"]));
        let quiet = |command: &mut Command| assert!(command.stdout(Stdio::null()).status().unwrap().success());
        quiet(self.runc().args(["run", "-d", "-b"]).arg(&dir).arg("two"));
        let further = self.runc().args(["exec", "two", "report"]).output().unwrap().stdout;
        quiet(self.runc().args(["delete", "-f", "two"]));
        [first, further].map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn container(&self, name: &str, sandbox: &SandboxId, spec: Spec) -> ContainerSpec {
        let log = LogSpec {
            path: self.dir.join("logs").join(name),
            max_size: 0,
            max_files: 1,
        };
        let (rootfs, labels) = (RootFs::Dir(self.dir.join("image")), Vec::new());
        let (id, sandbox) = (ContainerId::new(name).unwrap(), sandbox.clone());
        ContainerSpec {
            id,
            sandbox,
            spec,
            rootfs,
            log: Some(log),
            stdin: false,
            stdin_once: false,
            labels,
        }
    }

    /// The same under the engine.
    async fn under_engine(&self, change: fn(&mut serde_json::Value, &Path)) -> [String; 2] {
        let sandbox = SandboxId::new("sandbox").unwrap();
        self.engine
            .sandbox_prepare(sandbox.clone(), Namespaces::default())
            .await
            .unwrap();
        let one = ContainerId::new("one").unwrap();
        self.engine
            .create(self.container("one", &sandbox, self.spec(change, &["report"])))
            .await
            .unwrap();
        self.engine.start(&one).await.unwrap();
        self.engine.wait(&one).await.unwrap();
        let two = ContainerId::new("two").unwrap();
        let spec = self.spec(change, &["report", "sleep", "60000"]);
        self.engine.create(self.container("two", &sandbox, spec)).await.unwrap();
        self.engine.start(&two).await.unwrap();
        let exec = ExecSpec {
            args: vec!["report".into()],
            ..ExecSpec::default()
        };
        let mut exec = self.engine.exec(&two, exec).await.unwrap();
        let out = exec.stdout.take().unwrap();
        let further = tokio::task::spawn_blocking(move || {
            rustix::io::ioctl_fionbio(&out, false).unwrap();
            let mut text = String::new();
            fs::File::from(out).read_to_string(&mut text).unwrap();
            text
        });
        let further = further.await.unwrap();
        let first = self.logged("one");
        self.engine.sandbox_remove(&sandbox).await.unwrap();
        [first, further]
    }

    fn logged(&self, name: &str) -> String {
        let path = self.dir.join("logs").join(name);
        let text = fs::read_to_string(&path).unwrap();
        let _ = fs::remove_file(path);
        text.lines()
            .map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default())
            .flat_map(|line| [line, "\n"])
            .collect()
    }

    /// Nanoseconds from the order to the program's first instruction, for both, in turns.
    async fn race(&self, rounds: usize) -> [Vec<u64>; 3] {
        let mut times = [const { Vec::new() }; 3];
        for round in 0..rounds {
            for (at, change) in [
                (|_: &mut serde_json::Value, _: &Path| {}) as fn(&mut _, &Path),
                BUNDLES[10].1,
            ]
            .iter()
            .enumerate()
            {
                let sandbox = SandboxId::new(format!("race-{round}-{at}")).unwrap();
                self.engine
                    .sandbox_prepare(sandbox.clone(), Namespaces::default())
                    .await
                    .unwrap();
                let spec = self.spec(*change, &["report", "clock"]);
                self.engine
                    .create(self.container("race", &sandbox, spec))
                    .await
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(120)).await;
                let id = ContainerId::new("race").unwrap();
                let began = monotonic();
                self.engine.start(&id).await.unwrap();
                self.engine.wait(&id).await.unwrap();
                times[at].push(self.logged("race").trim().parse::<u64>().unwrap() - began);
                self.engine.sandbox_remove(&sandbox).await.unwrap();
            }
            let dir = self.bundle(&self.spec(|_, _| {}, &["report", "clock"]));
            let began = monotonic();
            let output = self
                .runc()
                .args(["run", "-b"])
                .arg(&dir)
                .arg("race")
                .output()
                .unwrap()
                .stdout;
            times[2].push(String::from_utf8(output).unwrap().trim().parse::<u64>().unwrap() - began);
        }
        times
    }

    /// Resident kilobytes of a container's shim: its own, and with what it shares.
    async fn shim_memory(&self) -> (u64, u64) {
        let sandbox = SandboxId::new("memory").unwrap();
        self.engine
            .sandbox_prepare(sandbox.clone(), Namespaces::default())
            .await
            .unwrap();
        let spec = self.spec(|_, _| {}, &["report", "sleep", "60000"]);
        self.engine
            .create(self.container("memory", &sandbox, spec))
            .await
            .unwrap();
        let started = self.engine.start(&ContainerId::new("memory").unwrap()).await.unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", started.pid)).unwrap();
        let shim = stat.rsplit_once(')').unwrap().1.split(' ').nth(2).unwrap().to_owned();
        let rollup = fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).unwrap();
        let field = |names: &[&str]| {
            let lines = rollup
                .lines()
                .filter(|line| names.iter().any(|name| line.starts_with(name)));
            lines
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .sum()
        };
        let figures = (field(&["Private_"]), field(&["Rss:"]));
        self.engine.sandbox_remove(&sandbox).await.unwrap();
        figures
    }
}

fn monotonic() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A report as facts that can be compared: numbers of mounts, processes and namespaces differ by nature.
fn facts(report: &str) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    for section in report.split("== ").skip(1) {
        let (name, body) = section.split_once('\n').unwrap_or((section, ""));
        for (at, line) in body.lines().enumerate() {
            if let Some((key, value)) = fact(name, at, line) {
                *facts.entry(format!("{name}: {key}")).or_insert_with(String::new) += &(value + "|");
            }
        }
    }
    facts
}

fn fact(section: &str, at: usize, line: &str) -> Option<(String, String)> {
    const STATUS: [&str; 14] = [
        "Uid",
        "Gid",
        "Groups",
        "Umask",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "SigBlk",
        "SigIgn",
        "SigCgt",
    ];
    match section {
        "/proc/self/cgroup" => None,
        "/proc/self/status" => {
            let (key, value) = line.split_once(':')?;
            STATUS.contains(&key).then(|| (key.to_owned(), value.trim().to_owned()))
        }
        "/proc/self/mountinfo" => {
            let (mount, source) = line.split_once(" - ")?;
            let fields: Vec<_> = mount.split(' ').collect();
            let kind = source.split(' ').next()?;
            let shared = fields[6..]
                .iter()
                .map(|tag| tag.split(':').next().unwrap_or(tag))
                .collect::<Vec<_>>()
                .join(",");
            Some((fields[4].to_owned(), format!("{kind} {} {shared}", fields[5])))
        }
        "namespaces" => {
            let (path, inode) = line.split_once(' ')?;
            let host = fs::read_link(path).is_ok_and(|host| host.to_string_lossy() == inode);
            Some((path.to_owned(), if host { "the host's" } else { "its own" }.to_owned()))
        }
        "/sys/fs/cgroup/devices/devices.list" => Some((line.to_owned(), String::new())),
        "probes" => line
            .rsplit_once(' ')
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        "/proc/self/limits" => Some((line.get(..26)?.trim().to_owned(), line.get(26..)?.to_owned())),
        _ => Some((at.to_string(), line.to_owned())),
    }
}

fn compare(name: &str, kind: &str, ours: &str, theirs: &str) -> usize {
    let (ours, theirs) = (facts(ours), facts(theirs));
    assert!(theirs.len() > 50, "runc's report is short: {theirs:?}");
    let mut keys: Vec<_> = ours.keys().chain(theirs.keys()).collect();
    keys.sort();
    keys.dedup();
    let different = keys
        .into_iter()
        .filter(|key| ours.get(*key) != theirs.get(*key) && !known(key, kind, theirs.get(*key)));
    let lines: Vec<_> = different
        .map(|key| {
            format!(
                "    {key}\n      engine {:?}\n      runc   {:?}",
                ours.get(key),
                theirs.get(key)
            )
        })
        .collect();
    println!(
        "{name}, {kind} process: {} facts, {} differences",
        theirs.len(),
        lines.len()
    );
    lines.iter().for_each(|line| println!("{line}"));
    lines.len()
}

/// Differences that are meant, each with its reason.
fn known(key: &str, kind: &str, theirs: Option<&String>) -> bool {
    match key {
        // runc leaves the directory of the hierarchies writable, whatever the bundle says.
        "/proc/self/mountinfo: /sys/fs/cgroup" => true,
        // The signal that Go's runtime ignores, in the programs that it runs too.
        "/proc/self/status: SigIgn" => true,
        // runc before 1.2 lets every container use /dev/net/tun.
        "/sys/fs/cgroup/devices/devices.list: c 10:200 rwm" => true,
        // runc makes the whole sysfs read-only, we the mount: who may not write anyway gets another errno.
        "probes: write /sys" => true,
        // runc keeps the bundle's umask from further processes.
        "/proc/self/status: Umask" => kind == "further",
        // runc before 1.1.13 sets a further process's limits (setnsProcess.start) while Go's runtime starts in it, which
        // raises the soft limit of open files to the hard one. Who is first is left to chance (opencontainers/runc#4195).
        "/proc/self/limits: Max open files" => kind == "further" && theirs.is_some_and(|line| soft_is_hard(line)),
        _ => false,
    }
}

/// Whether a line of `/proc/PID/limits`, less its name, begins with the same limit twice.
fn soft_is_hard(line: &str) -> bool {
    let mut limits = line.split_whitespace();
    limits.next().is_some_and(|soft| limits.next() == Some(soft))
}

fn figures(name: &str, times: &mut [u64]) {
    times.sort_unstable();
    let ms = |ns: u64| ns as f64 / 1e6;
    println!(
        "{name}: min {:.2} ms, median {:.2} ms of {}",
        ms(times[0]),
        ms(times[times.len() / 2]),
        times.len()
    );
}

#[tokio::main]
async fn main() {
    assert!(
        rustix::process::geteuid().is_root(),
        "the contest makes containers: run it as root"
    );
    let kept = tempfile::tempdir().unwrap();
    fs::set_permissions(kept.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let arena = Arena::new(kept.path().to_owned()).await;
    let mut differences = 0;
    for (name, change) in BUNDLES {
        let [our_first, our_further] = arena.under_engine(change).await;
        let [their_first, their_further] = arena.under_runc(change);
        differences += compare(name, "first", &our_first, &their_first);
        differences += compare(name, "further", &our_further, &their_further);
    }
    let [mut plain, mut filtered, mut runc] = arena.race(20).await;
    println!("order to first instruction, after an idle gap:");
    figures("  engine, plain", &mut plain);
    figures("  engine, default seccomp profile", &mut filtered);
    figures("  runc, plain", &mut runc);
    let (own, all) = arena.shim_memory().await;
    println!("a container's shim: {own} kB of its own, {all} kB resident");
    assert!(
        !arena
            .engine
            .containers()
            .iter()
            .any(|container| matches!(container.state, State::Running(_)))
    );
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = fs::remove_dir(hierarchy.path().join(&arena.parent));
    }
    if differences > 0 {
        eprintln!("{differences} differences");
        std::process::exit(1);
    }
}
