//! The server under test, which this test starts, kills and starts again, and requests to it. Who asks never asks twice:
//! what became of a request without an answer is found out by reading.

use std::process::Child;
use std::time::{Duration, Instant};

use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::cluster::Cluster;
use tokio::sync::watch;

use crate::stage::{self, PATIENCE};

/// A life of the server, from one start to its end.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) number: u64,
    /// Connections of this life only, so that none of an earlier one is in the way.
    pub(crate) client: Client,
}

pub(crate) struct Server {
    cluster: Cluster,
    child: Option<Child>,
    lives: watch::Sender<Option<Life>>,
    count: u64,
    /// How often it has ended by itself.
    pub(crate) deaths: u32,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self {
            cluster: stage::cluster(),
            child: None,
            lives: watch::Sender::new(None),
            count: 0,
            deaths: 0,
        }
    }

    /// Tells of each new life.
    pub(crate) fn lives(&self) -> watch::Receiver<Option<Life>> {
        self.lives.subscribe()
    }

    /// Starts the process, with failpoints.
    pub(crate) fn spawn(&mut self, failpoints: &str) {
        assert!(self.child.is_none());
        self.child = Some(self.cluster.foreground("server", failpoints));
    }

    /// Waits until the server is ready; None when it has ended before.
    pub(crate) async fn ready(&mut self) -> Option<Client> {
        let began = Instant::now();
        let mut client = None;
        while self.is_running() {
            assert!(
                began.elapsed() < PATIENCE,
                "the server isn't ready: {}",
                self.cluster.logs(40)
            );
            if client.is_none() && self.cluster.kubeconfig().exists() {
                client = Some(connect(&self.cluster).await);
            }
            if let Some(client) = &client
                && let Ok(answer) = send(client, Method::GET, "/readyz", "", None).await
                && answer.code == 200
            {
                self.count += 1;
                let life = Life {
                    number: self.count,
                    client: client.clone(),
                };
                self.lives.send_replace(Some(life));
                return Some(client.clone());
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        None
    }

    /// Whether the process has not ended by itself.
    pub(crate) fn is_running(&mut self) -> bool {
        let Some(child) = &mut self.child else {
            return false;
        };
        if child.try_wait().unwrap().is_some() {
            self.child = None;
            self.deaths += 1;
        }
        self.child.is_some()
    }

    /// Whether it is ending by itself: its connections end before it does.
    pub(crate) async fn dies(&mut self) -> bool {
        let began = Instant::now();
        while self.is_running() && began.elapsed() < Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        !self.is_running()
    }

    /// SIGKILL, unless it has ended by then.
    pub(crate) fn kill(&mut self) {
        if self.is_running()
            && let Some(mut child) = self.child.take()
        {
            kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn connect(cluster: &Cluster) -> Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let file = Kubeconfig::read_from(cluster.kubeconfig()).expect("the administrator's kubeconfig");
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(file, &options)
        .await
        .expect("a usable kubeconfig");
    // A client that repeats a request hides what became of the first one.
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

/// One request. An error is a connection that ended before the answer was whole.
pub(crate) async fn send(
    client: &Client,
    method: Method,
    path: &str,
    content: &str,
    body: Option<&Value>,
) -> Result<Answer, kube::Error> {
    let mut request = Request::builder().method(method).uri(path);
    if !content.is_empty() {
        request = request.header("content-type", content);
    }
    let bytes = body.map_or(Vec::new(), |body| serde_json::to_vec(body).unwrap());
    let response = client.send(request.body(bytes.into()).unwrap()).await?;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await?.to_bytes();
    let body =
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Ok(Answer { code, body })
}

/// Reads what must be there.
pub(crate) async fn get(client: &Client, path: &str) -> Result<Value, String> {
    match send(client, Method::GET, path, "", None).await {
        Ok(Answer { code: 200, body }) => Ok(body),
        Ok(answer) => Err(format!("GET {path}: {answer:?}")),
        Err(error) => Err(format!("GET {path}: {error}")),
    }
}
