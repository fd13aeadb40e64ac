//! The built-in plug-ins in the order in which they run, by Kubernetes' names, and which of them run.

use super::{AdmissionSettings, Plugin, SettingsError};
use super::{
    always_pull, certificates, default_class, default_toleration_seconds, event_rate, extended_resource, external_ips,
    limit_ranger, namespace_lifecycle, namespace_scheduling, node_restriction, owner_references, pod_resize,
    pod_security, pod_topology, priority, runtime_class, service_account, storage, taint_nodes,
};

/// The one that runs after everything else, with the commit.
pub(super) const QUOTA: &str = "ResourceQuota";

type Make = fn(&AdmissionSettings) -> Box<dyn Plugin>;

/// A plug-in.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// Whether it runs unless it is switched off; otherwise only when it is switched on.
    pub(super) on: bool,
    /// None for [`QUOTA`], which is no link of the chain.
    pub(super) make: Option<Make>,
}

const fn on(name: &'static str, make: Make) -> Row {
    Row {
        name,
        on: true,
        make: Some(make),
    }
}

const fn off(name: &'static str, make: Make) -> Row {
    Row {
        name,
        on: false,
        make: Some(make),
    }
}

/// All, in the order in which they run. NodeRestriction is on here: nodes are never trusted with others' objects.
pub(super) const ROWS: &[Row] = &[
    on("NamespaceLifecycle", |_| {
        Box::new(namespace_lifecycle::NamespaceLifecycle)
    }),
    on("LimitRanger", |_| Box::new(limit_ranger::LimitRanger)),
    on("ServiceAccount", |_| Box::new(service_account::ServiceAccount)),
    on("NodeRestriction", |_| Box::new(node_restriction::NodeRestriction)),
    on("TaintNodesByCondition", |_| Box::new(taint_nodes::TaintNodes)),
    off("AlwaysPullImages", |_| Box::new(always_pull::AlwaysPullImages)),
    on("PodSecurity", |_| Box::new(pod_security::PodSecurity)),
    off("PodNodeSelector", |settings| {
        Box::new(namespace_scheduling::PodNodeSelector {
            configured: settings.node_selectors.clone(),
        })
    }),
    on("Priority", |_| Box::new(priority::Priority)),
    on("DefaultTolerationSeconds", |_| {
        Box::new(default_toleration_seconds::DefaultTolerationSeconds)
    }),
    off("PodTolerationRestriction", |settings| {
        Box::new(namespace_scheduling::PodTolerationRestriction {
            defaults: settings.default_tolerations.clone(),
            allowed: settings.allowed_tolerations.clone(),
        })
    }),
    off("EventRateLimit", |settings| {
        Box::new(event_rate::EventRateLimit::new(&settings.event_limits))
    }),
    off("ExtendedResourceToleration", |_| {
        Box::new(extended_resource::ExtendedResourceToleration)
    }),
    on("DefaultStorageClass", |_| {
        Box::new(default_class::DefaultClass::Storage)
    }),
    on("StorageObjectInUseProtection", |_| Box::new(storage::InUseProtection)),
    off("OwnerReferencesPermissionEnforcement", |_| {
        Box::new(owner_references::OwnerReferences)
    }),
    on("PersistentVolumeClaimResize", |_| Box::new(storage::ClaimResize)),
    on("RuntimeClass", |_| Box::new(runtime_class::RuntimeClass)),
    on("CertificateApproval", |_| {
        Box::new(certificates::Certificates::Approval)
    }),
    on("CertificateSigning", |_| Box::new(certificates::Certificates::Signing)),
    on("ClusterTrustBundleAttest", |_| {
        Box::new(certificates::Certificates::Attest)
    }),
    on("CertificateSubjectRestriction", |_| {
        Box::new(certificates::Certificates::Subject)
    }),
    on("DefaultIngressClass", |_| {
        Box::new(default_class::DefaultClass::Ingress)
    }),
    off("DenyServiceExternalIPs", |_| {
        Box::new(external_ips::DenyServiceExternalIps)
    }),
    on("PodTopologyLabels", |_| Box::new(pod_topology::PodTopologyLabels)),
    on("PodResizeValidator", |_| Box::new(pod_resize::PodResize)),
    Row {
        name: QUOTA,
        on: true,
        make: None,
    },
];

/// Which rows are on, by the settings.
pub(super) fn switches(settings: &AdmissionSettings) -> Result<impl Fn(&Row) -> bool, SettingsError> {
    let lists = [
        ("enable-admission-plugins", &settings.enable),
        ("disable-admission-plugins", &settings.disable),
    ];
    for (flag, names) in lists {
        if let Some(name) = names.iter().find(|name| !ROWS.iter().any(|row| row.name == **name)) {
            let name = name.clone();
            return Err(SettingsError::Unknown { flag, name });
        }
    }
    if let Some(both) = settings.enable.iter().find(|name| settings.disable.contains(name)) {
        return Err(SettingsError::Overlap(both.clone()));
    }
    let (enable, disable) = (settings.enable.clone(), settings.disable.clone());
    Ok(move |row: &Row| {
        let named = |list: &[String]| list.iter().any(|name| name == row.name);
        named(&enable) || row.on && !named(&disable)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_turned_by_name() {
        let settings = |enable: &[&str], disable: &[&str]| AdmissionSettings {
            enable: enable.iter().map(|name| (*name).to_owned()).collect(),
            disable: disable.iter().map(|name| (*name).to_owned()).collect(),
            ..AdmissionSettings::default()
        };
        let on = |settings: &AdmissionSettings| -> Vec<&str> {
            let is_on = switches(settings).unwrap();
            ROWS.iter().filter(|row| is_on(row)).map(|row| row.name).collect()
        };
        let usual = on(&settings(&[], &[]));
        assert!(usual.contains(&"PodSecurity") && !usual.contains(&"AlwaysPullImages"));
        let other = on(&settings(&["AlwaysPullImages"], &["PodSecurity"]));
        assert!(!other.contains(&"PodSecurity") && other.contains(&"AlwaysPullImages"));
        let error = |enable: &[&str], disable: &[&str]| {
            let settings = settings(enable, disable);
            switches(&settings).err().map(|error| error.to_string())
        };
        assert_eq!(
            error(&["Nonsense"], &[]).as_deref(),
            Some("enable-admission-plugins plugin \"Nonsense\" is unknown")
        );
        assert_eq!(
            error(&["Priority"], &["Priority"]).as_deref(),
            Some("Priority in enable-admission-plugins and disable-admission-plugins overlapped")
        );
    }
}
