//! `cargo xtask golden`: puts the questions in `crates/server/tests/api/golden` to a real kube-apiserver with etcd, on
//! loopback, and writes its answers beside them, which `cargo test -p server` then compares with ours.
//!
//! The server is built once by the ordinary Go client (ten minutes of two cores) and kept where the conformance suite is.
//! Each file of questions gets a server of its own on an empty etcd. Nothing outlives the run.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use testkit::golden::{Question, Reply, answer, questions};

use crate::clients::tools;
use crate::conformance;

const PATIENCE: Duration = Duration::from_secs(120);
/// Who asks: a member of the administrators' group.
const TOKENS: &str = "golden,admin,admin,system:masters\n";
/// What must be there before anything is asked.
const THERE: [&str; 4] = [
    "/readyz",
    "/api/v1/namespaces/default",
    "/api/v1/namespaces/kube-system",
    "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
];

/// Which questions are asked.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A kube-apiserver; built when it isn't given.
    #[arg(long, value_name = "PATH")]
    apiserver: Option<PathBuf>,
    /// Only files whose name contains one of these.
    #[arg(value_name = "NAME")]
    only: Vec<String>,
}

/// Asks everything and writes down what is answered.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let metadata = cargo_metadata::MetadataCommand::new()
        .no_deps()
        .exec()
        .context("cargo metadata")?;
    let apiserver = match &arguments.apiserver {
        Some(program) => std::path::absolute(program)?,
        None => conformance::apiserver()?,
    };
    for needed in ["curl", "openssl"] {
        tools::program(needed, needed)?;
    }
    let etcd = tools::etcd(metadata.target_directory.as_std_path())?;
    let dir = metadata
        .workspace_root
        .as_std_path()
        .join("crates/server/tests/api/golden");
    let mut files: Vec<PathBuf> = fs::read_dir(&dir)
        .with_context(|| format!("reading {}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_wanted(path, &arguments.only))
        .collect();
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let asked = questions(&text);
        let server = Server::start(&apiserver, &etcd)?;
        let answers = asked.iter().map(|question| server.ask(question));
        let answers: Vec<Reply> = answers.collect::<anyhow::Result<_>>()?;
        let lines: Vec<String> = asked
            .iter()
            .zip(&answers)
            .map(|(question, reply)| answer(question, reply).to_string())
            .collect();
        let to = file.with_extension("answers.jsonl");
        fs::write(&to, lines.join("\n") + "\n").with_context(|| format!("writing {}", to.display()))?;
        println!("{}: {} answers", to.display(), lines.len());
    }
    println!("now: cargo test -p server golden");
    Ok(())
}

fn is_wanted(path: &Path, only: &[String]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".json") && (only.is_empty() || only.iter().any(|part| name.contains(part.as_str())))
}

/// A kube-apiserver and its etcd. Both end with this value.
struct Server {
    dir: PathBuf,
    url: String,
    children: Vec<Child>,
}

impl Server {
    fn start(apiserver: &Path, etcd: &Path) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("gantry-golden-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let listen = free_address()?;
        let mut server = Self {
            url: format!("https://{listen}"),
            dir,
            children: Vec::new(),
        };
        let (client, peer) = (
            format!("http://{}", free_address()?),
            format!("http://{}", free_address()?),
        );
        let mut command = Command::new(etcd);
        command
            .args(["--name", "golden", "--data-dir"])
            .arg(server.dir.join("etcd"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("golden={peer}")]);
        server.spawn("etcd", &mut command)?;
        server.spawn("kube-apiserver", &mut server.command(apiserver, &listen, &client)?)?;
        server.wait()?;
        Ok(server)
    }

    fn command(&self, apiserver: &Path, listen: &str, etcd: &str) -> anyhow::Result<Command> {
        let key = self.dir.join("key.pem");
        tools::run(
            Command::new("openssl")
                .args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"])
                .arg(&key),
        )?;
        let tokens = self.dir.join("tokens");
        fs::write(&tokens, TOKENS).context("writing the tokens")?;
        let (_, port) = listen.rsplit_once(':').context("an address without a port")?;
        let mut command = Command::new(apiserver);
        let flag = |name: &str, value: &str| format!("--{name}={value}");
        command.args([
            flag("etcd-servers", etcd),
            flag("bind-address", "127.0.0.1"),
            flag("advertise-address", "127.0.0.1"),
            flag("secure-port", port),
            flag("endpoint-reconciler-type", "none"),
            flag("service-cluster-ip-range", "10.96.0.0/16"),
            flag("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
            flag("authorization-mode", "Node,RBAC"),
            flag("enable-admission-plugins", "NodeRestriction"),
            flag("allow-privileged", "true"),
            flag("cert-dir", &self.dir.join("certificates").to_string_lossy()),
            flag("service-account-key-file", &key.to_string_lossy()),
            flag("service-account-signing-key-file", &key.to_string_lossy()),
            flag("token-auth-file", &tokens.to_string_lossy()),
        ]);
        Ok(command)
    }

    fn spawn(&mut self, name: &str, command: &mut Command) -> anyhow::Result<()> {
        let log = fs::File::create(self.dir.join(format!("{name}.log"))).context("a log")?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        self.children.push(child);
        Ok(())
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        for path in THERE {
            let question = Question {
                method: "GET".into(),
                path: path.into(),
                accept: "application/json".into(),
                content: String::new(),
                body: String::new(),
            };
            while !self.ask(&question).is_ok_and(|reply| reply.code == 200) {
                for child in &mut self.children {
                    let ended = child.try_wait()?;
                    ensure!(ended.is_none(), "it ended: {ended:?}\n{}", self.last_lines());
                }
                ensure!(began.elapsed() < PATIENCE, "{path} isn't there\n{}", self.last_lines());
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        Ok(())
    }

    fn ask(&self, question: &Question) -> anyhow::Result<Reply> {
        let body = self.dir.join("body");
        fs::write(&body, &question.body).context("writing a body")?;
        let (head, answered) = (self.dir.join("head"), self.dir.join("answered"));
        let mut command = Command::new("curl");
        command.args(["--silent", "--insecure", "--http1.1", "--max-time", "30", "--globoff"]);
        command.args(["--user-agent", "golden/1", "--header", "Authorization: Bearer golden"]);
        command.args([
            "--request",
            &question.method,
            "--header",
            &format!("Accept: {}", question.accept),
        ]);
        if !question.content.is_empty() {
            command.args(["--header", &format!("Content-Type: {}", question.content)]);
            command.arg("--data-binary").arg(format!("@{}", body.display()));
        }
        command.arg("--dump-header").arg(&head).arg("--output").arg(&answered);
        command.arg(format!("{}{}", self.url, question.path));
        // What it wrote for an earlier one is no answer to this one.
        let _ = fs::remove_file(&answered);
        tools::run(&mut command)?;
        let head = fs::read_to_string(&head).context("reading the headers")?;
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let warning = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("warning").then(|| value.trim().to_owned())
        };
        Ok(Reply {
            code: code.context("no status")?,
            warnings: head.lines().filter_map(warning).collect(),
            body: fs::read(&answered).unwrap_or_default(),
        })
    }

    fn last_lines(&self) -> String {
        let log = fs::read_to_string(self.dir.join("kube-apiserver.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
