//! `bench ttv`: time to value, step by step: from a start command to an API that answers and a node that is ready, and
//! from a manifest to the first HTTP 200.

mod application;
mod command;
mod ready;

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::args::TtvArgs;
use crate::{connect, namespace, report};
use command::Started;

/// Runs it as often as asked for.
pub(crate) async fn run(args: &TtvArgs) -> anyhow::Result<Value> {
    let mut runs = Vec::new();
    let mut setting = Value::Null;
    for number in 1..=args.runs {
        let mut steps = Map::new();
        let mut started = args.start.as_deref().map(Started::spawn).transpose()?;
        let result = one(args, started.as_mut(), &mut steps, &mut setting).await;
        if let Some(stop) = &args.stop {
            let began = Instant::now();
            let stopped = command::run(stop).await;
            // An error of the run says more than the one of the clearing up that follows from it.
            if result.is_ok() {
                stopped?;
            }
            put(&mut steps, "stop_ms", began.elapsed());
        }
        if let Some(started) = started {
            started.end().await;
        }
        result?;
        report::progress(format!(
            "run {number} of {}: {}",
            args.runs,
            Value::Object(steps.clone())
        ));
        runs.push(steps);
    }
    let (least, middle) = report::summary(&runs);
    Ok(json!({
        "bench": "ttv",
        "setting": setting,
        "start": args.start,
        "image": args.image,
        "runs": runs,
        "min": least,
        "median": middle,
    }))
}

async fn one(
    args: &TtvArgs,
    started: Option<&mut Started>,
    steps: &mut Map<String, Value>,
    setting: &mut Value,
) -> anyhow::Result<()> {
    let limit = Duration::from_secs(args.timeout);
    let mut total = Duration::ZERO;
    if let Some(started) = started {
        let began = started.began;
        started.alongside(limit, ready::api(&args.cluster)).await?;
        put(steps, "api_ms", began.elapsed());
        started.alongside(limit, ready::node(&args.cluster)).await?;
        total += began.elapsed();
        put(steps, "node_ready_ms", began.elapsed());
        if let Some(taken) = started.returned(limit).await? {
            put(steps, "start_command_ms", taken);
        }
    }
    if let Some(prepare) = &args.prepare {
        let began = Instant::now();
        command::run(prepare).await?;
        put(steps, "prepare_ms", began.elapsed());
    }
    let config = connect::config(&args.cluster).await?;
    let client = connect::client(&config)?;
    if setting.is_null() {
        *setting = report::setting(&client).await;
    }
    let address = match &args.address {
        Some(address) => address.clone(),
        None => connect::host(&config.cluster_url)?.to_owned(),
    };
    let application = application::Application {
        image: &args.image,
        port: args.port,
        address: &address,
    };
    let (client, application) = (&client, &application);
    let times = namespace::within(client, "ttv", |namespace| async move {
        namespace::accounts(client, &namespace, limit).await?;
        application.deploy(client.clone(), &namespace, limit).await
    })
    .await?;
    put(steps, "applied_ms", times.applied);
    put(steps, "available_ms", times.available);
    put(steps, "first_200_ms", times.answered);
    put(steps, "total_ms", total + times.answered);
    Ok(())
}

fn put(steps: &mut Map<String, Value>, name: &str, taken: Duration) {
    steps.insert(name.to_owned(), report::of_duration(taken));
}
