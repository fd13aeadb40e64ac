//! `/version`.

use serde_json::{Value, json};

/// The Kubernetes release whose behaviour is the contract.
const MAJOR: &str = "1";
const MINOR: &str = "37";
const PATCH: &str = "2";

/// The release with our own version behind it.
pub(crate) fn git_version() -> String {
    format!("v{MAJOR}.{MINOR}.{PATCH}+gantry.{}", env!("CARGO_PKG_VERSION"))
}

/// What clients decide by.
pub(crate) fn info() -> Value {
    json!({
        "major": MAJOR,
        "minor": MINOR,
        "emulationMajor": MAJOR,
        "emulationMinor": MINOR,
        "minCompatibilityMajor": MAJOR,
        "minCompatibilityMinor": MINOR,
        "gitVersion": git_version(),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    })
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
