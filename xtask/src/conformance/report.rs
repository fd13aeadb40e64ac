//! Reads the runner's report: what became of each spec. It knows nothing of files or of how the suite was started.

use anyhow::{Context as _, bail, ensure};
use jiff::Timestamp;
use serde::Deserialize;

/// A spec of the conformance suite.
#[derive(Debug)]
pub(super) struct Spec {
    /// All of its text, as `--focus` sees it.
    pub(super) name: String,
    pub(super) mark: Mark,
    /// Why it failed.
    pub(super) why: String,
    /// The line that it failed at.
    pub(super) place: String,
    /// What it said of its steps.
    pub(super) output: String,
    pub(super) began: Timestamp,
    pub(super) ended: Timestamp,
}

/// What became of a spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Passed,
    Failed,
    NotRun,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    spec_reports: Option<Vec<Leaf>>,
    #[serde(default)]
    special_suite_failure_reasons: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Leaf {
    container_hierarchy_texts: Option<Vec<String>>,
    container_hierarchy_labels: Option<Vec<Option<Vec<String>>>>,
    leaf_node_type: String,
    leaf_node_labels: Option<Vec<String>>,
    leaf_node_text: String,
    state: String,
    start_time: Timestamp,
    end_time: Timestamp,
    failure: Option<Failure>,
    #[serde(default)]
    captured_ginkgo_writer_output: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    message: String,
    location: Location,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Location {
    #[serde(default)]
    file_name: String,
    #[serde(default)]
    line_number: u32,
}

/// The conformance specs of a report, in the order of their names. Others are left out.
pub(super) fn read(text: &str) -> anyhow::Result<Vec<Spec>> {
    let reports: Vec<Report> = serde_json::from_str(text).context("reading the suite's report")?;
    let mut specs = Vec::new();
    for report in reports {
        let leaves = report.spec_reports.unwrap_or_default();
        if let Some(setup) = leaves.iter().find(|leaf| leaf.leaf_node_type != "It" && leaf.failed()) {
            let why = setup
                .failure
                .as_ref()
                .map(|failure| failure.message.as_str())
                .unwrap_or("no reason");
            bail!("the suite's {} failed: {why}", setup.leaf_node_type);
        }
        let chosen = leaves.into_iter().filter(Leaf::is_conformance);
        specs.extend(chosen.map(Spec::from));
        for reason in report.special_suite_failure_reasons.unwrap_or_default() {
            println!("the suite says: {reason}");
        }
    }
    ensure!(!specs.is_empty(), "the suite's report names no conformance spec");
    specs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(specs)
}

impl Leaf {
    fn is_conformance(&self) -> bool {
        let containers = self.container_hierarchy_labels.iter().flatten().flatten();
        let mut labels = containers.chain(&self.leaf_node_labels).flatten();
        self.leaf_node_type == "It" && labels.any(|label| label == "Conformance")
    }

    fn failed(&self) -> bool {
        !matches!(self.state.as_str(), "passed" | "skipped" | "pending")
    }

    fn mark(&self) -> Mark {
        match self.state.as_str() {
            "passed" => Mark::Passed,
            // A conformance spec must not skip itself; then it has a reason.
            "skipped" | "pending" if self.failure.is_none() => Mark::NotRun,
            _ => Mark::Failed,
        }
    }
}

impl From<Leaf> for Spec {
    fn from(leaf: Leaf) -> Self {
        let mark = leaf.mark();
        let mut words = leaf.container_hierarchy_texts.unwrap_or_default();
        words.push(leaf.leaf_node_text);
        let (why, place) = match leaf.failure {
            Some(Failure { message, location }) => {
                let file = location
                    .file_name
                    .rsplit_once("/test/")
                    .map_or(&*location.file_name, |(_, file)| file);
                (message, format!("test/{file}:{}", location.line_number))
            }
            None => (String::new(), String::new()),
        };
        Self {
            name: words.join(" "),
            mark,
            why,
            place,
            output: leaf.captured_ginkgo_writer_output,
            began: leaf.start_time,
            ended: leaf.end_time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(text: &str, labels: &str, state: &str, failure: &str) -> String {
        format!(
            r#"{{"ContainerHierarchyTexts":["[sig-node] Pods"],"ContainerHierarchyLabels":[["sig-node"]],"LeafNodeType":"It",
            "LeafNodeLabels":{labels},"LeafNodeText":"{text}","State":"{state}","StartTime":"2026-11-24T10:00:00.5Z",
            "EndTime":"2026-11-24T10:00:02+00:00"{failure}}}"#
        )
    }

    #[test]
    fn conformance_specs_are_read_with_their_reason() {
        let why = r#","Failure":{"Message":"it broke","Location":{"FileName":"/x/k8s.io/kubernetes@v1/test/e2e/a.go","LineNumber":7}}"#;
        let leaves = [
            leaf("b", r#"["Conformance"]"#, "failed", why),
            leaf("a", r#"["Conformance"]"#, "passed", ""),
            leaf("c", r#"["Conformance"]"#, "skipped", ""),
            leaf("d", r#"["Conformance"]"#, "skipped", why),
            leaf("other", "null", "failed", why),
        ];
        let specs = read(&format!(r#"[{{"SpecReports":[{}]}}]"#, leaves.join(","))).unwrap();
        let marks: Vec<_> = specs.iter().map(|spec| (spec.name.as_str(), spec.mark)).collect();
        assert_eq!(
            marks,
            [
                ("[sig-node] Pods a", Mark::Passed),
                ("[sig-node] Pods b", Mark::Failed),
                ("[sig-node] Pods c", Mark::NotRun),
                ("[sig-node] Pods d", Mark::Failed)
            ]
        );
        assert_eq!((&*specs[1].why, &*specs[1].place), ("it broke", "test/e2e/a.go:7"));
        assert!(specs[1].began < specs[1].ended);
    }

    #[test]
    fn a_setup_that_fails_is_no_result() {
        let setup = r#"[{"SpecReports":[{"LeafNodeType":"SynchronizedBeforeSuite","LeafNodeText":"","State":"failed",
            "StartTime":"0001-01-01T00:00:00Z","EndTime":"0001-01-01T00:00:00Z",
            "Failure":{"Message":"no node","Location":{}}}]}]"#;
        assert!(read(setup).unwrap_err().to_string().contains("no node"));
        assert!(read("[]").is_err());
    }
}
