//! The first objects that are no policy: namespaces, priority classes, the API's own Service and that of DNS.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

use crate::Config;
use crate::authz::bootstrap::Made;

/// One of the first namespaces.
pub(super) fn namespace(name: &str) -> Made {
    Made {
        group: String::new(),
        plural: "namespaces",
        object: json!({"metadata": {"name": name}}),
    }
}

/// Everything else that stands in no relation to an address of this machine.
pub(super) fn cluster(config: &Config) -> Vec<Made> {
    let mut out = Vec::new();
    for (name, value, what) in [
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ] {
        out.push(Made {
            group: "scheduling.k8s.io".to_owned(),
            plural: "priorityclasses",
            object: json!({"metadata": {"name": name}, "value": value, "description": what}),
        });
    }
    out.push(Made {
        group: "networking.k8s.io".to_owned(),
        plural: "servicecidrs",
        object: json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": [config.service_cidr.to_string()]}}),
    });
    out.extend(config.pod_cidr.map(|pods| settings(config, pods)));
    out.extend(config.kubernetes_service_ip().map(|ip| kubernetes(config, ip)));
    out.extend(config.dns_service_ip().map(dns));
    out
}

/// What a node must know of the cluster before it can be one.
fn settings(config: &Config, pods: IpNet) -> Made {
    Made {
        group: String::new(),
        plural: "configmaps",
        object: json!({
            "metadata": {"name": "gantry-cluster", "namespace": "kube-system"},
            "data": {
                "podCidr": pods.to_string(),
                "serviceCidr": config.service_cidr.to_string(),
                "clusterDomain": config.cluster_domain,
            },
        }),
    }
}

fn kubernetes(config: &Config, ip: IpAddr) -> Made {
    Made {
        group: String::new(),
        plural: "services",
        object: json!({
            "metadata": {
                "name": "kubernetes", "namespace": "default",
                "labels": {"component": "apiserver", "provider": "kubernetes"},
            },
            "spec": {
                "type": "ClusterIP", "clusterIP": ip.to_string(),
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": config.listen.port()}],
            },
        }),
    }
}

fn dns(ip: IpAddr) -> Made {
    Made {
        group: String::new(),
        plural: "services",
        object: json!({
            "metadata": {
                "name": "kube-dns", "namespace": "kube-system",
                "labels": {
                    "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
                },
            },
            "spec": {
                "type": "ClusterIP", "clusterIP": ip.to_string(),
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
                ],
            },
        }),
    }
}

/// Where the `kubernetes` Service leads: to all of the servers, which have one port.
pub(super) fn endpoints(servers: &[IpAddr], port: u16) -> Vec<Made> {
    let family = if servers.iter().all(IpAddr::is_ipv4) {
        "IPv4"
    } else {
        "IPv6"
    };
    let ports = json!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let addresses: Vec<_> = servers.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
    let ready = |ip: &IpAddr| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}});
    let endpoints = json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{"addresses": addresses, "ports": ports}],
    });
    let slice = json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": family,
        "endpoints": servers.iter().map(ready).collect::<Vec<_>>(),
        "ports": ports,
    });
    vec![
        Made {
            group: String::new(),
            plural: "endpoints",
            object: endpoints,
        },
        Made {
            group: "discovery.k8s.io".to_owned(),
            plural: "endpointslices",
            object: slice,
        },
    ]
}
