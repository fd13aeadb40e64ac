//! The kinds of `storage.k8s.io`: classes, attachments, drivers and what they know of nodes.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, boolean, integer, text, texts};
use super::view::{Edit as _, View as _, same};
use super::{Column, Rules, age, form, metadata, strategy};

/// The rules of `storageclasses`.
pub(crate) struct StorageClass;
/// The rules of `volumeattributesclasses`.
pub(crate) struct VolumeAttributesClass;
/// The rules of `volumeattachments`.
pub(crate) struct VolumeAttachment;
/// The rules of `csidrivers`.
pub(crate) struct CsiDriver;
/// The rules of `csinodes`.
pub(crate) struct CsiNode;
/// The rules of `csistoragecapacities`.
pub(crate) struct CsiStorageCapacity;

impl Rules for StorageClass {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        object.or("reclaimPolicy", "Delete");
        object.or("volumeBindingMode", "Immediate");
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        let (at, provisioner) = (Path::new("provisioner"), object.text("provisioner"));
        if provisioner.is_empty() {
            errors.required(&at, "");
        } else {
            let lower = provisioner.to_lowercase();
            errors.invalid_each(&at, &lower, form::qualified_name(&lower));
        }
        let policy = object.text("reclaimPolicy");
        if !policy.is_empty() {
            errors.one_of(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]);
        }
        let mode = object.text("volumeBindingMode");
        if object.has("volumeBindingMode") {
            errors.one_of(
                &Path::new("volumeBindingMode"),
                mode,
                &["Immediate", "WaitForFirstConsumer"],
            );
        } else {
            errors.required(&Path::new("volumeBindingMode"), "");
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        for name in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            errors.fixed(&Path::new(name), object.at(name), old.at(name));
        }
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("Provisioner", "Who makes the volumes."),
            text("ReclaimPolicy", "What happens to a volume when its claim goes."),
            text("VolumeBindingMode", "When a claim gets its volume."),
            text("AllowVolumeExpansion", "Whether volumes can grow."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            column::name(object),
            object.text("provisioner").into(),
            object.at("reclaimPolicy").as_str().unwrap_or("Delete").into(),
            object.at("volumeBindingMode").as_str().unwrap_or("Immediate").into(),
            object.is("allowVolumeExpansion").into(),
            age::cell(object, now),
        ]
    }
}

impl Rules for VolumeAttributesClass {
    fn namespaced(&self) -> bool {
        false
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        let (at, driver) = (Path::new("driverName"), object.text("driverName"));
        if driver.is_empty() {
            errors.required(&at, "");
        } else {
            let lower = driver.to_lowercase();
            errors.invalid_each(&at, &lower, form::qualified_name(&lower));
        }
        if object.map("parameters").is_none_or(serde_json::Map::is_empty) {
            errors.required(&Path::new("parameters"), "must contain at least one key/value pair");
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        for name in ["driverName", "parameters"] {
            if !same(object.at(name), old.at(name)) {
                errors.forbidden(&Path::new(name), &format!("updates to {name} are forbidden."));
            }
        }
        errors.0
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("DriverName", "The driver that knows the attributes."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            column::name(object),
            object.text("driverName").into(),
            age::cell(object, now),
        ]
    }
}

impl Rules for VolumeAttachment {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        object.object("spec").object("source");
        object.object("status").or("attached", false);
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::drop_status(object);
        object.object("status").set("attached", false);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::keep_status(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        let (spec, at) = (object.at("spec"), Path::new("spec"));
        errors.required_form(&at.child("attacher"), spec.text("attacher"), form::dns_subdomain);
        let source = spec.at("source");
        let at_source = at.child("source");
        let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        match (source.has("inlineVolumeSpec"), source.has("persistentVolumeName")) {
            (false, false) => errors.required(&at_source, detail),
            (true, true) => errors.forbidden(&at_source, detail),
            (false, true) => {
                let name = source.text("persistentVolumeName");
                if name.is_empty() {
                    let detail = "must specify non empty persistentVolumeName";
                    errors.required(&at_source.child("persistentVolumeName"), detail);
                }
                errors.form(&at_source.child("persistentVolumeName"), name, form::dns_subdomain);
            }
            (true, false) => {}
        }
        errors.form(&at.child("nodeName"), spec.text("nodeName"), form::dns_subdomain);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors(self.validate_create(object));
        metadata::update(object, old, &mut errors);
        errors.fixed(&Path::new("spec"), object.at("spec"), old.at("spec"));
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            Column {
                format: "name",
                ..text("Attacher", "Who attaches the volume.")
            },
            text("PV", "The volume."),
            text("Node", "The node that it is attached to."),
            boolean("Attached", "Whether it is attached."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        vec![
            column::name(object),
            spec.text("attacher").into(),
            spec.at("source").text("persistentVolumeName").into(),
            spec.text("nodeName").into(),
            object.at("status").is("attached").into(),
            age::cell(object, now),
        ]
    }
}

impl Rules for CsiDriver {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        spec.or("attachRequired", true);
        for name in [
            "podInfoOnMount",
            "storageCapacity",
            "requiresRepublish",
            "seLinuxMount",
            "preventPodSchedulingIfMissing",
        ] {
            spec.or(name, false);
        }
        spec.or("fsGroupPolicy", "ReadWriteOnceWithFSType");
        if spec.list("volumeLifecycleModes").is_empty() {
            spec.set("volumeLifecycleModes", vec![Value::from("Persistent")]);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::set_generation(object, 0);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        let (spec, before) = (object.at("spec"), old.at("spec"));
        let counted = ["tokenRequests", "requiresRepublish", "seLinuxMount"];
        let changed = counted.iter().any(|name| !same(spec.at(name), before.at(name)));
        let generation = old.at("metadata").int("generation").unwrap_or(0);
        strategy::set_generation(object, generation + i64::from(changed));
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        let (spec, at) = (object.at("spec"), Path::new("spec"));
        let known = ["File", "None", "ReadWriteOnceWithFSType"];
        errors.one_of(&at.child("fsGroupPolicy"), spec.text("fsGroupPolicy"), &known);
        for mode in spec.list("volumeLifecycleModes") {
            let mode = mode.as_str().unwrap_or_default();
            errors.one_of(&at.child("volumeLifecycleModes"), mode, &["Persistent", "Ephemeral"]);
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        let at = Path::new("spec");
        for name in ["attachRequired", "volumeLifecycleModes"] {
            let at = at.child(if name == "attachRequired" {
                "attachedRequired"
            } else {
                name
            });
            errors.immutable(&at, object.at("spec").at(name), old.at("spec").at(name));
        }
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            boolean(
                "AttachRequired",
                "Whether volumes are attached before they are mounted.",
            ),
            boolean("PodInfoOnMount", "Whether the driver is told about the pod."),
            boolean("StorageCapacity", "Whether the driver says how much room there is."),
            text("TokenRequests", "For whom the driver gets tokens."),
            boolean("RequiresRepublish", "Whether mounts are refreshed."),
            text("Modes", "Which kinds of volumes there are."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = object.at("spec");
        let tokens = if spec.has("tokenRequests") {
            column::joined(spec.list("tokenRequests"), "audience")
        } else {
            "<unset>".to_owned()
        };
        let modes = texts(spec.list("volumeLifecycleModes"), ",");
        vec![
            column::name(object),
            spec.flag("attachRequired").unwrap_or(true).into(),
            spec.is("podInfoOnMount").into(),
            spec.is("storageCapacity").into(),
            tokens.into(),
            spec.is("requiresRepublish").into(),
            column::or(&modes, "<none>").into(),
            age::cell(object, now),
        ]
    }
}

impl Rules for CsiNode {
    fn namespaced(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        object.object("spec");
        object.object("status");
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::drop_status(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::keep_status(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, false, metadata::subdomain, &mut errors);
        let drivers = object.at("spec").list("drivers");
        let at = Path::new("spec.drivers");
        for (index, driver) in drivers.iter().enumerate() {
            let at = at.index(index);
            let name = driver.text("name");
            errors.required_form(&at.child("name"), name, form::dns_subdomain);
            if driver.lacks("nodeID") {
                errors.required(&at.child("nodeID"), "");
            }
            errors.not_negative(
                &at.child("allocatable").child("count"),
                driver.at("allocatable").int("count"),
            );
            if drivers[..index].iter().any(|earlier| earlier.text("name") == name) {
                errors.duplicate(&at.child("name"), name);
            }
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors(self.validate_create(object));
        metadata::update(object, old, &mut errors);
        for before in old.at("spec").list("drivers") {
            for now in object.at("spec").list("drivers") {
                let unchanged = ["nodeID", "topologyKeys"]
                    .iter()
                    .all(|name| same(now.at(name), before.at(name)));
                if now.text("name") == before.text("name") && !unchanged {
                    errors.invalid(&Path::new("spec.drivers"), now.clone(), super::check::IMMUTABLE);
                }
            }
        }
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            integer("Drivers", "How many drivers the node has."),
            age::AGE,
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            column::name(object),
            object.at("spec").list("drivers").len().into(),
            age::cell(object, now),
        ]
    }
}

impl Rules for CsiStorageCapacity {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        errors.selector(&Path::new("nodeTopology"), object.at("nodeTopology"));
        let (at, class) = (Path::new("storageClassName"), object.text("storageClassName"));
        errors.form(&at, class, form::dns_subdomain);
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors(self.validate_create(object));
        metadata::update(object, old, &mut errors);
        for name in ["nodeTopology", "storageClassName"] {
            errors.immutable(&Path::new(name), object.at(name), old.at(name));
        }
        errors.0
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            age::NAME,
            text("StorageClassName", "The class of storage."),
            text("Capacity", "How much room there is."),
        ];
        COLUMNS
    }

    fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let capacity = object.at("capacity").as_str().unwrap_or("<unset>");
        vec![
            column::name(object),
            object.text("storageClassName").into(),
            capacity.into(),
        ]
    }
}
