//! Makes the schema table: joins what Kubernetes publishes about its types into `crates/api/schema/v1.37.txt`.
//!
//! Facts only, never prose: protobuf tags and types come from the `generated.proto` files of five Go modules, JSON names
//! and how Go holds a field from the struct tags beside them, list types, keys and required fields from the definitions
//! that the PyPI package `kubernetes-validate` carries. Needs the Go client and Python's pip.

mod golang;
mod join;
mod proto;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// Where each Go module's packages begin, and the modules.
const MODULES: [&str; 5] = [
    "k8s.io/apimachinery",
    "k8s.io/api",
    "k8s.io/apiextensions-apiserver",
    "k8s.io/kube-aggregator",
    "k8s.io/metrics",
];
const VERSION: &str = "v0.37.2";
const DEFINITIONS: &str = "kubernetes-validate==1.37.0";
const OUTPUT: &str = "crates/api/schema/v1.37.txt";

/// Writes the table.
pub(crate) fn run() -> anyhow::Result<()> {
    let work = PathBuf::from("target/schema");
    std::fs::create_dir_all(&work).context("making target/schema")?;
    let definitions = definitions(&work)?;
    let mut packages = Vec::new();
    for module in MODULES {
        let root = module_dir(module)?;
        for dir in proto_dirs(&root)? {
            packages.push(read_package(&dir)?);
        }
    }
    let table = join::table(&packages, &definitions)?;
    std::fs::write(OUTPUT, &table).with_context(|| format!("writing {OUTPUT}"))?;
    println!(
        "{OUTPUT}: {} types, {} bytes",
        table.lines().filter(|line| line.starts_with("T ")).count(),
        table.len()
    );
    Ok(())
}

/// One Go package with its protobuf messages.
pub(crate) struct Package {
    /// The protobuf package, such as `k8s.io.api.core.v1`.
    pub(crate) name: String,
    /// The messages by name.
    pub(crate) messages: BTreeMap<String, proto::Message>,
    /// The Go types beside them.
    pub(crate) source: golang::Source,
}

fn read_package(dir: &Path) -> anyhow::Result<Package> {
    let text = std::fs::read_to_string(dir.join("generated.proto"))?;
    let (name, messages) = proto::parse(&text).with_context(|| dir.display().to_string())?;
    let mut source = golang::Source::default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_source = name.ends_with(".go") && !name.ends_with("_test.go") && !name.starts_with("generated.");
        if is_source && !name.starts_with("zz_") {
            source.read(&std::fs::read_to_string(&file)?);
        }
    }
    Ok(Package { name, messages, source })
}

/// The directory of a Go module, downloaded by the ordinary client.
pub(crate) fn module_dir(module: &str) -> anyhow::Result<PathBuf> {
    let query = format!("{module}@{VERSION}");
    let output = Command::new("go")
        .args(["mod", "download", "-json", &query])
        .current_dir(std::env::temp_dir())
        .output()
        .context("running the Go client (is go installed?)")?;
    let answer: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("go mod download {query}: {}", String::from_utf8_lossy(&output.stderr)))?;
    match answer.get("Dir").and_then(Value::as_str) {
        Some(dir) => Ok(PathBuf::from(dir)),
        None => bail!(
            "go mod download {query}: {}",
            answer.get("Error").unwrap_or(&Value::Null)
        ),
    }
}

fn proto_dirs(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut found, mut pending) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && name != "testapigroup" && name != "testdata" {
                pending.push(path);
            } else if name == "generated.proto" {
                found.push(dir.clone());
            }
        }
    }
    found.sort();
    Ok(found)
}

fn definitions(work: &Path) -> anyhow::Result<serde_json::Map<String, Value>> {
    let target = work.join("definitions");
    let file = target.join("kubernetes_validate/kubernetes-json-schema/v1.37.0-local/_definitions.json");
    if !file.exists() {
        let status = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(&target)
            .arg(DEFINITIONS)
            .status()
            .context("running pip (is python3 installed?)")?;
        if !status.success() {
            bail!("pip could not install {DEFINITIONS}");
        }
    }
    let document: Value = serde_json::from_slice(&std::fs::read(&file).with_context(|| file.display().to_string())?)?;
    let definitions = document
        .get("$defs")
        .or_else(|| document.get("definitions"))
        .and_then(Value::as_object);
    Ok(definitions.context("no definitions in the package")?.clone())
}
