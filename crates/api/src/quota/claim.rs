//! How claims count: storage that PersistentVolumeClaims ask for, by class too, and devices that ResourceClaims ask for.

use meta::{Format, Quantity};
use serde_json::Value;

use super::Amounts;
use super::scope::selects;
use crate::rules::resources::quantity;
use crate::rules::view::View as _;

const CLAIMS: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
const COUNT: &str = "count/resourceclaims.resource.k8s.io";
/// As many devices as a claim of "all" can get.
const ALL: i64 = 32;

/// Whether a quota on this resource is about PersistentVolumeClaims.
pub(super) fn counts_volumes(name: &str) -> bool {
    name == "count/persistentvolumeclaims"
        || [CLAIMS, STORAGE]
            .iter()
            .any(|known| name == *known || name.strip_suffix(known).is_some_and(|class| class.ends_with(OF_CLASS)))
}

/// What a PersistentVolumeClaim uses.
pub(super) fn volumes(claim: &Value) -> Amounts {
    let one = Quantity::from_units(1, Format::DecimalSi);
    let mut used = Amounts::default();
    used.set(CLAIMS, one);
    used.set("count/persistentvolumeclaims", one);
    let class = class(claim);
    if !class.is_empty() {
        used.set(format!("{class}{OF_CLASS}{CLAIMS}"), one);
    }
    if let Some(storage) = storage(claim) {
        used.set(STORAGE, storage);
        if !class.is_empty() {
            used.set(format!("{class}{OF_CLASS}{STORAGE}"), storage);
        }
    }
    used
}

/// The storage class of a claim; the annotation is older than the field, and comes before it.
fn class(claim: &Value) -> &str {
    let annotations = claim.at("metadata").at("annotations");
    match annotations.get("volume.beta.kubernetes.io/storage-class") {
        Some(class) => class.as_str().unwrap_or_default(),
        None => claim.at("spec").text("storageClassName"),
    }
}

/// In whole bytes: the more of what is asked for and what is being given.
fn storage(claim: &Value) -> Option<Quantity> {
    let asked = quantity(claim.at("spec").at("resources").at("requests"), "storage")?;
    let given = quantity(claim.at("status").at("allocatedResources"), "storage");
    let most = given.filter(|given| *given > asked).unwrap_or(asked);
    Some(Quantity::from_units(most.units(), most.format()))
}

/// Whether a PersistentVolumeClaim is in a scope.
pub(super) fn is_in(claim: &Value, scope: &str, operator: &str, values: &[Value]) -> bool {
    let status = claim.at("status");
    scope == "VolumeAttributesClass"
        && selects(
            operator,
            values,
            &[
                claim.at("spec").text("volumeAttributesClassName"),
                status.text("currentVolumeAttributesClassName"),
                status.at("modifyVolumeStatus").text("targetVolumeAttributesClassName"),
            ],
        )
}

/// Whether a quota on this resource is about ResourceClaims.
pub(super) fn counts_devices(name: &str) -> bool {
    name == COUNT || name.ends_with(DEVICES)
}

/// What a ResourceClaim uses: of alternatives, the most of each class.
pub(super) fn devices(claim: &Value) -> Amounts {
    let mut used = Amounts::default();
    used.set(COUNT, Quantity::from_units(1, Format::DecimalSi));
    for request in claim.at("spec").at("devices").list("requests") {
        let alternatives = request.list("firstAvailable");
        if !alternatives.is_empty() {
            let mut most = Amounts::default();
            for one in alternatives {
                let mut asked = Amounts::default();
                asked.set(format!("{}{DEVICES}", one.text("deviceClassName")), number(one));
                most.raise(&asked);
            }
            used.add(&most);
        } else if request.has("exactly") {
            let exactly = request.at("exactly");
            used.add_one(format!("{}{DEVICES}", exactly.text("deviceClassName")), number(exactly));
        }
    }
    used
}

fn number(request: &Value) -> Quantity {
    let count = match request.text("allocationMode") {
        "ExactCount" => request.int("count").unwrap_or(0),
        "All" => ALL,
        _ => 0,
    };
    Quantity::from_units(count, Format::DecimalSi)
}
