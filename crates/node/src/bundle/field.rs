//! Fields of a pod that containers may see: `fieldRef` in environments and downward volumes.

use k8s_openapi::api::core::v1::Pod;

/// The value at a `fieldPath`; `None` when the path is not supported. `addresses` are the host's and the pod's.
pub(crate) fn of_pod(pod: &Pod, path: &str, addresses: Option<(&str, &[String])>) -> Option<String> {
    if let Some(value) = subscript(pod, path) {
        return value;
    }
    let spec = pod.spec.as_ref();
    let text = match path {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "metadata.uid" => pod.metadata.uid.clone(),
        "metadata.labels" => Some(pairs(pod.metadata.labels.iter().flatten())),
        "metadata.annotations" => Some(pairs(pod.metadata.annotations.iter().flatten())),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.hostIP" | "status.hostIPs" => addresses.map(|(host, _)| host.to_string()),
        "status.podIP" => addresses.map(|(_, pod)| pod.first().cloned().unwrap_or_default()),
        "status.podIPs" => addresses.map(|(_, pod)| pod.join(",")),
        _ => return None,
    };
    Some(text.unwrap_or_default())
}

/// `metadata.labels['key']` and `metadata.annotations['key']`; a key that isn't there is empty.
fn subscript(pod: &Pod, path: &str) -> Option<Option<String>> {
    let (map, key) = path.strip_suffix("']")?.split_once("['")?;
    let map = match map {
        "metadata.labels" => &pod.metadata.labels,
        "metadata.annotations" => &pod.metadata.annotations,
        _ => return Some(None),
    };
    Some(Some(
        map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default(),
    ))
}

/// One `key="escaped value"` a line, sorted.
fn pairs<'a>(map: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    map.map(|(key, value)| format!("{key}={value:?}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let mut pod = Pod::default();
        pod.metadata.name = Some("web".to_string());
        pod.metadata.labels = Some(
            [
                ("a".to_string(), "x \"y\"".to_string()),
                ("b".to_string(), "2".to_string()),
            ]
            .into(),
        );
        let ips = vec!["10.0.0.2".to_string()];
        let of = |path: &str| of_pod(&pod, path, Some(("1.2.3.4", &ips)));
        assert_eq!(of("metadata.name").as_deref(), Some("web"));
        assert_eq!(of("metadata.labels['b']").as_deref(), Some("2"));
        assert_eq!(of("metadata.annotations['none']").as_deref(), Some(""));
        assert_eq!(of("metadata.labels").as_deref(), Some("a=\"x \\\"y\\\"\"\nb=\"2\""));
        assert_eq!(of("status.podIP").as_deref(), Some("10.0.0.2"));
        assert_eq!(of("status.hostIP").as_deref(), Some("1.2.3.4"));
        assert_eq!(of("spec.containers"), None);
        assert_eq!(of("spec.nodeName['x']"), None);
    }
}
