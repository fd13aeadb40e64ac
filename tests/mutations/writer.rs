//! One who writes: takes one of its objects, does one of all things that can be done to it, and keeps account of what
//! was acknowledged. It goes on until the server is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use kube::Client;
use serde_json::{Value, json};
use testkit::seed::Seed;

use super::deeds::{self, Ask};
use super::ledger::{Change, Expect, Known, Record, Way, items};
use super::server::{self, Answer};
use super::sorts::{SIDE, Sort, WRITER, has, revision, side};

/// The newest revision that anybody was told, and the number of the next write.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) told: AtomicU64,
    marks: AtomicU64,
}

pub(crate) struct Writer {
    pub(crate) sort: &'static Sort,
    pub(crate) name: String,
    pub(crate) changes: Vec<Change>,
    /// How many writes were acknowledged, of each deed.
    pub(crate) tally: BTreeMap<&'static str, u64>,
    records: Vec<Record>,
    /// The number of a creation that wasn't answered, of an object whose name the server chooses.
    unnamed: Option<u64>,
    counters: Arc<Counters>,
    seed: Seed,
}

/// The server is gone, or what it did can't be known.
struct Unknown {
    gone: bool,
}

impl Counters {
    pub(crate) fn mark(&self) -> u64 {
        self.marks.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// An answer's revision is newer than all that was told before it was asked for.
    pub(crate) fn tell(&self, before: u64, now: u64, what: &str) {
        assert!(
            now > before,
            "{what} is at {now}, and {before} was told before it began"
        );
        self.told.fetch_max(now, Ordering::SeqCst);
    }
}

impl Writer {
    pub(crate) fn new(sort: &'static Sort, counters: &Arc<Counters>, seed: Seed) -> Self {
        let name = format!("of-{}", sort.plural);
        let record = |number| Record::new(sort, &format!("{name}-{number}"), false);
        Self {
            sort,
            changes: Vec::new(),
            tally: BTreeMap::new(),
            records: (0..sort.objects).map(record).collect(),
            unnamed: None,
            counters: Arc::clone(counters),
            seed,
            name,
        }
    }

    /// Writes until the server is gone.
    pub(crate) async fn run(&mut self, client: &Client) {
        loop {
            let done = match self.seed.below(20) {
                0 => self.generate(client).await,
                1 => self.delete_collection(client).await,
                _ => self.one(client).await,
            };
            match done {
                Ok(()) => {}
                Err(Unknown { gone: true }) => return,
                Err(Unknown { gone: false }) => {
                    let list = format!("{}?labelSelector={WRITER}={}", self.sort.collection(), self.name);
                    match server::send(client, Method::GET, &list, "", None).await {
                        Ok(Answer { code: 200, body }) => self.settle(&items(self.sort, &body)).unwrap(),
                        Ok(answer) => panic!("GET {list}: {answer:?}"),
                        Err(_) => return,
                    }
                }
            }
        }
    }

    /// Holds what is there against the account; see [`Record::settle`].
    pub(crate) fn settle(&mut self, found: &[(String, Value)]) -> Result<(), String> {
        let mut found: BTreeMap<&str, &Value> = found
            .iter()
            .filter(|(_, object)| object["metadata"]["labels"][WRITER] == self.name.as_str())
            .map(|(key, object)| (key.as_str(), object))
            .collect();
        for record in &mut self.records {
            let object = found.remove(record.key.as_str());
            self.changes.extend(record.settle(self.sort, object)?);
        }
        let unnamed = self.unnamed.take().map(|mark| self.sort.marked(mark));
        for (key, object) in found {
            if !unnamed.as_ref().is_some_and(|part| has(object, part)) {
                return Err(format!("{key} is nobody's: {object}"));
            }
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let mut record = Record::new(self.sort, name, true);
            record.pending = unnamed.clone().map(Expect::Has);
            self.changes.extend(record.settle(self.sort, Some(object))?);
            self.records.push(record);
        }
        self.records
            .retain(|record| !record.generated || record.known.is_some());
        Ok(())
    }

    /// Whether nothing is on its way out any more.
    pub(crate) fn is_settled(&self) -> bool {
        let swept = |known: &Known| known.way == Way::Swept;
        !self
            .records
            .iter()
            .any(|record| record.known.as_ref().is_some_and(swept))
    }

    async fn one(&mut self, client: &Client) -> Result<(), Unknown> {
        let at = self.seed.below(self.records.len() as u64) as usize;
        let needs_body = |known: &Known| known.way != Way::Swept && known.body.is_none();
        if self.records[at].known.as_ref().is_some_and(needs_body) {
            return self.look(client, at).await;
        }
        let mark = self.counters.mark();
        let record = &self.records[at];
        let Some(ask) = deeds::choose(self.sort, &self.name, record, mark, &mut self.seed) else {
            return self.look(client, at).await;
        };
        self.records[at].pending = Some(ask.expect.clone());
        let before = self.counters.told.load(Ordering::SeqCst);
        let Some(answer) = self.ask(client, &ask).await? else {
            self.records[at].pending = None;
            return Ok(());
        };
        let record = &mut self.records[at];
        record.pending = None;
        let changes = record.told(self.sort, ask.expect, &answer);
        self.tell(before, changes);
        Ok(())
    }

    /// Reads an object of which more must be known.
    async fn look(&mut self, client: &Client, at: usize) -> Result<(), Unknown> {
        let record = &mut self.records[at];
        let path = self.sort.path(&record.name);
        let answer = server::send(client, Method::GET, &path, "", None).await;
        let answer = answer.map_err(|_| Unknown { gone: true })?;
        let found = match answer.code {
            200 => Some(&answer.body),
            404 => None,
            code => panic!("GET {path}: {code} {}", answer.body),
        };
        self.changes.extend(record.settle(self.sort, found).unwrap());
        if let (Some(known), Some(found)) = (&mut record.known, found) {
            // What controllers write as well is of use also when it isn't the last word.
            known.body = Some(found.clone());
        }
        self.records
            .retain(|record| !record.generated || record.known.is_some());
        Ok(())
    }

    /// Creates an object without saying its name.
    async fn generate(&mut self, client: &Client) -> Result<(), Unknown> {
        if self.records.len() > self.sort.objects + 1 {
            return Ok(());
        }
        let mark = self.counters.mark();
        let mut object = self.sort.object("", &self.name, mark);
        object["metadata"]["generateName"] = format!("{}-", self.name).into();
        let ask = Ask {
            deed: "create with a generated name",
            method: Method::POST,
            path: self.sort.collection(),
            content: "application/json",
            body: Some(object),
            expect: Expect::Has(self.sort.marked(mark)),
            refused: None,
        };
        self.unnamed = Some(mark);
        let before = self.counters.told.load(Ordering::SeqCst);
        let answer = self.ask(client, &ask).await?.expect("a creation isn't refused");
        self.unnamed = None;
        let name = answer["metadata"]["name"].as_str().unwrap_or_default();
        assert!(name.len() > self.name.len() + 1, "no name was generated: {answer}");
        let mut record = Record::new(self.sort, name, true);
        let changes = record.told(self.sort, ask.expect, &answer);
        self.records.push(record);
        self.tell(before, changes);
        Ok(())
    }

    /// Deletes those of its objects that are in one half, of kinds of which nothing is left when they are deleted.
    async fn delete_collection(&mut self, client: &Client) -> Result<(), Unknown> {
        let half = side(self.seed.below(2));
        if self.sort.shared || matches!(self.sort.kind, "Pod" | "Service") || !self.is_settled() {
            return Ok(());
        }
        let matched: Vec<usize> = (0..self.records.len())
            .filter(|at| {
                let known = self.records[*at].known.as_ref();
                known.is_some_and(|known| known.must["metadata"]["labels"][SIDE] == half)
            })
            .collect();
        for at in &matched {
            let record = &mut self.records[*at];
            let known = record.known.as_ref();
            record.pending = known.map(|known| match known.way {
                Way::Stays if deeds::is_held(known) => Expect::Leaving,
                Way::Stays => Expect::Gone,
                _ => Expect::Nothing,
            });
        }
        let ask = Ask {
            deed: "delete a collection",
            method: Method::DELETE,
            path: format!(
                "{}?labelSelector={WRITER}={},{SIDE}={half}",
                self.sort.collection(),
                self.name
            ),
            content: "",
            body: None,
            expect: Expect::Nothing,
            refused: None,
        };
        self.ask(client, &ask).await?;
        for at in matched {
            let record = &mut self.records[at];
            if let Some(expect) = record.pending.take() {
                // The answer is about all of them, and none of it is needed.
                let changes = record.told(self.sort, expect, &json!({"kind": "Status"}));
                self.changes.extend(changes);
            }
        }
        self.records
            .retain(|record| !record.generated || record.known.is_some());
        Ok(())
    }

    /// Sends it; None when it was refused as it had to be.
    async fn ask(&mut self, client: &Client, ask: &Ask) -> Result<Option<Value>, Unknown> {
        let answer = server::send(client, ask.method.clone(), &ask.path, ask.content, ask.body.as_ref()).await;
        let answer = answer.map_err(|_| Unknown { gone: true })?;
        let refused = || {
            panic!(
                "{} {}: {} {}, asked {:?}",
                ask.deed, ask.path, answer.code, answer.body, ask.body
            )
        };
        match answer.code {
            // The server has failed at a point where it was made to; it may have done it or not.
            500 => return Err(Unknown { gone: false }),
            200 | 201 if ask.refused.is_none() => {}
            // Who writes over a revision that a controller has overtaken.
            409 if self.sort.shared && ask.refused.is_none() => return Ok(None),
            code if ask.refused == Some(code) => {}
            _ => refused(),
        }
        *self.tally.entry(ask.deed).or_default() += 1;
        Ok(ask.refused.is_none().then_some(answer.body))
    }

    fn tell(&mut self, before: u64, changes: Vec<Change>) {
        for change in &changes {
            if let Some(now) = change.revision {
                self.counters.tell(before, now, &change.key);
            }
        }
        self.changes.extend(changes);
    }
}

/// One of several that count up the same object, each only when nobody was faster.
pub(crate) struct Contender {
    /// Value and revision of each increment that was acknowledged.
    pub(crate) told: Vec<(u64, u64)>,
    counters: Arc<Counters>,
}

/// The object that contenders count up.
pub(crate) const COUNTER: &str = "/api/v1/namespaces/default/configmaps/counter";

impl Contender {
    pub(crate) fn new(counters: &Arc<Counters>) -> Self {
        Self {
            told: Vec::new(),
            counters: Arc::clone(counters),
        }
    }

    /// Counts until the server is gone.
    pub(crate) async fn run(&mut self, client: &Client) {
        loop {
            let Ok(found) = server::send(client, Method::GET, COUNTER, "", None).await else {
                return;
            };
            assert_eq!(found.code, 200, "{}", found.body);
            let mut map = found.body;
            let next = count(&map) + 1;
            map["data"]["count"] = next.to_string().into();
            let before = self.counters.told.load(Ordering::SeqCst);
            match server::send(client, Method::PUT, COUNTER, "application/json", Some(&map)).await {
                Ok(Answer { code: 200, body }) => {
                    let now = revision(&body);
                    self.counters.tell(before, now, "the counter");
                    self.told.push((next, now));
                }
                Ok(Answer { code: 409 | 500, .. }) => {}
                Ok(answer) => panic!("the counter: {answer:?}"),
                Err(_) => return,
            }
        }
    }
}

/// How far it was counted.
pub(crate) fn count(map: &Value) -> u64 {
    let text = map["data"]["count"].as_str().unwrap_or_default();
    text.parse().unwrap_or_else(|_| panic!("no count in {map}"))
}
