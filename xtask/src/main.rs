//! Repository chores: what a developer or CI runs that is no part of the product. One file per chore.

mod clients;
mod conformance;
mod contest;
mod golden;
mod oracle;
mod oracle_codec;
mod oracle_merge;
mod oracle_rules;
mod oracle_types;
mod schema;
mod tidy;

use clap::Parser;

/// Repository chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Chore {
    /// Run the tests that need other people's programs: kubectl, runc.
    Clients(clients::Arguments),
    /// Run Kubernetes' conformance suite against a throw-away Gantry, and write docs/conformance.md.
    Conformance(conformance::Arguments),
    /// Run the engine against runc.
    Contest,
    /// Ask a real kube-apiserver what ours is compared with.
    Golden(golden::Arguments),
    /// Check what compilers don't: which room may use which, module docs, file and function lengths.
    Tidy,
    /// Check the codecs against the vectors that Kubernetes publishes.
    OracleCodec,
    /// Compare patches and apply with Kubernetes' own libraries on random objects.
    OracleMerge(oracle_merge::Arguments),
    /// Ask Kubernetes' own code the questions that the rules are tested by.
    OracleRules,
    /// Ask Kubernetes' own code what it makes of the types in admission policies.
    OracleTypes,
    /// Make the schema table anew from what Kubernetes publishes.
    Schema,
}

fn main() -> anyhow::Result<()> {
    match Chore::parse() {
        Chore::Clients(arguments) => clients::run(&arguments),
        Chore::Conformance(arguments) => conformance::run(&arguments),
        Chore::Contest => contest::run(),
        Chore::Golden(arguments) => golden::run(&arguments),
        Chore::Tidy => tidy::run(),
        Chore::OracleCodec => oracle_codec::run(),
        Chore::OracleMerge(arguments) => oracle_merge::run(&arguments),
        Chore::OracleRules => oracle_rules::run(),
        Chore::OracleTypes => oracle_types::run(),
        Chore::Schema => schema::run(),
    }
}
