//! `gantry image build` without a cluster: images and files that come from elsewhere, through a proxy or not.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use sha2::Digest as _;
use testkit::cluster::output;

use crate::registry::Fake;
use crate::stage;

/// Where a build's files are and its images go.
struct Site {
    dir: tempfile::TempDir,
    context: PathBuf,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let context = dir.path().join("context");
        std::fs::create_dir(&context).unwrap();
        Self { dir, context }
    }

    fn gantry(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(stage::gantry());
        command
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .args(arguments);
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "NO_PROXY",
            "no_proxy",
        ] {
            command.env_remove(name);
        }
        command.env("DOCKER_CONFIG", self.dir.path());
        command
    }

    fn build(&self, dockerfile: &str, more: &[&str]) -> Command {
        std::fs::write(self.context.join("Dockerfile"), dockerfile).unwrap();
        let mut command = self.gantry(&["image", "build", "--progress", "plain", "-t", "test.local/built:1"]);
        command.args(more).arg(&self.context);
        command
    }

    /// The files of the image that was built last, as they are in its layers' archives.
    fn has(&self, wanted: &[u8]) -> bool {
        let path = self.dir.path().join("image.tar");
        let mut export = self.gantry(&["image", "export", "-o", path.to_str().unwrap(), "test.local/built:1"]);
        said(&mut export);
        let bytes = unpacked(&path, self.dir.path());
        bytes.windows(wanted.len()).any(|window| window == wanted)
    }
}

/// All of an image's layers, without their compression.
fn unpacked(archive: &Path, dir: &Path) -> Vec<u8> {
    let to = dir.join("layout");
    std::fs::create_dir_all(&to).unwrap();
    let done = output(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&to));
    assert!(done.status.success(), "{done:?}");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(to.join("blobs/sha256")).unwrap().flatten() {
        let plain = output(Command::new("gzip").arg("-dcf").arg(entry.path()));
        all.extend(plain.stdout);
    }
    std::fs::remove_dir_all(to).unwrap();
    all
}

/// What a command that must succeed has said of its progress.
fn said(command: &mut Command) -> String {
    let done = output(command);
    let text = text(&done);
    assert!(done.status.success(), "{command:?}: {text}");
    text
}

fn text(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

/// A tar with one file, twice: as it is, and as it is sent.
fn layer(name: &str, content: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), content).unwrap();
    let plain = output(Command::new("tar").arg("-C").arg(dir.path()).args(["-cf", "-", name])).stdout;
    std::fs::write(dir.path().join("plain"), &plain).unwrap();
    let small = output(Command::new("gzip").arg("-c").arg(dir.path().join("plain"))).stdout;
    (plain, small)
}

#[test]
fn what_from_names_is_pulled_with_the_hosts_credentials() {
    let site = Site::new();
    let registry = Fake::start();
    registry.image("v1", &[layer("first", b"the first content")]);
    {
        let mut state = registry.state.lock().unwrap();
        state.wants = Some("Basic bWU6c2VjcmV0".to_string());
        state.challenge = "Basic realm=\"x\"".to_string();
    }
    let base = format!("{}/team/base:v1", registry.address);
    let from = format!("FROM {base}\nCOPY Dockerfile /Dockerfile\n");

    let refused = text(&output(&mut site.build(&from, &[])));
    assert!(
        refused.contains("credentials") && refused.contains(">>> FROM"),
        "{refused}"
    );

    let login = format!(
        "{{\"auths\": {{\"{}\": {{\"auth\": \"bWU6c2VjcmV0\"}}}}}}",
        registry.address
    );
    std::fs::write(site.dir.path().join("config.json"), login).unwrap();
    let progress = said(&mut site.build(&from, &[]));
    assert!(progress.contains(&format!("pulling {base}")), "{progress}");
    assert!(
        progress.contains("resolved") && progress.contains(" done"),
        "{progress}"
    );
    assert!(site.has(b"the first content"));

    // What is here is not asked for again, unless it is wanted.
    let asked = registry.count("/manifests/");
    said(&mut site.build(&from, &[]));
    assert_eq!(registry.count("/manifests/"), asked);
    registry.image("v1", &[layer("second", b"the second content")]);
    said(&mut site.build(&from, &[]));
    assert!(site.has(b"the first content"));
    let progress = said(&mut site.build(&from, &["--pull"]));
    assert!(progress.contains(&format!("pulling {base}")), "{progress}");
    assert!(site.has(b"the second content"));
}

#[test]
fn a_mirror_stands_in_for_the_registry() {
    let site = Site::new();
    let mirror = Fake::start();
    mirror.image("v1", &[layer("file", b"from the mirror")]);
    let hosts = site.dir.path().join("data/certs.d/registry.example.test");
    std::fs::create_dir_all(&hosts).unwrap();
    let text = format!(
        "[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        mirror.address
    );
    std::fs::write(hosts.join("hosts.toml"), text).unwrap();
    let dockerfile = "FROM scratch\nCOPY --from=registry.example.test/team/base:v1 /file /file\n";
    said(&mut site.build(dockerfile, &[]));
    assert!(site.has(b"from the mirror"));
}

/// A web server with one file, also behind a redirect, that remembers the first line of each request. As a proxy it
/// gives that file for every address.
fn web(content: &'static [u8]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = seen.clone();
            std::thread::spawn(move || answer(stream, content, &seen));
        }
    });
    (address, asked)
}

fn answer(stream: TcpStream, content: &[u8], seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    seen.lock().unwrap().push(head.clone());
    let moved = "HTTP/1.1 302 Found\r\nLocation: /files/data.bin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let mut stream = stream;
    let sent = match () {
        () if head.starts_with("CONNECT ") => stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
        () if head.contains("/moved ") => stream.write_all(moved.as_bytes()),
        () => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nLast-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\n\
                 Connection: close\r\n\r\n",
                content.len()
            );
            stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(content))
        }
    };
    let _ = sent.and_then(|()| stream.flush());
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = reader.read_to_end(&mut Vec::new());
}

#[test]
fn files_of_the_web_come_directly_or_through_a_proxy() {
    let site = Site::new();
    let (address, asked) = web(b"what the web has");
    let digest = hex::encode(sha2::Sha256::digest(b"what the web has"));
    let checked = format!("FROM scratch\nADD --checksum=sha256:{digest} http://{address}/moved /data.bin\n");
    said(&mut site.build(&checked, &[]));
    assert!(site.has(b"what the web has"));
    assert_eq!(asked.lock().unwrap().len(), 2, "the redirect and the file");

    // A name that only the proxy knows.
    let (proxy, asked) = web(b"what the proxy has");
    let far = "FROM scratch\nADD http://files.example.test/far.bin /\n";
    let mut through = site.build(far, &[]);
    through.env("http_proxy", format!("http://me:secret@{proxy}"));
    said(&mut through);
    assert!(site.has(b"what the proxy has"));
    let first = asked.lock().unwrap()[0].to_lowercase();
    assert!(
        first.starts_with("get http://files.example.test/far.bin http/1.1"),
        "{first}"
    );
    assert!(first.contains("proxy-authorization: basic bwu6c2vjcmv0"), "{first}");

    // With TLS it is asked for a tunnel; this one has none.
    let mut tunnel = site.build("FROM scratch\nADD https://files.example.test/far.bin /\n", &[]);
    tunnel.env("HTTPS_PROXY", &proxy);
    let refused = text(&output(&mut tunnel));
    assert!(
        refused.contains("403 Forbidden") && refused.contains(&proxy),
        "{refused}"
    );
    let last = asked.lock().unwrap().last().cloned().unwrap();
    assert!(last.starts_with("CONNECT files.example.test:443 HTTP/1.1"), "{last}");

    // Excepted, the name is looked for here, where it isn't.
    let mut direct = site.build("FROM scratch\nADD http://files.example.test/other.bin /\n", &[]);
    direct.env("http_proxy", &proxy).env("no_proxy", "example.test");
    let before = asked.lock().unwrap().len();
    assert!(!output(&mut direct).status.success());
    assert_eq!(asked.lock().unwrap().len(), before);
}
