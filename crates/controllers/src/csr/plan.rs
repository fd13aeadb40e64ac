//! Which certificate requests of nodes are granted without a human. Pure.

use std::net::IpAddr;

use crate::world::SigningRequest;

pub(crate) const CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub(crate) const SERVING: &str = "kubernetes.io/kubelet-serving";

/// What the request itself says, out of its PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) common_name: String,
    pub(crate) organizations: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    /// Mail addresses, URIs and the like, which nodes have none of.
    pub(crate) others: bool,
}

/// What to do with a request that nobody has decided yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// A node renews its own client certificate.
    OwnClient,
    /// A machine that joins asks for its first one.
    FirstClient,
    Serving,
    /// The node hasn't reported these addresses (yet).
    Later,
    /// Not a node's business: a human decides.
    Leave,
}

/// Decides. `node` are the names and addresses that the node reports, none when it is not known.
pub(crate) fn decide(request: &SigningRequest, asked: &Asked, node: Option<&[String]>) -> Decision {
    if !asked.common_name.starts_with("system:node:") || asked.organizations != ["system:nodes"] || asked.others {
        return Decision::Leave;
    }
    match request.signer.as_str() {
        CLIENT if asked.names.is_empty() && asked.addresses.is_empty() && usages(request, "client auth") => {
            if request.username == asked.common_name {
                Decision::OwnClient
            } else {
                Decision::FirstClient
            }
        }
        SERVING if request.username == asked.common_name && usages(request, "server auth") => {
            if asked.names.is_empty() && asked.addresses.is_empty() {
                return Decision::Leave;
            }
            let own = asked.common_name.trim_start_matches("system:node:");
            let has = |name: &str| name == own || node.is_some_and(|known| known.iter().any(|known| known == name));
            let all = asked.names.iter().all(|name| has(name))
                && asked.addresses.iter().all(|address| has(&address.to_string()));
            if all { Decision::Serving } else { Decision::Later }
        }
        _ => Decision::Leave,
    }
}

/// The usages that a node's certificate has, and no others.
fn usages(request: &SigningRequest, wanted: &str) -> bool {
    let allowed = [wanted, "digital signature", "key encipherment"];
    let has = |usage: &str| request.usages.iter().any(|known| known == usage);
    has(wanted) && has("digital signature") && request.usages.iter().all(|usage| allowed.contains(&usage.as_str()))
}

#[cfg(test)]
mod tests {
    use client::ObjectKey;

    use super::*;

    fn request(signer: &str, user: &str, usage: &str) -> SigningRequest {
        SigningRequest {
            key: ObjectKey::cluster("csr"),
            signer: signer.into(),
            username: user.into(),
            groups: vec!["system:nodes".into()],
            usages: vec![usage.into(), "digital signature".into()],
            seconds: None,
            request: Vec::new(),
            approved: false,
            denied: false,
            failed: false,
            signed: false,
        }
    }

    fn asked(names: &[&str], addresses: &[&str]) -> Asked {
        Asked {
            common_name: "system:node:n1".into(),
            organizations: vec!["system:nodes".into()],
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            others: false,
        }
    }

    #[test]
    fn nodes_get_what_is_theirs() {
        let own = request(CLIENT, "system:node:n1", "client auth");
        assert_eq!(decide(&own, &asked(&[], &[]), None), Decision::OwnClient);
        let joining = request(CLIENT, "system:bootstrap:abc", "client auth");
        assert_eq!(decide(&joining, &asked(&[], &[]), None), Decision::FirstClient);
        let serving = request(SERVING, "system:node:n1", "server auth");
        let known = ["10.0.0.5".to_owned()];
        assert_eq!(
            decide(&serving, &asked(&["n1"], &["10.0.0.5"]), Some(&known)),
            Decision::Serving
        );
        assert_eq!(
            decide(&serving, &asked(&["n1"], &["10.0.0.6"]), Some(&known)),
            Decision::Later
        );
        let other = request(SERVING, "system:node:n2", "server auth");
        assert_eq!(decide(&other, &asked(&["n1"], &[]), Some(&known)), Decision::Leave);
    }

    #[test]
    fn what_a_node_does_not_need_is_left_to_humans() {
        let wide = request(CLIENT, "system:node:n1", "any");
        assert_eq!(decide(&wide, &asked(&[], &[]), None), Decision::Leave);
        let mut masters = asked(&[], &[]);
        masters.organizations.push("system:masters".into());
        let own = request(CLIENT, "system:node:n1", "client auth");
        assert_eq!(decide(&own, &masters, None), Decision::Leave);
    }
}
