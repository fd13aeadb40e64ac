//! A real etcd: the store's suite on it, and servers that have it together. Debian's etcd is 3.4, the oldest that will do;
//! `--etcd PATH` takes another one.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::case::Tally;
use super::house::House;
use super::tools::{self, Kubectl};

const SUITE: &str = "etcd: the store's suite";
const SERVERS: &str = "etcd: two servers on one";
const RANGES: [&str; 4] = ["--pod-cidr", "10.223.0.0/16", "--service-cidr", "10.224.0.0/16"];
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether any of it is to run.
pub(crate) fn wanted(tally: &Tally<'_>) -> bool {
    tally.wants(SUITE) || tally.wants(SERVERS)
}

/// Runs what is wanted, each part on an etcd of its own.
pub(crate) fn run(
    bin: &Path,
    program: Option<&Path>,
    target: &Path,
    root: &Path,
    tally: &mut Tally<'_>,
) -> anyhow::Result<()> {
    let program = match program {
        Some(program) => program.to_owned(),
        None => tools::etcd(target)?,
    };
    println!("\nwith {}", version(&program)?);
    if tally.wants(SUITE) {
        tally.count(SUITE, || suite(&program, root));
    }
    if tally.wants(SERVERS) {
        let kubectl = tools::kubectls(target)?.swap_remove(0);
        tally.count(SERVERS, || servers(&program, bin, &kubectl));
    }
    Ok(())
}

fn version(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("running {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The contract, over TLS with certificates on both sides.
fn suite(program: &Path, root: &Path) -> anyhow::Result<()> {
    let etcd = Etcd::start(program, "suite")?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut tests = Command::new(cargo);
    tests
        .args([
            "test",
            "--package",
            "store",
            "--lib",
            "--",
            "--ignored",
            "etcd::tests::real",
        ])
        .current_dir(root)
        .env("GANTRY_TEST_ETCD", etcd.url())
        .env("GANTRY_TEST_ETCD_CA", etcd.file("ca.pem"))
        .env("GANTRY_TEST_ETCD_CERT", etcd.file("client.pem"))
        .env("GANTRY_TEST_ETCD_KEY", etcd.file("client.key"));
    tools::run(&mut tests)
}

/// A whole Gantry and one more server on one etcd; each of the three dies once.
fn servers(program: &Path, bin: &Path, kubectl: &Kubectl) -> anyhow::Result<()> {
    let mut etcd = Etcd::start(program, "servers")?;
    refuses_silence(bin, &etcd)?;
    let listen = free_address()?;
    let settings = etcd.settings();
    let mut up: Vec<&str> = vec!["--demo", "--listen", &listen];
    up.extend(RANGES);
    up.extend(settings.iter().map(String::as_str));
    let house = House::start(bin, "etcd", &up)?;
    let mut second = Second::start(bin, &etcd)?;
    let told = play(&house, &mut etcd, &mut second, kubectl);
    told.with_context(|| {
        format!(
            "--- Gantry's log\n{}--- the second's\n{}",
            house.last_lines(12),
            second.last_lines()
        )
    })?;
    second.end()?;
    house.end()
}

fn play(house: &House, etcd: &mut Etcd, second: &mut Second, kubectl: &Kubectl) -> anyhow::Result<()> {
    let one = Client(house.kubeconfig(), kubectl);
    let two = Client(second.kubeconfig(), kubectl);
    second.wait(&two)?;
    // Written by one, read by the other, at once.
    for round in 0..20 {
        let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        writer.run(&format!("create configmap m{round} --from-literal=round={round}"))?;
        let read = reader.run(&format!("get configmap m{round} -o jsonpath={{.data.round}}"))?;
        ensure!(read == round.to_string(), "round {round}: {read:?}");
    }
    let listed = two.run("get configmaps -o name")?;
    ensure!(listed.matches("configmap/m").count() == 20, "{listed}");
    // One scheduler and one set of controllers, wherever they run.
    two.run("create deployment web --image=gantry.local/hello:latest --replicas=2")?;
    for lease in ["kube-scheduler", "kube-controller-manager"] {
        let holder = one.run(&format!(
            "-n kube-system get lease {lease} -o jsonpath={{.spec.holderIdentity}}"
        ))?;
        ensure!(!holder.is_empty(), "nobody holds {lease}");
    }
    one.run("rollout status deployment/web --timeout=60s")?;

    // The server that leads dies; what keeps it running starts it again.
    house.kill_server()?;
    two.run("create configmap meanwhile")?;
    until(|| one.run("get configmap meanwhile"))?;
    // etcd dies, and comes again with what it had.
    etcd.kill()?;
    ensure!(
        two.run("create configmap lost --request-timeout=5s").is_err(),
        "a write without a store"
    );
    etcd.spawn()?;
    until(|| one.run("create configmap after"))?;
    two.run("get configmap m0 meanwhile after")?;
    // It is silent for a while: what was asked meanwhile is answered, and nothing stays stuck.
    etcd.signal(Signal::STOP)?;
    let unanswered = two.run("create configmap perhaps");
    etcd.signal(Signal::CONT)?;
    ensure!(unanswered.is_err(), "a write without an answer");
    until(|| two.run("create configmap again"))?;
    one.run("get configmap again")?;
    two.run("scale deployment web --replicas=3")?;
    one.run("rollout status deployment/web --timeout=60s")?;
    // Without the first one, the second does everything.
    tools::run(&mut house.gantry(&["down"]))?;
    two.run("create deployment alone --image=gantry.local/hello:latest")?;
    until(|| {
        let pods = two.run("get pods -l app=alone -o name")?;
        ensure!(pods.lines().count() == 1, "{pods}");
        Ok(pods)
    })?;
    Ok(())
}

/// A store that can't be reached is said in one line, and nothing is left of the start.
fn refuses_silence(bin: &Path, etcd: &Etcd) -> anyhow::Result<()> {
    let nobody = free_address()?;
    let data = etcd.dir.join("nobody");
    let output = Command::new(bin)
        .arg("--data-dir")
        .arg(&data)
        .args(["up", "--no-kubeconfig", "--no-node", "--listen", &free_address()?])
        .args(["--store", &format!("etcd=http://{nobody}")])
        .args(RANGES)
        .output()
        .context("running gantry up")?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "gantry up without its store");
    let said = text.lines().filter(|line| line.contains(&nobody)).count();
    ensure!(said == 1, "gantry up says {text:?}");
    ensure!(!data.exists(), "something is left in {}", data.display());
    Ok(())
}

/// Repeats something until it succeeds.
fn until(mut what: impl FnMut() -> anyhow::Result<String>) -> anyhow::Result<String> {
    let began = Instant::now();
    loop {
        match what() {
            Ok(found) => return Ok(found),
            Err(error) if began.elapsed() > PATIENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// kubectl with one of the servers.
struct Client<'a>(PathBuf, &'a Kubectl);

impl Client<'_> {
    fn run(&self, line: &str) -> anyhow::Result<String> {
        let mut command = Command::new(self.1.dir.join("kubectl"));
        command.env("KUBECONFIG", &self.0).args(line.split(' '));
        let output = command.output().context("running kubectl")?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl {line}: {}", text.trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// An etcd of one member, with certificates. It ends with this value.
struct Etcd {
    program: PathBuf,
    dir: PathBuf,
    client: String,
    peer: String,
    child: Option<Child>,
}

impl Etcd {
    fn start(program: &Path, name: &str) -> anyhow::Result<Self> {
        let dir = std::env::temp_dir().join(format!("gantry-etcd-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        certificates(&dir)?;
        fs::write(dir.join("secret"), "not a secret at all\n")?;
        let mut etcd = Self {
            program: program.to_owned(),
            dir,
            client: free_address()?,
            peer: free_address()?,
            child: None,
        };
        etcd.spawn()?;
        Ok(etcd)
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let (url, peer) = (self.url(), format!("http://{}", self.peer));
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))?;
        let child = Command::new(&self.program)
            .args(["--name", "test", "--data-dir"])
            .arg(self.dir.join("data"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}"), "--client-cert-auth"])
            .arg("--trusted-ca-file")
            .arg(self.file("ca.pem"))
            .arg("--cert-file")
            .arg(self.file("server.pem"))
            .arg("--key-file")
            .arg(self.file("server.key"))
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        self.child = Some(child);
        until(|| {
            std::net::TcpStream::connect(&self.client).context("waiting for etcd")?;
            Ok(String::new())
        })?;
        Ok(())
    }

    /// Without a warning.
    fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.child.as_ref().map(Child::id).context("etcd doesn't run")?;
        let pid = Pid::from_raw(i32::try_from(id)?).context("etcd has no number")?;
        kill_process(pid, signal).context("a signal to etcd")
    }

    fn url(&self) -> String {
        format!("https://{}", self.client)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What a server is told of it.
    fn settings(&self) -> Vec<String> {
        let file = |name: &str| self.file(name).display().to_string();
        let flags = [
            ("--store", format!("etcd={}", self.url())),
            ("--store-ca", file("ca.pem")),
            ("--store-cert", file("client.pem")),
            ("--store-key", file("client.key")),
            ("--store-secret", file("secret")),
        ];
        flags
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A server without a node, beside the whole Gantry. It ends with this value.
struct Second {
    data: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Second {
    fn start(bin: &Path, etcd: &Etcd) -> anyhow::Result<Self> {
        let (data, log) = (etcd.dir.join("second"), etcd.dir.join("second.log"));
        let file = fs::File::create(&log)?;
        let child = Command::new(bin)
            .arg("--data-dir")
            .arg(&data)
            .args(["server", "--no-node", "--listen", &free_address()?])
            .args(RANGES)
            .args(etcd.settings())
            .stdout(file.try_clone()?)
            .stderr(file)
            .stdin(Stdio::null())
            .spawn()
            .context("starting a second server")?;
        Ok(Self { data, log, child })
    }

    fn kubeconfig(&self) -> PathBuf {
        self.data.join("admin.kubeconfig")
    }

    fn wait(&mut self, client: &Client<'_>) -> anyhow::Result<()> {
        let began = Instant::now();
        while client.run("get --raw /readyz").is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the second server ended: {status}\n{}", self.last_lines());
            }
            ensure!(
                began.elapsed() < PATIENCE,
                "the second server isn't ready\n{}",
                self.last_lines()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = Pid::from_raw(i32::try_from(self.child.id())?) {
            kill_process(pid, Signal::TERM).context("ending the second server")?;
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "the second server ended with {status}");
        Ok(())
    }

    fn last_lines(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority, and a certificate of it for etcd and one for who uses it; etcd asks itself by its own one too.
const CERTIFICATES: &str = "set -e
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -subj /CN=$1 \"${@:2}\"; }
printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n' > usage
new ca -x509 -days 2 -out ca.pem
for name in server client; do
    new $name -out $name.csr
    openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile usage -out $name.pem
done";

fn certificates(dir: &Path) -> anyhow::Result<()> {
    tools::program("openssl", "openssl")?;
    tools::run(Command::new("bash").args(["-c", CERTIFICATES]).current_dir(dir))
}
