//! The closed loop: some clients, each with a connection of its own, that send their next request when the last was
//! answered, until the time is over or there is nothing left to ask for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::http_client::{Call, Connection, Target};
use crate::report::{self, Latencies};

/// What may be spent beyond the measurement on connections and on last answers.
const GRACE: Duration = Duration::from_secs(90);
/// So many failures in a row end a client: the server is gone.
const FAILURES: u32 = 20;

/// What the clients did together.
pub(crate) struct Load {
    pub(crate) succeeded: u64,
    pub(crate) elapsed: Duration,
    bytes: u64,
    latencies: Latencies,
    errors: BTreeMap<String, u64>,
    first_error: Option<String>,
}

/// Lets `clients` ask for what their `script` says. A script is made for each client by its number.
pub(crate) async fn run<S>(
    target: &Arc<Target>,
    clients: usize,
    limit: Duration,
    script: impl Fn(usize) -> S,
) -> anyhow::Result<Load>
where
    S: FnMut() -> Option<Call> + Send + 'static,
{
    let start = Arc::new(Barrier::new(clients));
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        tasks.spawn(one(target.clone(), start.clone(), limit, script(number)));
    }
    let all = async {
        let mut sum = Load::new()?;
        while let Some(done) = tasks.join_next().await {
            sum.add(&done??)?;
        }
        Ok(sum)
    };
    tokio::time::timeout(limit + GRACE, all)
        .await
        .context("the server did not answer in time")?
}

async fn one<S>(target: Arc<Target>, start: Arc<Barrier>, limit: Duration, mut script: S) -> anyhow::Result<Load>
where
    S: FnMut() -> Option<Call> + Send,
{
    let opened = Connection::open(&target).await;
    start.wait().await;
    let mut connection = opened?;
    let mut load = Load::new()?;
    let began = Instant::now();
    let mut failures = 0;
    while began.elapsed() < limit {
        let Some(call) = script() else { break };
        let asked = Instant::now();
        match connection.exchange(call).await {
            Ok(answer) => match answer.error {
                None => {
                    failures = 0;
                    load.succeeded += 1;
                    load.bytes += answer.bytes;
                    load.latencies.record(asked.elapsed());
                }
                Some(text) => {
                    failures += 1;
                    load.fail(answer.status.as_str().to_owned(), text);
                }
            },
            Err(error) => {
                failures += 1;
                load.fail("connection".to_owned(), format!("{error:#}"));
                connection = Connection::open(&target).await?;
            }
        }
        if failures >= FAILURES {
            bail!(
                "{FAILURES} requests in a row failed; the first: {}",
                load.first_error.unwrap_or_default()
            );
        }
    }
    load.elapsed = began.elapsed();
    Ok(load)
}

impl Load {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            succeeded: 0,
            elapsed: Duration::ZERO,
            bytes: 0,
            latencies: Latencies::new()?,
            errors: BTreeMap::new(),
            first_error: None,
        })
    }

    fn fail(&mut self, kind: String, text: String) {
        *self.errors.entry(kind).or_default() += 1;
        self.first_error.get_or_insert(text);
    }

    fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.succeeded += other.succeeded;
        self.bytes += other.bytes;
        // They began together.
        self.elapsed = self.elapsed.max(other.elapsed);
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
        self.latencies.add(&other.latencies)
    }

    /// How many requests failed.
    pub(crate) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Ends the measurement when any request failed that others rely on.
    pub(crate) fn all_or_error(self) -> anyhow::Result<Self> {
        match &self.first_error {
            Some(error) => bail!("{} requests failed; the first: {error}", self.failed()),
            None => Ok(self),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut told = json!({
            "per_second": report::rate(self.succeeded, self.elapsed),
            "count": self.succeeded,
            "seconds": report::millis(self.elapsed.as_secs_f64()),
            "answer_bytes": self.bytes,
            "latency": self.latencies.to_json(),
            "errors": self.errors,
        });
        if let Some(error) = &self.first_error {
            told["first_error"] = json!(error);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_add_up() {
        let mut sum = Load::new().expect("bounds");
        let mut one = Load::new().expect("bounds");
        one.succeeded = 10;
        one.elapsed = Duration::from_secs(2);
        one.fail("429".to_owned(), "slow down".to_owned());
        sum.add(&one).expect("adds");
        sum.add(&one).expect("adds");
        assert_eq!(
            (sum.succeeded, sum.failed(), sum.elapsed),
            (20, 2, Duration::from_secs(2))
        );
        let told = sum.to_json();
        assert_eq!(told["per_second"], 10.0);
        assert_eq!(told["errors"]["429"], 2);
        assert_eq!(told["first_error"], "slow down");
        assert!(sum.all_or_error().is_err());
    }
}
