//! What a real kube-apiserver answered, and what ours does: the stored defaults and the columns of every kind, conflicts,
//! immutability and validation errors to the letter. `cargo xtask golden` asks the real one anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use server::User;
use testkit::golden::{Question, Reply, answer, differences, questions};

use crate::world::World;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/golden")
}

/// Asks a file's questions, in their order, of a server that nobody has used before.
async fn compare(name: &str) {
    let read = |name: String| fs::read_to_string(directory().join(name)).unwrap();
    let asked = questions(&read(format!("{name}.json")));
    let answers = read(format!("{name}.answers.jsonl"));
    let answers: Vec<Value> = answers
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        asked.len(),
        answers.len(),
        "`cargo xtask golden {name}` records the answers"
    );
    // What isn't right yet, by the number of the question; the list only shrinks.
    let known: BTreeSet<usize> = read(format!("{name}.known"))
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    let world = World::new().await;
    let mut mended = Vec::new();
    let mut wrong = Vec::new();
    for (number, (question, expected)) in asked.iter().zip(&answers).enumerate() {
        let found = answer(question, &ask(&world, question).await);
        let differs = differences(expected, &found);
        if differs.is_empty() && known.contains(&number) {
            mended.push(number);
        }
        if !differs.is_empty() && !known.contains(&number) {
            let head = format!("{name} {number}: {} {}", question.method, question.path);
            wrong.push(format!("{head}\n    {}", differs.join("\n    ")));
        }
    }
    assert!(mended.is_empty(), "{name}.known has what is right now: {mended:?}");
    assert!(
        wrong.is_empty(),
        "{} of {} differ\n{}",
        wrong.len(),
        asked.len(),
        wrong.join("\n")
    );
}

async fn ask(world: &World, question: &Question) -> Reply {
    let mut request = Request::builder()
        .method(question.method.as_str())
        .uri(&question.path)
        .header("accept", &question.accept)
        .header("user-agent", "golden/1");
    if !question.content.is_empty() {
        request = request.header("content-type", &question.content);
    }
    let body = Full::new(Bytes::from(question.body.clone()));
    let response = world.send(User::admin(), request.body(body).unwrap()).await;
    let (parts, body) = response.into_parts();
    let warnings = parts.headers.get_all("warning").iter();
    Reply {
        code: parts.status.as_u16(),
        warnings: warnings.map(|value| value.to_str().unwrap().to_owned()).collect(),
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}

#[tokio::test]
async fn every_kind() {
    compare("kinds").await;
}

#[tokio::test]
async fn what_is_invalid() {
    compare("invalid").await;
}

#[tokio::test]
async fn what_may_not_change() {
    compare("immutable").await;
}

#[tokio::test]
async fn conflicts() {
    compare("conflicts").await;
}
