//! `bench api`: what the API does a second. Each measurement has its file; they run one after another in one namespace:
//! the objects are made, read, listed, changed and watched, then more are made against the clock, and all are deleted.
//!
//! The order matters: a list must hold exactly the objects asked for, so the measurement of creates comes after it.

mod create;
mod delete;
mod get;
mod list;
mod load;
mod objects;
mod update;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde_json::{Map, Value, json};

use crate::args::{ApiArgs, ProcessArgs};
use crate::http_client::Target;
use crate::report;
use crate::{connect, cpu, memory, namespace};
use objects::Objects;

/// What every measurement needs.
struct Bench<'a> {
    args: &'a ApiArgs,
    target: Arc<Target>,
    objects: Objects,
}

impl Bench<'_> {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.args.seconds)
    }

    fn clients(&self) -> usize {
        self.args.clients as usize
    }
}

/// Measures it all.
pub(crate) async fn run(args: &ApiArgs) -> anyhow::Result<Value> {
    let config = connect::config(&args.cluster).await?;
    let client = connect::client(&config)?;
    let target = Arc::new(connect::target(&config)?);
    let setting = report::setting(&client).await;
    let results = within(args, &client, target).await?;
    Ok(json!({
        "bench": "api",
        "setting": setting,
        "clients": args.clients,
        "list_clients": args.list_clients,
        "seconds": args.seconds,
        "size": args.size,
        "objects": args.objects,
        "results": results,
    }))
}

async fn within(args: &ApiArgs, client: &Client, target: Arc<Target>) -> anyhow::Result<Map<String, Value>> {
    namespace::within(client, "api", |namespace| async move {
        let bench = Bench {
            args,
            target,
            objects: Objects::new(&namespace, args.size as usize),
        };
        let mut results = Map::new();
        put_memory(&mut results, "memory_before", &args.processes);
        phase(&mut results, "fill", args, create::fill(&bench)).await?;
        put_memory(&mut results, "memory_with_objects", &args.processes);
        phase(&mut results, "gets", args, get::measure(&bench)).await?;
        phase(&mut results, "lists", args, list::measure(&bench)).await?;
        phase(&mut results, "updates", args, update::measure(&bench)).await?;
        if args.watchers > 0 {
            phase(&mut results, "watch", args, watch::measure(&bench)).await?;
        }
        phase(&mut results, "creates", args, create::measure(&bench)).await?;
        put_memory(&mut results, "memory_after_writes", &args.processes);
        // One by one, and timed as well: the namespace's own removal may take a slow server many minutes.
        phase(&mut results, "deletes", args, delete::measure(&bench)).await?;
        put_memory(&mut results, "memory_after", &args.processes);
        Ok(results)
    })
    .await
}

/// Runs one measurement and adds the CPU time that the server's processes used meanwhile.
async fn phase(
    results: &mut Map<String, Value>,
    name: &str,
    args: &ApiArgs,
    work: impl Future<Output = anyhow::Result<Value>>,
) -> anyhow::Result<()> {
    let before = cpu::used_ms(&args.processes);
    let mut result = Box::pin(work).await?;
    let after = cpu::used_ms(&args.processes);
    if let (Some(before), Some(after), Some(fields)) = (before, after, result.as_object_mut()) {
        fields.insert("cpu_ms".to_owned(), json!(after.saturating_sub(before)));
    }
    report::progress(format!("{name}: {result}"));
    results.insert(name.to_owned(), result);
    Ok(())
}

fn put_memory(results: &mut Map<String, Value>, name: &str, processes: &ProcessArgs) {
    if let Some(memory) = memory::sample(processes) {
        results.insert(name.to_owned(), json!(memory));
    }
}
