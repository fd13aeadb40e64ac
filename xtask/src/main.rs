//! Repository chores: what a developer or CI runs that is no part of the product. One file per chore.

mod tidy;

use clap::Parser;

/// Repository chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Chore {
    /// Check what compilers don't: which room may use which, module docs, file and function lengths.
    Tidy,
}

fn main() -> anyhow::Result<()> {
    match Chore::parse() {
        Chore::Tidy => tidy::run(),
    }
}
