//! Joins the sources and writes the table: a line per type, and a line per field below it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::{Map, Value};

use super::Package;
use super::golang;
use super::proto::{self, Shape};

/// What the head of the file says of its form.
const HEAD: &str = "\
# The shapes of Kubernetes v1.37's types, as facts; made by `cargo xtask schema`, read by api::schema.
# P ALIAS PACKAGE        a package and its short name
# T TYPE [map=atomic]    a type; below it its fields:
#  NAME TAG TYPE MARKS   a field; `^ TAG TYPE` is a struct whose fields stand among this one's in JSON
# Types: string bytes bool int32 int64 double quantity intorstring time microtime duration any, []T, {}T (a map), ()T (a list that
# protobuf wraps into a message), or a struct. Marks: o omitempty, z omitzero, a always written, ! required, list=,
# map=, default=, enum=A|B (~ is a space), patch=, key= (merge key), go= (a scalar's name in Go), wire= (any JSON with a message of its own).
";

/// Packages whose kinds v1.37 no longer serves.
const GONE: [&str; 2] = ["k8s.io.api.extensions.", "k8s.io.api.imagepolicy."];

/// Packages that clients speak though OpenAPI doesn't publish them.
const UNPUBLISHED: [&str; 2] = [".admission.", ".apidiscovery."];

/// The package that another server publishes: what is required stands in its sources alone.
const METRICS: &str = ".metrics.v1beta1";

struct Join<'a> {
    packages: HashMap<&'a str, &'a Package>,
    /// The definitions by lower-case name.
    definitions: HashMap<String, (&'a str, &'a Value)>,
}

/// The whole file.
pub(crate) fn table(packages: &[Package], definitions: &Map<String, Value>) -> anyhow::Result<String> {
    let join = Join {
        packages: packages
            .iter()
            .map(|package| (package.name.as_str(), package))
            .collect(),
        definitions: definitions
            .iter()
            .map(|(name, body)| (name.to_lowercase(), (name.as_str(), body)))
            .collect(),
    };
    let served: BTreeSet<&str> = packages
        .iter()
        .filter(|package| !GONE.iter().any(|gone| package.name.starts_with(gone)))
        .filter(|package| {
            let has_definition = |name| join.definition(&package.name, name).is_some();
            package.messages.keys().any(|name| has_definition(name))
                || UNPUBLISHED.iter().any(|part| package.name.contains(part))
                || package.name.ends_with(METRICS)
        })
        .map(|package| package.name.as_str())
        .collect();
    let mut out = HEAD.to_owned();
    for package in &served {
        writeln!(out, "P {} {}", alias(package), published(package))?;
    }
    for package in packages.iter().filter(|package| served.contains(package.name.as_str())) {
        for name in package.messages.keys() {
            if let Some(fields) = join.fields(package, name) {
                join.write_type(&mut out, package, name, fields)
                    .with_context(|| format!("{} {name}", package.name))?;
            }
        }
    }
    Ok(out)
}

/// The package's name in OpenAPI.
fn published(package: &str) -> String {
    package.replacen("k8s.io.", "io.k8s.", 1).replace('_', "-")
}

/// The last two parts: group and version.
fn alias(package: &str) -> String {
    let mut parts = package.rsplit('.');
    let (version, group) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{group}.{version}")
}

impl<'a> Join<'a> {
    fn definition(&self, package: &str, name: &str) -> Option<(&'a str, &'a Value)> {
        self.definitions
            .get(&format!("{}.{name}", published(package)).to_lowercase())
            .copied()
    }

    /// What a message is when it isn't a struct in JSON.
    fn scalar(&self, package: &str, name: &str) -> Option<String> {
        let known = match (package.rsplit_once('.').map_or("", |(rest, _)| rest), package, name) {
            (_, "k8s.io.apimachinery.pkg.api.resource", "Quantity") => "quantity",
            (_, "k8s.io.apimachinery.pkg.util.intstr", "IntOrString") => "intorstring",
            (_, "k8s.io.apimachinery.pkg.apis.meta.v1", "Time") => "time",
            (_, "k8s.io.apimachinery.pkg.apis.meta.v1", "MicroTime") => "microtime",
            (_, "k8s.io.apimachinery.pkg.apis.meta.v1", "Duration") => "duration",
            (_, "k8s.io.apimachinery.pkg.apis.meta.v1", "FieldsV1")
            | (_, "k8s.io.apimachinery.pkg.runtime", "RawExtension")
            | ("k8s.io.apiextensions_apiserver.pkg.apis.apiextensions", _, "JSON") => "any",
            (
                "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions",
                _,
                "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray",
            ) => "any",
            _ => {
                let message = self.packages.get(package)?.messages.get(name)?;
                let items = message
                    .get(&1)
                    .filter(|field| message.len() == 1 && field.name == "items")?;
                return (items.ty == "string" && items.shape == Shape::Repeated).then(|| "()string".to_owned());
            }
        };
        Some(known.to_owned())
    }

    /// The fields of a message as Go has them; none when it isn't a struct in JSON.
    fn fields(&self, package: &'a Package, name: &str) -> Option<&'a [golang::Field]> {
        let is_scalar = self.scalar(&package.name, name).is_some();
        if is_scalar || matches!(name, "QuantityValue" | "Timestamp") {
            return None;
        }
        if let Some(fields) = package.source.structs.get(name) {
            return Some(fields);
        }
        let target = package.source.aliases.get(name)?;
        let (group, _) = package.name.rsplit_once('.')?;
        let owner = self.packages.get(format!("{group}.v1").as_str())?;
        owner.source.structs.get(target).map(Vec::as_slice)
    }

    /// The package and name of a type as a field in this package names it.
    fn resolve(&self, package: &str, ty: &str) -> (String, String) {
        match ty.rsplit_once('.') {
            None => (package.to_owned(), ty.to_owned()),
            Some((package, name)) => (package.to_owned(), name.to_owned()),
        }
    }

    /// A field's type in the table, without list or map.
    fn base_type(&self, package: &str, ty: &str) -> String {
        match ty {
            "string" | "bytes" | "bool" | "int32" | "int64" | "double" => ty.to_owned(),
            "uint32" => "int64".to_owned(),
            _ => {
                let (package, name) = self.resolve(package, ty);
                self.scalar(&package, &name)
                    .unwrap_or_else(|| format!("{}.{name}", alias(&package)))
            }
        }
    }

    fn write_type(
        &self,
        out: &mut String,
        package: &Package,
        name: &str,
        fields: &[golang::Field],
    ) -> anyhow::Result<()> {
        let definition = self.definition(&package.name, name);
        // What ephemeral containers have in common with others stands in their own definition.
        let published = definition.or_else(|| self.definition(&package.name, name.strip_suffix("Common")?));
        let body = published.map(|(_, body)| body);
        let shown = definition.and_then(|(name, _)| name.rsplit('.').next()).unwrap_or(name);
        write!(out, "T {}.{shown}", alias(&package.name))?;
        if body
            .and_then(|body| body.get("x-kubernetes-map-type"))
            .and_then(Value::as_str)
            == Some("atomic")
        {
            write!(out, " map=atomic")?;
        }
        writeln!(out)?;
        let message = &package.messages[name];
        let mut lines = BTreeMap::new();
        for field in fields {
            if field.embedded && field.json.is_empty() {
                if field.ty.ends_with("TypeMeta") {
                    lines.insert("apiVersion".to_owned(), " apiVersion 0 string o".to_owned());
                    lines.insert("kind".to_owned(), " kind 0 string o".to_owned());
                } else if let Some((tag, proto)) = field.tag.and_then(|tag| Some((tag, message.get(&tag)?))) {
                    lines.insert(
                        format!("^{tag}"),
                        format!(" ^ {tag} {}", self.base_type(&package.name, &proto.ty)),
                    );
                } else {
                    let ty = field.ty.trim_start_matches('*');
                    lines.insert(format!("^{ty}"), format!(" ^ 0 {}", self.base_type(&package.name, ty)));
                }
                continue;
            }
            let Some(proto) = field.tag.and_then(|tag| message.get(&tag)) else {
                continue;
            };
            lines.insert(field.json.clone(), self.field_line(package, field, proto, body));
        }
        for line in lines.values() {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    fn field_line(
        &self,
        package: &Package,
        field: &golang::Field,
        proto: &proto::Field,
        body: Option<&Value>,
    ) -> String {
        let base = self.base_type(&package.name, &proto.ty);
        let ty = match proto.shape {
            Shape::One => base,
            Shape::Repeated => format!("[]{base}"),
            Shape::Map => format!("{{}}{base}"),
        };
        let mut line = format!(" {} {} {ty}", field.json, field.tag.unwrap_or_default());
        line.push_str(presence(field));
        let property = body.and_then(|body| body.pointer(&format!("/properties/{}", field.json.replace('/', "~1"))));
        line.push_str(&marks(&field.json, property, body));
        if package.name.ends_with(METRICS) && presence(field) == " a" && !field.optional {
            line.push_str(" !");
        }
        let default = field
            .default
            .as_deref()
            .and_then(|text| serde_json::from_str::<Value>(text).ok());
        if let Some(default) = default {
            line.push_str(&format!(" default={default}"));
        }
        self.scalar_marks(&mut line, package, field, proto);
        if !field.patch_strategy.is_empty() {
            line.push_str(&format!(" patch={}", field.patch_strategy));
        }
        if !field.patch_merge_key.is_empty() {
            line.push_str(&format!(" key={}", field.patch_merge_key));
        }
        line
    }

    /// The values of an enumeration, the name of a scalar in Go, the message of a union.
    fn scalar_marks(&self, line: &mut String, package: &Package, field: &golang::Field, proto: &proto::Field) {
        let element = field.ty.trim_start_matches(['*', '[', ']']);
        let named = element.rsplit('.').next().unwrap_or(element);
        if proto.ty == "string" && proto.shape != Shape::Map && element != "string" {
            let owner = match element.split_once('.') {
                None => Some(package),
                Some(("v1", _)) => self.packages.get("k8s.io.api.core.v1").copied(),
                _ => None,
            };
            let values = owner
                .and_then(|owner| owner.source.enums.get(named))
                .filter(|values| !values.is_empty());
            if let Some(values) = values {
                line.push_str(&format!(" enum={}", values.join("|").replace(' ', "~")));
            }
            let version = package.name.rsplit('.').next().unwrap_or_default();
            let shown = if element.contains('.') {
                element.to_owned()
            } else {
                format!("{version}.{element}")
            };
            line.push_str(&format!(" go={shown}"));
        }
        let union = match proto.ty.rsplit('.').next().unwrap_or_default() {
            "JSONSchemaPropsOrBool" => "bool",
            "JSONSchemaPropsOrArray" => "array",
            "JSONSchemaPropsOrStringArray" => "strings",
            _ => return,
        };
        line.push_str(&format!(" wire={union}"));
    }
}

fn presence(field: &golang::Field) -> &'static str {
    let has = |option: &str| field.options.iter().any(|word| word == option);
    if field.ty.starts_with('*') {
        ""
    } else if has("omitzero") {
        " z"
    } else if has("omitempty") {
        " o"
    } else {
        " a"
    }
}

/// What the published definition says of a field.
fn marks(name: &str, property: Option<&Value>, body: Option<&Value>) -> String {
    let mut out = String::new();
    let required = body.and_then(|body| body.get("required")).and_then(Value::as_array);
    if required.is_some_and(|required| required.iter().any(|field| field.as_str() == Some(name))) {
        out.push_str(" !");
    }
    let text = |key: &str| property.and_then(|property| property.get(key)).and_then(Value::as_str);
    if text("x-kubernetes-map-type") == Some("atomic") {
        out.push_str(" map=atomic");
    }
    match text("x-kubernetes-list-type") {
        Some("map") => {
            let keys = property.and_then(|property| property.get("x-kubernetes-list-map-keys"));
            let keys = keys
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            out.push_str(&format!(" list=map:{}", keys.collect::<Vec<_>>().join(",")));
        }
        Some("set") => out.push_str(" list=set"),
        _ => {}
    }
    out
}
