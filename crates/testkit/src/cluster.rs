//! A throw-away Gantry, driven by its command line alone: a directory, a port and ranges of its own, gone without a trace
//! when the value is dropped, also when a test panics.

use std::fs;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::leaks::Snapshot;

/// How many clusters may be there at a time on one machine.
const PLACES: u16 = 64;
const FIRST_PORT: u16 = 16100;
/// Told from each other within one process.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// An instance that does not run yet, runs, or has run.
pub struct Cluster {
    bin: PathBuf,
    work: PathBuf,
    data: PathBuf,
    place: Place,
}

/// A port and ranges that no other test on this machine uses as long as this value lives.
struct Place {
    number: u16,
    _claim: UnixDatagram,
}

impl Place {
    /// The claim is a socket's abstract name: it is as wide as the network namespace, and goes with the process.
    fn take() -> Self {
        for number in 0..PLACES {
            let name = format!("gantry-test-place-{number}");
            let address = SocketAddr::from_abstract_name(name).expect("a short name");
            if let Ok(claim) = UnixDatagram::bind_addr(&address) {
                return Self { number, _claim: claim };
            }
        }
        panic!("{PLACES} throw-away clusters run on this machine already");
    }
}

impl Cluster {
    /// Room for an instance of the program `bin`. Nothing runs yet, and its data directory doesn't exist.
    pub fn new(bin: impl Into<PathBuf>) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let work = std::env::temp_dir().join(format!("gantry-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&work).unwrap_or_else(|error| panic!("making {}: {error}", work.display()));
        Self {
            bin: bin.into(),
            data: work.join("data"),
            work,
            place: Place::take(),
        }
    }

    /// Puts the data directory elsewhere, such as onto another file system.
    pub fn with_data(mut self, data: PathBuf) -> Self {
        self.data = data;
        self
    }

    /// Where files for it can be put; removed with it.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Its data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The administrator's credentials.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("admin.kubeconfig")
    }

    /// Where it listens.
    pub fn listen(&self) -> String {
        format!("127.0.0.1:{}", FIRST_PORT + self.place.number)
    }

    /// The addresses of its pods.
    pub fn pod_cidr(&self) -> String {
        format!("10.101.{}.0/22", self.place.number * 4)
    }

    /// The addresses of its Services.
    pub fn service_cidr(&self) -> String {
        format!("10.121.{}.0/22", self.place.number * 4)
    }

    /// A command of the program, about this instance. The user's own kubeconfig is out of its sight.
    pub fn gantry(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.bin);
        command
            .arg("--data-dir")
            .arg(&self.data)
            .args(arguments)
            .env("KUBECONFIG", self.work.join("kubeconfig"))
            .env_remove("GANTRY_FAILPOINTS")
            .stdin(Stdio::null());
        command
    }

    /// `gantry up` with this instance's port and ranges.
    pub fn up_command(&self) -> Command {
        let mut command = self.gantry(&["up", "--no-kubeconfig"]);
        command.args(["--listen", &self.listen()]);
        command.args(["--pod-cidr", &self.pod_cidr(), "--service-cidr", &self.service_cidr()]);
        command
    }

    /// Brings it up; must succeed.
    pub fn up(&self) -> String {
        self.expect(&mut self.up_command())
    }

    /// Runs a command that must succeed, and answers what it printed.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.expect(&mut self.gantry(arguments))
    }

    fn expect(&self, command: &mut Command) -> String {
        let output = output(command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{command:?} ended with {}:\n{text}{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            self.logs(40)
        );
        text
    }

    /// Starts `server` or `node` in the foreground, as a service manager would, with failpoints. Its output goes where
    /// that of a supervised one goes.
    pub fn foreground(&self, role: &str, failpoints: &str) -> Child {
        let dir = self.data.join("run");
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("making {}: {error}", dir.display()));
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(dir.join(format!("{role}.log")));
        let log = log.unwrap_or_else(|error| panic!("opening the log of the {role}: {error}"));
        let mut command = self.gantry(&[role, "--listen", &self.listen()]);
        command.args(["--pod-cidr", &self.pod_cidr(), "--service-cidr", &self.service_cidr()]);
        if !failpoints.is_empty() {
            command.env("GANTRY_FAILPOINTS", failpoints);
        }
        command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
        command
            .spawn()
            .unwrap_or_else(|error| panic!("starting the {role}: {error}"))
    }

    /// `gantry status -o json`.
    pub fn status(&self) -> Value {
        let text = self.run(&["status", "-o", "json"]);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// Its name in the kernel.
    pub fn id(&self) -> String {
        let status = self.status();
        status["instance"].as_str().expect("an instance id").to_owned()
    }

    /// All that it has on the machine: what bears its id or lies below its data directory.
    pub fn snapshot(&self) -> Snapshot {
        let id = self.id();
        let (links, cgroups) = (format!("g{id}"), format!("gantry-{id}"));
        Snapshot::take(&[&links, &cgroups, &self.data.to_string_lossy()])
    }

    /// The last lines of its processes' logs.
    pub fn logs(&self, count: usize) -> String {
        let mut text = String::new();
        for role in ["supervisor", "server", "node"] {
            let log = fs::read_to_string(self.data.join("run").join(format!("{role}.log"))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(count)..] {
                text.push_str(&format!("{role}: {line}\n"));
            }
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs(60));
        }
        if self.data.exists() {
            match self.gantry(&["down", "--purge"]).output() {
                Ok(output) if output.status.success() => {}
                other => eprintln!("gantry down --purge: {other:?}"),
            }
        }
        // A directory that still has mounts in it must not be emptied through them.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        if !mounts.contains(&*self.work.to_string_lossy()) {
            let _ = fs::remove_dir_all(&self.work);
        }
    }
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("running {command:?}: {error}"))
}
