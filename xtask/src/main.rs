//! Repository chores: what a developer or CI runs that is no part of the product. One file per chore.

mod schema;
mod tidy;

use clap::Parser;

/// Repository chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Chore {
    /// Check what compilers don't: which room may use which, module docs, file and function lengths.
    Tidy,
    /// Make the schema table anew from what Kubernetes publishes.
    Schema,
}

fn main() -> anyhow::Result<()> {
    match Chore::parse() {
        Chore::Tidy => tidy::run(),
        Chore::Schema => schema::run(),
    }
}
