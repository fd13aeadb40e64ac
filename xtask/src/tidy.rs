//! The tidy check: the house rules that a compiler doesn't know.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use cargo_metadata::MetadataCommand;

/// Rooms that must stay ignorant of what they serve, and what they must never depend on.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("meta", &["api", "store", "watch", "server", "client"]),
    (
        "store",
        &["api", "watch", "server", "client", "node", "k8s-openapi", "kube"],
    ),
    ("watch", &["api", "server", "client", "node", "k8s-openapi", "kube"]),
    ("api", &["store", "watch", "server", "client", "node", "kube"]),
    (
        "engine",
        &[
            "api",
            "store",
            "watch",
            "server",
            "client",
            "node",
            "k8s-openapi",
            "kube",
        ],
    ),
    (
        "image",
        &[
            "api",
            "store",
            "watch",
            "server",
            "client",
            "node",
            "k8s-openapi",
            "kube",
        ],
    ),
    (
        "registry",
        &[
            "api",
            "store",
            "watch",
            "server",
            "client",
            "node",
            "k8s-openapi",
            "kube",
        ],
    ),
    (
        "network",
        &[
            "api",
            "store",
            "watch",
            "server",
            "client",
            "node",
            "k8s-openapi",
            "kube",
        ],
    ),
    (
        "volume",
        &[
            "api",
            "store",
            "watch",
            "server",
            "client",
            "node",
            "k8s-openapi",
            "kube",
        ],
    ),
    (
        "dns",
        &[
            "api",
            "store",
            "watch",
            "server",
            "client",
            "node",
            "k8s-openapi",
            "kube",
        ],
    ),
    (
        "tunnel",
        &[
            "api",
            "store",
            "watch",
            "server",
            "client",
            "node",
            "k8s-openapi",
            "kube",
        ],
    ),
    (
        "spdy",
        &[
            "api",
            "store",
            "watch",
            "server",
            "client",
            "node",
            "k8s-openapi",
            "kube",
        ],
    ),
    ("controllers", &["store", "watch", "server", "node", "engine"]),
    ("scheduler", &["store", "watch", "server", "node", "engine"]),
    ("client", &["store", "watch", "server", "node"]),
    ("reconcile", &["store", "watch", "server", "node"]),
    ("node", &["store", "watch", "server"]),
    ("cli", &["store", "watch", "server"]),
];

/// Who may use the store at all: the store is behind the API for everyone else.
const STORE_USERS: &[&str] = &["server", "watch", "gantry", "testkit"];

const MAX_FILE_LINES: usize = 600;

/// Files over the limit that have a reason, one `path: reason` a line. The list only shrinks.
const LONG_FILES: &str = include_str!("long-files.txt");

/// Runs every check and fails with all findings at once.
pub(crate) fn run() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata")?;
    let root = metadata.workspace_root.as_std_path().to_path_buf();
    let mut findings = Vec::new();
    for package in &metadata.packages {
        check_directions(package, &mut findings);
        let dir = package.manifest_path.parent().context("a manifest has a directory")?;
        for file in rust_files(dir.as_std_path())? {
            check_file(&root, &file, &mut findings)?;
        }
    }
    if findings.is_empty() {
        println!("tidy: nothing to say");
        return Ok(());
    }
    let mut text = String::new();
    for finding in &findings {
        writeln!(text, "  {finding}")?;
    }
    bail!("tidy found {}:\n{text}", findings.len());
}

fn check_directions(package: &cargo_metadata::Package, findings: &mut Vec<String>) {
    let forbidden = FORBIDDEN
        .iter()
        .find(|(name, _)| *name == package.name.as_str())
        .map(|(_, list)| *list);
    for dependency in &package.dependencies {
        if dependency.kind != cargo_metadata::DependencyKind::Normal {
            continue;
        }
        if forbidden.is_some_and(|list| list.contains(&dependency.name.as_str())) {
            findings.push(format!("crate {} must not use {}", package.name, dependency.name));
        }
        let is_store = dependency.name == "store" && dependency.path.is_some();
        if is_store && !STORE_USERS.contains(&package.name.as_str()) {
            findings.push(format!(
                "crate {} must not use the store: it goes through the API",
                package.name
            ));
        }
    }
}

fn check_file(root: &Path, file: &Path, findings: &mut Vec<String>) -> anyhow::Result<()> {
    let shown = file.strip_prefix(root).unwrap_or(file).display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {shown}"))?;
    if !text.trim_start().starts_with("//!") {
        findings.push(format!(
            "{shown}: a module opens with a //! line that says what it is for"
        ));
    }
    let long: BTreeMap<&str, &str> = LONG_FILES.lines().filter_map(|line| line.split_once(": ")).collect();
    let lines = text.lines().count();
    match (lines > MAX_FILE_LINES, long.contains_key(shown.as_str())) {
        (true, false) => findings.push(format!("{shown}: {lines} lines; over {MAX_FILE_LINES} needs a reason")),
        (false, true) => findings.push(format!("{shown}: {lines} lines; take it off the list of long files")),
        _ => {}
    }
    Ok(())
}

fn rust_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
