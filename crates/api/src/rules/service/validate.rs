//! What a service must be like, and which of its allocated addresses and ports stay.

use meta::Path;
use serde_json::{Value, json};

use crate::rules::check::Errors;
use crate::rules::endpoints::usable_address;
use crate::rules::form;
use crate::rules::view::View as _;

use super::{needs_health_check, reaches_outside};

fn is_headless(spec: &Value) -> bool {
    matches!(spec.list("clusterIPs"), [only] if only == "None")
}

pub(super) fn spec(object: &Value, errors: &mut Errors) {
    let (spec, at) = (object.at("spec"), Path::new("spec"));
    let (kind, headless) = (spec.text("type"), is_headless(spec));
    if spec.list("ports").is_empty() && !headless && kind != "ExternalName" {
        errors.required(&at.child("ports"), "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid(&at.child("clusterIPs").index(0), "None", &detail);
        }
        "ExternalName" => external_name(spec, &at, errors),
        _ => {}
    }
    check_ports(spec, &at, errors);
    errors.labels(&at.child("selector"), spec.at("selector"));
    affinity(spec, &at, errors);
    addresses(spec, &at, errors);
    match kind {
        "" => errors.required(&at.child("type"), ""),
        _ => errors.one_of(
            &at.child("type"),
            kind,
            &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        ),
    }
    port_conflicts(spec, &at, errors);
    load_balancer(spec, &at, errors);
    load_balancer_class(spec, None, errors);
    traffic(spec, &at, errors);
}

fn external_name(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    for name in ["clusterIPs", "ipFamilies"] {
        if !spec.list(name).is_empty() {
            errors.forbidden(&at.child(name), "may not be set for ExternalName services");
        }
    }
    if spec.has("ipFamilyPolicy") {
        errors.forbidden(&at.child("ipFamilyPolicy"), "may not be set for ExternalName services");
    }
    let name = spec.text("externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    errors.required_form(&at.child("externalName"), name, form::dns_subdomain);
}

fn check_ports(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let ports = spec.list("ports");
    let at_ports = at.child("ports");
    for (index, port) in ports.iter().enumerate() {
        let at = at_ports.index(index);
        let name = port.text("name");
        if name.is_empty() && ports.len() > 1 {
            errors.required(&at.child("name"), "");
        } else if !name.is_empty() {
            errors.form(&at.child("name"), name, form::dns_label);
            if ports[..index].iter().any(|earlier| earlier.text("name") == name) {
                errors.duplicate(&at.child("name"), name);
            }
        }
        errors.port(&at.child("port"), port.int("port").unwrap_or(0));
        match port.text("protocol") {
            "" => errors.required(&at.child("protocol"), ""),
            protocol => errors.one_of(&at.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]),
        }
        match port.at("targetPort") {
            Value::String(name) => errors.form(&at.child("targetPort"), name, form::port_name),
            other => errors.port(&at.child("targetPort"), other.as_i64().unwrap_or(0)),
        }
        if port.has("appProtocol") {
            errors.form(&at.child("appProtocol"), port.text("appProtocol"), form::qualified_name);
        }
    }
}

fn port_conflicts(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let ports = spec.list("ports");
    let at = at.child("ports");
    let number = |port: &Value, name: &str| port.int(name).unwrap_or(0);
    let key = |port: &Value, name: &str| (port.text("protocol").to_owned(), number(port, name));
    for (index, port) in ports.iter().enumerate() {
        if number(port, "nodePort") == 0 {
            continue;
        }
        let at = at.index(index);
        let at = at.child("nodePort");
        if spec.text("type") == "ClusterIP" {
            errors.forbidden(&at, "may not be used when `type` is 'ClusterIP'");
        }
        if ports[..index]
            .iter()
            .any(|earlier| key(earlier, "nodePort") == key(port, "nodePort"))
        {
            errors.duplicate(&at, number(port, "nodePort"));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        if ports[..index]
            .iter()
            .any(|earlier| key(earlier, "port") == key(port, "port"))
        {
            let shown = json!({
                "Name": "",
                "Protocol": port.text("protocol"),
                "AppProtocol": null,
                "Port": number(port, "port"),
                "TargetPort": 0,
                "NodePort": 0,
            });
            errors.duplicate(&at.index(index), shown);
        }
    }
}

fn affinity(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let at_config = at.child("sessionAffinityConfig");
    match spec.text("sessionAffinity") {
        "" => errors.required(&at.child("sessionAffinity"), ""),
        "None" if spec.has("sessionAffinityConfig") => {
            errors.forbidden(&at_config, "must not be set when session affinity is None");
        }
        "None" => {}
        "ClientIP" => {
            let seconds = spec
                .at("sessionAffinityConfig")
                .at("clientIP")
                .int("timeoutSeconds")
                .unwrap_or(0);
            if !(1..=86_400).contains(&seconds) {
                let at = at_config.child("clientIP");
                errors.invalid(
                    &at.child("timeoutSeconds"),
                    seconds,
                    "must be greater than 0 and less than 86400",
                );
            }
        }
        other => errors.not_supported(&at.child("sessionAffinity"), other, &["ClientIP", "None"]),
    }
}

fn addresses(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    if spec.text("type") != "ExternalName" {
        cluster_addresses(spec, at, errors);
    }
    let external = at.child("externalIPs");
    for (index, ip) in spec.list("externalIPs").iter().enumerate() {
        let ip = ip.as_str().unwrap_or_default();
        let at = external.index(index);
        let reasons = form::ip(ip);
        if reasons.is_empty() {
            usable_address(ip, &at, errors);
        }
        errors.invalid_each(&at, ip, reasons);
    }
}

fn cluster_addresses(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let at_ips = at.child("clusterIPs");
    let (one, many) = (spec.text("clusterIP"), spec.list("clusterIPs"));
    let shown = || spec.at("clusterIPs").clone();
    match many.first().and_then(Value::as_str) {
        None if !one.is_empty() => errors.required(&at_ips, ""),
        Some(_) if one.is_empty() => {
            errors.invalid(&at_ips, shown(), "must be empty when `clusterIP` is not specified");
        }
        Some(first) if first != one => errors.invalid(&at_ips, shown(), "first value must match `clusterIP`"),
        _ => {}
    }
    let families = spec.list("ipFamilies");
    let at_families = at.child("ipFamilies");
    for (index, family) in families.iter().enumerate() {
        let text = family.as_str().unwrap_or_default();
        errors.one_of(&at_families.index(index), text, &["IPv4", "IPv6"]);
        if families[..index].contains(family) {
            errors.duplicate(&at_families.index(index), text);
        }
    }
    if spec.has("ipFamilyPolicy") {
        let policy = spec.text("ipFamilyPolicy");
        let known = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        errors.one_of(&at.child("ipFamilyPolicy"), policy, &known);
    }
    let mut malformed = false;
    for (index, ip) in many.iter().enumerate() {
        let text = ip.as_str().unwrap_or_default();
        if index == 0 && text == "None" {
            if many.len() > 1 {
                malformed = true;
                errors.invalid(&at_ips, shown(), "'None' must be the first and only value");
            }
            continue;
        }
        let reasons = form::ip(text);
        malformed |= !reasons.is_empty();
        errors.invalid_each(&at_ips.index(index), text, reasons);
    }
    if many.len() > 2 {
        errors.invalid(&at_ips, shown(), "may only hold up to 2 values");
    }
    if malformed {
        return;
    }
    let is_v6 = |ip: &Value| ip.as_str().is_some_and(|text| text.contains(':'));
    if many.len() > 1 && many.iter().filter(|ip| is_v6(ip)).count() * 2 != many.len() {
        errors.invalid(&at_ips, shown(), "may specify no more than one IP for each IP family");
    }
    if is_headless(spec) {
        return;
    }
    for (index, (ip, family)) in many.iter().zip(families).enumerate() {
        if is_v6(ip) != (family == "IPv6") {
            let detail = format!(
                "expected an {} value as indicated by `ipFamilies[{index}]`",
                family.as_str().unwrap_or("")
            );
            errors.invalid(&at_ips.index(index), ip.clone(), &detail);
        }
    }
}

/// Allocated addresses and families stay, except that a secondary one may come and go.
pub(super) fn addresses_stay(new: &Value, old: &Value, errors: &mut Errors) {
    if new.text("type") == "ExternalName" || old.text("type") == "ExternalName" {
        return;
    }
    let (headless, was_headless) = (is_headless(new), is_headless(old));
    for (name, one) in [("clusterIPs", "clusterIP"), ("ipFamilies", "ipFamily")] {
        let skip = if name == "clusterIPs" {
            headless && was_headless
        } else {
            headless || was_headless
        };
        if skip {
            continue;
        }
        let root = Path::new("spec");
        let at = root.child(name);
        let (now, before) = (new.list(name), old.list(name));
        let shown = if new.has(name) {
            new.at(name).clone()
        } else {
            Value::Null
        };
        if now.len() == before.len() {
            for (index, (now, before)) in now.iter().zip(before).enumerate() {
                if now != before {
                    let index = if name == "clusterIPs" { index } else { 0 };
                    errors.invalid(&at.index(index), shown.clone(), "may not change once set");
                }
            }
            continue;
        }
        if now.is_empty() {
            errors.invalid(&at.index(0), shown.clone(), &format!("primary {one} can not be unset"));
        } else if !before.is_empty() && now[0] != before[0] {
            errors.invalid(&at.index(0), shown.clone(), "may not change once set");
        }
        if before.len() > now.len() && now.len() == 1 && new.text("ipFamilyPolicy") != "SingleStack" {
            let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
            errors.invalid(&root.child("ipFamilyPolicy"), new.at("ipFamilyPolicy").clone(), &detail);
        }
    }
}

fn load_balancer(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let balanced = spec.text("type") == "LoadBalancer";
    let ranges = spec.list("loadBalancerSourceRanges");
    let at_ranges = at.child("LoadBalancerSourceRanges");
    if !ranges.is_empty() && !balanced {
        errors.forbidden(&at_ranges, "may only be used when `type` is 'LoadBalancer'");
    }
    for (index, range) in ranges.iter().enumerate() {
        errors.form(
            &at_ranges.index(index),
            range.as_str().unwrap_or_default().trim(),
            form::cidr,
        );
    }
    match (balanced, spec.has("allocateLoadBalancerNodePorts")) {
        (false, true) => {
            let detail = "may only be used when `type` is 'LoadBalancer'";
            errors.forbidden(&at.child("allocateLoadBalancerNodePorts"), detail);
        }
        (true, false) => errors.required(&Path::new("allocateLoadBalancerNodePorts"), ""),
        _ => {}
    }
}

pub(super) fn load_balancer_class(spec: &Value, old: Option<&Value>, errors: &mut Errors) {
    let at = Path::new("spec.loadBalancerClass");
    let class = spec.text("loadBalancerClass");
    if let Some(old) = old {
        let both = spec.text("type") == "LoadBalancer" && old.text("type") == "LoadBalancer";
        if both && class != old.text("loadBalancerClass") {
            errors.invalid(&at, spec.at("loadBalancerClass").clone(), "may not change once set");
        }
        return;
    }
    if !spec.has("loadBalancerClass") {
        return;
    }
    if spec.text("type") == "LoadBalancer" {
        errors.form(&at, class, form::qualified_name);
    } else {
        errors.forbidden(&at, "may only be used when `type` is 'LoadBalancer'");
    }
}

fn traffic(spec: &Value, at: &Path<'_>, errors: &mut Errors) {
    let policy = spec.text("externalTrafficPolicy");
    let at_external = at.child("externalTrafficPolicy");
    match (reaches_outside(spec), policy) {
        (false, "") => {}
        (false, _) => errors.invalid(
            &at_external,
            policy,
            "may only be set for externally-accessible services",
        ),
        (true, "") => errors.required(&at_external, ""),
        (true, _) => errors.one_of(&at_external, policy, &["Cluster", "Local"]),
    }
    let port = spec.int("healthCheckNodePort").unwrap_or(0);
    let at_port = at.child("healthCheckNodePort");
    match (needs_health_check(spec), port) {
        (false, 0) => {}
        (false, _) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.invalid(&at_port, port, detail);
        }
        // The server allocates it between preparing and validating.
        (true, 0) => errors.required(&at_port, ""),
        (true, _) => errors.port(&at_port, port),
    }
    let at_internal = at.child("internalTrafficPolicy");
    if spec.has("internalTrafficPolicy") {
        errors.one_of(&at_internal, spec.text("internalTrafficPolicy"), &["Cluster", "Local"]);
    } else if matches!(spec.text("type"), "NodePort" | "LoadBalancer" | "ClusterIP") {
        errors.required(&at_internal, "");
    }
    if spec.has("trafficDistribution") {
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        errors.one_of(
            &at.child("trafficDistribution"),
            spec.text("trafficDistribution"),
            &known,
        );
    }
}
