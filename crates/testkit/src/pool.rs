//! Several Gantrys on the machines of a world: a server on the first, nodes that join it on the others. All of it is the
//! real binary, told what to do by its command line. What it made is removed when the value ends, also after a failure.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::world::{Shape, World};

/// Ranges of its own, so that nothing else on the machine is taken for it.
const RANGES: [&str; 4] = ["--pod-cidr", "10.104.0.0/16", "--service-cidr", "10.124.0.0/16"];

/// Machines with a data directory each.
pub struct Pool {
    world: World,
    program: PathBuf,
    dir: PathBuf,
}

impl Pool {
    /// So many machines, on which nothing runs yet.
    pub fn new(program: &str, machines: u8, shape: Shape, seed: u64) -> io::Result<Self> {
        let world = World::new(machines, shape, seed)?;
        let dir = tempfile::Builder::new().prefix("gantry-pool-").tempdir()?.keep();
        Ok(Self {
            world,
            program: program.into(),
            dir,
        })
    }

    /// The machines and their links.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The same, to be changed.
    pub fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }

    /// A machine's data directory.
    pub fn data(&self, machine: usize) -> PathBuf {
        self.dir.join(format!("m{machine}"))
    }

    /// Where tests may put files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The administrator's credentials, for clients on any of the machines.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data(0).join("admin.kubeconfig")
    }

    /// Where the server is.
    pub fn url(&self) -> String {
        format!("https://{}:6443", self.world.machine(0).address())
    }

    /// Runs a command on a machine to its end: what it printed, or else what it complained.
    pub fn run(&self, machine: usize, arguments: &[&str]) -> Result<String, String> {
        let output = self.output(machine, arguments).map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(text(&output.stderr))
    }

    /// Runs a command on a machine to its end.
    pub fn output(&self, machine: usize, arguments: &[&str]) -> io::Result<Output> {
        let mut command = self.command(machine, arguments);
        self.world.machine(machine).namespace().output(&mut command)
    }

    /// A command about a machine's instance, to be run in the machine's namespace.
    pub fn command(&self, machine: usize, arguments: &[&str]) -> Command {
        self.command_at(&self.data(machine), arguments)
    }

    /// A command about an instance in some directory.
    pub fn command_at(&self, data: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--data-dir")
            .arg(data)
            .args(arguments)
            .env("KUBECONFIG", self.dir.join("kubeconfig"))
            .stdin(Stdio::null());
        command
    }

    /// Starts the server, and a node beside it, on the first machine.
    pub fn start_server(&self, more: &[&str]) -> Result<String, String> {
        let mut arguments = vec!["up", "--no-kubeconfig", "--node-name", "m0"];
        arguments.extend(RANGES);
        arguments.extend(more);
        self.run(0, &arguments)
    }

    /// The token of a fresh line to paste.
    pub fn token(&self, more: &[&str]) -> Result<String, String> {
        let line = self.run(0, &[&["token", "create"], more].concat())?;
        let token = line.split_whitespace().skip_while(|word| *word != "--token").nth(1);
        token.map(str::to_owned).ok_or(line)
    }

    /// Lets a machine join; its node is called `m` and the machine's number.
    pub fn join(&self, machine: usize, more: &[&str]) -> Result<String, String> {
        let token = self.token(&[])?;
        let (url, name) = (self.url(), format!("m{machine}"));
        let join = ["join", &url, "--token", &token, "--node-name", &name];
        self.run(machine, &[&join, more].concat())
    }

    /// What the instance on a machine says of itself.
    pub fn status(&self, machine: usize) -> Result<serde_json::Value, String> {
        let text = self.run(machine, &["status", "-o", "json"])?;
        serde_json::from_str(&text).map_err(|error| format!("{error} in {text}"))
    }

    /// The name in the kernel of the instance on a machine.
    pub fn id(&self, machine: usize) -> Result<String, String> {
        let status = self.status(machine)?;
        let id = status["instance"].as_str().map(str::to_owned);
        id.ok_or_else(|| status.to_string())
    }

    /// The last lines of a machine's logs, to see why a test failed.
    pub fn last_lines(&self, machine: usize, count: usize) -> String {
        let mut text = String::new();
        for role in ["supervisor", "server", "node"] {
            let path = self.data(machine).join("run").join(format!("{role}.log"));
            let log = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            for line in &lines[lines.len().saturating_sub(count)..] {
                text.push_str(&format!("m{machine} {role}: {line}\n"));
            }
        }
        text
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for machine in (0..self.world.machines().len()).rev() {
            if std::thread::panicking() {
                eprintln!("{}", self.last_lines(machine, 25));
            }
            if self.data(machine).exists()
                && let Err(error) = self.run(machine, &["down", "--purge"])
            {
                eprintln!("machine {machine}: {error}");
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        // A directory that still has mounts in it must not be emptied through them.
        if !mounts.contains(&*self.dir.to_string_lossy()) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}
