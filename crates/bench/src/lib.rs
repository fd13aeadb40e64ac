//! `gantry bench`: how long things take and what they cost, measured from outside, by any client's means.
//!
//! It knows a kubeconfig and nothing of Gantry's insides, so that other clusters are measured by the very same command.
//! The result is one JSON document on stdout; progress goes to stderr. Whatever it makes lies in a namespace of its own
//! that it removes again. No figure is estimated here: what could not be measured is absent.

mod api;
mod args;
mod connect;
mod cpu;
mod http_client;
mod memory;
mod namespace;
mod pods;
mod pull;
mod report;
mod ttv;

pub use args::{ApiArgs, ClusterArgs, Command, PodsArgs, ProcessArgs, PullArgs, TtvArgs};

/// Measures what the command asks for and prints the result as JSON.
pub async fn run(command: Command) -> anyhow::Result<()> {
    let result = match command {
        Command::Ttv(args) => Box::pin(ttv::run(&args)).await?,
        Command::Pull(args) => Box::pin(pull::run(&args)).await?,
        Command::Pods(args) => Box::pin(pods::run(&args)).await?,
        Command::Api(args) => Box::pin(api::run(&args)).await?,
    };
    report::print(&result)
}
