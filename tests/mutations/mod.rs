//! Every mutation under SIGKILL: writers of many kinds do all that can be done to objects while the server is killed at
//! random moments and at named points of its store, and started again. What was acknowledged is there, a write that
//! wasn't answered has happened wholly or not at all, revisions only grow, and each watcher that goes on after its last
//! revision sees each change once and in order.
//!
//! `GANTRY_TEST_SEED` and `GANTRY_TEST_ROUNDS` replay a run and make it longer.

mod course;
mod deeds;
mod ledger;
mod server;
mod sorts;
mod watcher;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::future::join_all;
use http::Method;
use kube::Client;
use serde_json::{Value, json};
use testkit::seed::Seed;

use self::course::{Course, Found};
use self::server::{Answer, Server, get, send};
use self::sorts::{SORTS, definition, revision};
use self::writer::{Contender, Counters, Writer};
use crate::stage::{PATIENCE, until};

const ROUNDS: usize = 100;
const SEED: &str = "GANTRY_TEST_SEED";
const COUNT: &str = "GANTRY_TEST_ROUNDS";
/// How many count up the same object.
const CONTENDERS: usize = 2;

/// What goes wrong in a round.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// SIGKILL after so many milliseconds of writing.
    Kill(u64),
    /// SIGKILL so many milliseconds after a start.
    Start(u64),
    /// A named point, at a hit.
    Point(&'static str, &'static str, u64),
}

const POINTS: &[(&str, &str)] = &[
    ("server.write.before-commit", "kill"),
    ("server.write.before-commit", "error"),
    ("server.write.after-commit", "kill"),
    ("server.write.after-commit", "error"),
    ("store.log.write", "kill"),
    ("store.log.write", "error"),
    ("store.log.sync", "kill"),
    ("store.log.sync", "error"),
    ("store.log.synced", "kill"),
];

struct Rounds {
    seed: Seed,
    server: Server,
    counters: Arc<Counters>,
    courses: Vec<Course>,
    writers: Vec<Writer>,
    contenders: Vec<Contender>,
    /// How many points were to kill.
    armed: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_under_sigkill() {
    let seed = Seed::new(SEED);
    let count = std::env::var(COUNT).map_or(ROUNDS, |text| text.parse().unwrap());
    let mut rounds = Rounds::start(seed).await;
    for number in 0..count {
        let began = Instant::now();
        let fault = rounds.fault();
        if let Err(why) = rounds.round(fault).await {
            panic!("round {number}, {fault:?}: {why}");
        }
        println!("round {number}: {fault:?}, {} ms", began.elapsed().as_millis());
    }
    rounds.end(count).await;
}

impl Rounds {
    async fn start(mut seed: Seed) -> Self {
        let mut server = Server::new();
        server.spawn("");
        let client = server.ready().await.expect("a server that starts");
        prepare(&client).await;
        let counters = Arc::new(Counters::default());
        let lives = server.lives();
        let mut courses = Vec::new();
        for sort in &SORTS {
            let fence = sort.object("fence", "none", counters.mark());
            create(&client, &sort.collection(), &fence).await;
            courses.push(Course::start(sort, &client, &lives, seed.fork()).await);
        }
        let written = SORTS.iter().filter(|sort| sort.objects > 0);
        Self {
            writers: written.map(|sort| Writer::new(sort, &counters, seed.fork())).collect(),
            contenders: (0..CONTENDERS).map(|_| Contender::new(&counters)).collect(),
            armed: 0,
            seed,
            server,
            counters,
            courses,
        }
    }

    fn fault(&mut self) -> Fault {
        match self.seed.below(10) {
            0..=4 => {
                // Now and then a life is long enough for bookmarks.
                let longest = if self.seed.below(25) == 0 { 1500 } else { 200 };
                Fault::Kill(self.seed.below(longest))
            }
            5 => Fault::Start(self.seed.below(200)),
            _ => {
                let (point, action) = *self.seed.pick(POINTS);
                let last = *self.seed.pick(&[8, 40, 150]);
                Fault::Point(point, action, 1 + self.seed.below(last))
            }
        }
    }

    /// One life of the server, in which what the last one left is looked at, and then written until it dies.
    async fn round(&mut self, fault: Fault) -> Result<(), String> {
        self.server.kill();
        let mut failpoints = String::new();
        let mut millis = 150;
        match fault {
            Fault::Kill(after) => millis = after,
            Fault::Start(after) => {
                self.server.spawn("");
                tokio::time::sleep(Duration::from_millis(after)).await;
                self.server.kill();
            }
            Fault::Point(point, action, hit) => {
                self.armed += u32::from(action == "kill");
                failpoints = format!("{point}={action}({hit})");
            }
        }
        self.server.spawn(&failpoints);
        let client = self.check().await?;
        self.write(&client, Duration::from_millis(millis)).await;
        Ok(())
    }

    /// Everybody writes until the server has died by itself or is killed.
    async fn write(&mut self, client: &Client, time: Duration) {
        let reaper = async {
            tokio::time::sleep(time).await;
            self.server.kill();
        };
        let writers = self.writers.iter_mut().map(|writer| writer.run(client));
        let contenders = self.contenders.iter_mut().map(|contender| contender.run(client));
        tokio::join!(reaper, join_all(writers), join_all(contenders));
    }

    /// Holds all that is there against all that was told. A server that dies meanwhile is started again.
    async fn check(&mut self) -> Result<Client, String> {
        loop {
            if let Some(client) = self.server.ready().await {
                match self.look(&client).await {
                    Ok(found) => {
                        self.hold(found)?;
                        return Ok(client);
                    }
                    Err(why) if !self.server.dies().await => return Err(why),
                    Err(_) => {}
                }
            }
            self.server.kill();
            self.server.spawn("");
        }
    }

    /// Reads the state of each kind, then writes something of each kind, and waits until its watchers have seen that.
    async fn look(&mut self, client: &Client) -> Result<Vec<Found>, String> {
        let mut found = Vec::new();
        for course in &self.courses {
            found.push(course.list(client).await?);
        }
        for (course, found) in self.courses.iter().zip(&mut found) {
            found.fence = self.fence(client, course).await?;
        }
        let again = self.seed.below(self.courses.len() as u64) as usize;
        found[again].replayed = Some(self.courses[again].replay(client, found[again].fence).await?);
        let seeing = join_all(
            self.courses
                .iter()
                .zip(&found)
                .map(|(course, found)| course.seen(found.fence)),
        );
        let dying = async {
            while self.server.is_running() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            _ = seeing => Ok(found),
            () = dying => Err("the server has died".into()),
        }
    }

    async fn fence(&self, client: &Client, course: &Course) -> Result<u64, String> {
        let sort = course.sort;
        loop {
            // Even: it is always in the half that one of the watchers sees.
            let patch = sort.marked(2 * self.counters.mark());
            let content = "application/merge-patch+json";
            let answer = send(client, Method::PATCH, &sort.path("fence"), content, Some(&patch)).await;
            match answer.map_err(|error| error.to_string())? {
                Answer { code: 200, body } => return Ok(revision(&body)),
                Answer { code: 500, .. } => {}
                answer => return Err(format!("the fence of {}: {answer:?}", sort.plural)),
            }
        }
    }

    fn hold(&mut self, all: Vec<Found>) -> Result<(), String> {
        let told = self.counters.told.load(Ordering::SeqCst);
        for (course, found) in self.courses.iter_mut().zip(all) {
            if found.revision < told {
                return Err(format!("a list at {}, and {told} was told", found.revision));
            }
            self.counters.told.fetch_max(found.fence, Ordering::SeqCst);
            if course.sort.kind == "Service" {
                addresses_are_different(&found)?;
            }
            let mut changes = Vec::new();
            let writer = self
                .writers
                .iter_mut()
                .find(|writer| writer.sort.kind == course.sort.kind);
            if let Some(writer) = writer {
                writer.settle(&found.items)?;
                changes = std::mem::take(&mut writer.changes);
            }
            let events = course.check(found, changes)?;
            if course.sort.kind == "ConfigMap" {
                course.counted(&events, &mut self.contenders)?;
            }
        }
        Ok(())
    }

    /// A last look, once nothing is on its way out any more.
    async fn end(&mut self, rounds: usize) {
        let began = Instant::now();
        self.server.spawn("");
        loop {
            self.check().await.unwrap();
            if self.writers.iter().all(Writer::is_settled) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "the collector leaves something");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let mut deeds: BTreeMap<&str, u64> = BTreeMap::new();
        let tallies = self.writers.iter().flat_map(|writer| &writer.tally);
        tallies.for_each(|(deed, count)| *deeds.entry(deed).or_default() += count);
        let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
        let tallies = self.courses.iter().flat_map(Course::tally);
        tallies.for_each(|(what, count)| *seen.entry(what).or_default() += count);
        let deaths = self.server.deaths;
        println!("answered as they must be: {deeds:#?}\nwatchers: {seen:#?}");
        println!("{deaths} deaths at {} points that kill", self.armed);
        // Which hit it is to be is random, and not all come; but a fault that never happens shows nothing.
        assert!(deaths * 3 >= self.armed, "few points were reached");
        let total: u64 = deeds.values().sum();
        assert!(total > 10 * rounds as u64, "only {total} writes in {rounds} rounds");
    }
}

/// What must be there before anybody writes.
async fn prepare(client: &Client) {
    create(
        client,
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        &definition(),
    )
    .await;
    let node =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "nowhere"}, "spec": {"unschedulable": true}});
    create(client, "/api/v1/nodes", &node).await;
    let mut counter = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "counter"}});
    counter["data"] = json!({"count": "0"});
    create(client, "/api/v1/namespaces/default/configmaps", &counter).await;
    for path in [
        "/apis/test.example.com/v1/widgets",
        "/api/v1/namespaces/default/serviceaccounts/default",
    ] {
        until(path, async || get(client, path).await.map(|_| ())).await;
    }
}

async fn create(client: &Client, path: &str, object: &Value) {
    let answer = send(client, Method::POST, path, "application/json", Some(object))
        .await
        .unwrap();
    assert_eq!(answer.code, 201, "{}", answer.body);
}

/// An address that was given twice is one that was freed, or not taken, by half of a write.
fn addresses_are_different(found: &Found) -> Result<(), String> {
    let mut taken = BTreeSet::new();
    let addresses = found
        .items
        .iter()
        .map(|(key, service)| (key, &service["spec"]["clusterIP"]));
    for (key, address) in addresses {
        if !taken.insert(address.as_str()) {
            return Err(format!("{key} has an address that another has: {address}"));
        }
    }
    Ok(())
}
