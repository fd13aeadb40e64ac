//! A registry of a few lines, which can be told to misbehave and remembers what it was asked.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use sha2::Digest as _;

/// What it was asked: path with query, headers with lower-case names.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) blobs: HashMap<String, Vec<u8>>,
    /// By tag and by digest: media type and bytes.
    pub(crate) manifests: HashMap<String, (String, Vec<u8>)>,
    pub(crate) asked: Vec<Asked>,
    /// How many bytes of a blob are sent before the connection is cut, once each.
    pub(crate) cuts: Vec<usize>,
    /// `Authorization` that is wanted.
    pub(crate) wants: Option<String>,
    /// The challenge for those who haven't it.
    pub(crate) challenge: String,
    /// What the token service gives, and the `Authorization` that it wants.
    pub(crate) token: Option<(String, Option<String>)>,
    /// Where blobs are instead.
    pub(crate) redirect: Option<String>,
    /// Don't know ranges.
    pub(crate) no_ranges: bool,
}

pub(crate) struct Fake {
    pub(crate) address: String,
    pub(crate) state: Arc<Mutex<State>>,
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

impl Fake {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    pub(crate) fn blob(&self, bytes: Vec<u8>) -> String {
        let digest = digest(&bytes);
        self.state.lock().unwrap().blobs.insert(digest.clone(), bytes);
        digest
    }

    pub(crate) fn manifest(&self, tag: &str, media_type: &str, bytes: Vec<u8>) -> String {
        let digest = digest(&bytes);
        let mut state = self.state.lock().unwrap();
        state
            .manifests
            .insert(digest.clone(), (media_type.to_string(), bytes.clone()));
        state.manifests.insert(tag.to_string(), (media_type.to_string(), bytes));
        digest
    }

    /// An image of layers, each as its tar and as it is stored. Returns the manifest's digest.
    pub(crate) fn image(&self, tag: &str, layers: &[(Vec<u8>, Vec<u8>)]) -> String {
        let diff_ids: Vec<String> = layers.iter().map(|(tar, _)| digest(tar)).collect();
        let config = serde_json::json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/x"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = config.to_string().into_bytes();
        let size = config.len();
        let config = self.blob(config);
        let listed: Vec<_> = layers
            .iter()
            .map(|(_, stored)| {
                serde_json::json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "size": stored.len(), "digest": self.blob(stored.clone())})
            })
            .collect();
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": media_type, "layers": listed,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": size, "digest": config}});
        self.manifest(tag, media_type, manifest.to_string().into_bytes())
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|asked| asked.path.contains(part)).count()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split_whitespace();
        let path = words.nth(1).unwrap_or_default().to_string();
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                break;
            }
            if let Some((name, value)) = line.trim().split_once(':') {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
            }
        }
        let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let asked = Asked { path, headers };
        let (head, body, cut) = {
            let mut state = state.lock().unwrap();
            state.asked.push(asked.clone());
            answer(&mut state, &asked)
        };
        let send = cut.unwrap_or(body.len()).min(body.len());
        let text = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
        if writer.write_all(text.as_bytes()).is_err() || writer.write_all(&body[..send]).is_err() || send < body.len() {
            return;
        }
    }
}

fn answer(state: &mut State, asked: &Asked) -> (String, Vec<u8>, Option<usize>) {
    let plain = |status: &str| (status.to_string(), Vec::new(), None);
    let sent = asked.headers.get("authorization");
    if asked.path.starts_with("/token") {
        return match &state.token {
            Some((token, wanted)) if wanted.as_ref() == sent => (
                "200 OK".to_string(),
                format!("{{\"token\":\"{token}\"}}").into_bytes(),
                None,
            ),
            _ => plain("401 Unauthorized"),
        };
    }
    if state.wants.is_some() && state.wants.as_ref() != sent {
        return plain(&format!("401 Unauthorized\r\nWWW-Authenticate: {}", state.challenge));
    }
    let path = asked.path.split('?').next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    if path.contains("/manifests/") {
        return match state.manifests.get(name) {
            Some((media_type, bytes)) => (format!("200 OK\r\nContent-Type: {media_type}"), bytes.clone(), None),
            None => plain("404 Not Found"),
        };
    }
    if !path.contains("/blobs/") {
        return plain("200 OK");
    }
    if let Some(to) = &state.redirect {
        return plain(&format!("307 Temporary Redirect\r\nLocation: {to}{path}"));
    }
    let Some(bytes) = state.blobs.get(name).cloned() else {
        return plain("404 Not Found");
    };
    let large = bytes.len() > 4096;
    let from = asked.headers.get("range").filter(|_| !state.no_ranges);
    let from = from.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let cut = if !large { None } else { state.cuts.pop() };
    match from {
        Some(from) => {
            let head = format!(
                "206 Partial Content\r\nContent-Range: bytes {from}-{}/{}",
                bytes.len() - 1,
                bytes.len()
            );
            (head, bytes[from..].to_vec(), cut)
        }
        None => ("200 OK".to_string(), bytes, cut),
    }
}
