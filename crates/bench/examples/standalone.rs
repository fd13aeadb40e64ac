//! The measurements as a program of their own, to measure a cluster without a whole Gantry at hand:
//! `cargo run -p bench --example standalone -- api --kubeconfig FILE`.

use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: bench::Command,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    bench::run(Line::parse().command).await
}
