//! A throw-away engine with one sandbox, which leaves nothing behind also when a test fails.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use engine::{Claim, Config, ContainerId, ContainerSpec, Engine, Exit, LogSpec, Namespaces, RootFs, SandboxId, bundle};
use oci_spec::runtime::Spec;

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) dir: PathBuf,
    pub(crate) sandbox: SandboxId,
    config: Config,
    kept: Option<tempfile::TempDir>,
}

pub(crate) fn id(text: &str) -> ContainerId {
    ContainerId::new(text).unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Namespaces::default()).await
    }

    pub(crate) async fn with(namespaces: Namespaces) -> Self {
        let world = Self::without_sandbox().await;
        world
            .engine
            .sandbox_prepare(world.sandbox.clone(), namespaces)
            .await
            .unwrap();
        let claim = Claim {
            owner: "pod".into(),
            hostname: Some("here".into()),
            ..Claim::default()
        };
        world.engine.sandbox_claim(&world.sandbox, claim).await.unwrap();
        world
    }

    /// The cgroup that all is in.
    pub(crate) fn parent(&self) -> &str {
        &self.config.cgroup_parent
    }

    pub(crate) async fn without_sandbox() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make namespaces and cgroups: run them as root"
        );
        let kept = tempfile::tempdir().unwrap();
        let dir = kept.path().to_owned();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let cgroup_parent = format!("gantry-test-{}-{number}", std::process::id());
        let config = Config {
            state_dir: dir.join("state"),
            cgroup_parent,
        };
        for at in ["image/bin", "image/proc", "image/etc", "logs"] {
            std::fs::create_dir_all(dir.join(at)).unwrap();
        }
        let program = dir.join("image/bin/report");
        std::fs::write(&program, shim::REPORT).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let engine = Engine::open(config.clone()).await.unwrap();
        let sandbox = SandboxId::new("slot").unwrap();
        Self {
            engine,
            dir,
            sandbox,
            config,
            kept: Some(kept),
        }
    }

    /// Another engine on the same state, as after a restart.
    pub(crate) async fn reopen(&mut self) {
        self.engine = Engine::open(self.config.clone()).await.unwrap();
    }

    pub(crate) fn spec(&self, args: &[&str]) -> Spec {
        let mut spec = bundle::default_spec();
        let process = spec.process_mut().as_mut().unwrap();
        process.set_args(Some(args.iter().map(|arg| (*arg).to_owned()).collect()));
        process.set_env(Some(vec!["PATH=/bin".into()]));
        spec
    }

    pub(crate) fn container(&self, name: &str, spec: Spec) -> ContainerSpec {
        let overlay = RootFs::Overlay {
            lowers: vec![self.dir.join("image")],
            upper: self.dir.join(name).join("upper"),
            work: self.dir.join(name).join("work"),
        };
        let log = LogSpec {
            path: self.log_path(name),
            max_size: 0,
            max_files: 1,
        };
        ContainerSpec {
            id: id(name),
            sandbox: self.sandbox.clone(),
            spec,
            rootfs: overlay,
            log: Some(log),
            stdin: false,
            stdin_once: false,
            labels: vec![("name".into(), name.into())],
        }
    }

    pub(crate) fn log_path(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(name)
    }

    /// Creates and starts.
    pub(crate) async fn launch(&self, name: &str, args: &[&str]) -> ContainerId {
        let container = self.container(name, self.spec(args));
        self.engine.create(container).await.unwrap();
        self.engine.start(&id(name)).await.unwrap();
        id(name)
    }

    /// Runs to the end.
    pub(crate) async fn run(&self, name: &str, args: &[&str]) -> (Exit, String) {
        let id = self.launch(name, args).await;
        let exit = self.engine.wait(&id).await.unwrap();
        (exit, content(&self.log_path(name)))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let (engine, sandbox) = (self.engine.clone(), self.sandbox.clone());
        let parent = self.config.cgroup_parent.clone();
        let kept = self.kept.take();
        // A runtime of its own: the test's may be the one that is unwinding.
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            if let Err(error) = runtime.block_on(engine.sandbox_remove(&sandbox)) {
                eprintln!("removing the sandbox: {error}");
            }
            for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
                let _ = std::fs::remove_dir(hierarchy.path().join(&parent));
            }
            drop(kept);
        })
        .join();
    }
}

/// A log's text without times and marks; `stderr` lines begin with `!`, partial ones do not end the line.
pub(crate) fn content(log: &Path) -> String {
    let mut text = String::new();
    for line in std::fs::read_to_string(log).unwrap_or_default().lines() {
        let mut fields = line.splitn(4, ' ');
        let (time, stream, tag) = (fields.next().unwrap(), fields.next().unwrap(), fields.next().unwrap());
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
        if stream == "stderr" {
            text.push('!');
        }
        text.push_str(fields.next().unwrap());
        if tag == "F" {
            text.push('\n');
        }
    }
    text
}
