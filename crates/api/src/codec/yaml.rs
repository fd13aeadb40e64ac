//! YAML into a tree, read as YAML 1.1: `yes` is true and `0644` octal, as kubectl and Kubernetes read it.

use serde_json::Value;

use super::read::Failure;

/// Reads one document.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|_| Failure::Syntax("yaml: invalid UTF-8".to_owned()))?;
    let options = serde_saphyr::options! { legacy_octal_numbers: true, strict_booleans: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| Failure::Syntax(format!("yaml: {error}")))
}
