//! A server of the tests' own in the place of Gantry's, whose clock is wrong: to whoever joins it is the same as if the
//! joining machine's were.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest as _, Sha256};
use testkit::pool::Pool;

/// It ends with this value.
pub(crate) struct Otherwise {
    address: SocketAddr,
    token: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Otherwise {
    /// On a machine, with a certificate that is valid from a year on, and a date that it tells.
    pub(crate) fn start(pool: &Pool, machine: usize, valid_from: i32, date: &'static str) -> Self {
        let address = pool.world().machine(machine).address();
        let bind = || TcpListener::bind((address, 0));
        let listener = pool.world().machine(machine).namespace().run(bind).unwrap().unwrap();
        let (config, pin) = identity(&address.to_string(), valid_from);
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                match listener.accept() {
                    // Whoever doesn't like what it sees hangs up.
                    Ok((stream, _)) => drop(answer(stream, config.clone(), date)),
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        Self {
            address,
            token: format!("abcdef.0123456789abcdef.{pin}"),
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// A token that names its authority.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }
}

impl Drop for Otherwise {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A certificate for an address with its authority, and the authority's hash.
fn identity(address: &str, valid_from: i32) -> (Arc<ServerConfig>, String) {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let digest = Sha256::digest(authority_key.subject_public_key_info());
    let pin = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![address.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(valid_from, 1, 1);
    params.not_after = rcgen::date_time_ymd(valid_from + 50, 1, 1);
    let own = params.signed_by(&key, &issuer).unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![own.der().clone(), authority.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (Arc::new(config), pin)
}

/// Answers one request, whatever it asks.
fn answer(stream: TcpStream, config: Arc<ServerConfig>, date: &str) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let head = format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n{{}}").as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}
