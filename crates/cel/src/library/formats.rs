//! Kubernetes' named formats: `format.dns1123Label().validate(name)`.

use std::sync::Arc;

use base64::Engine as _;
use meta::names;

use super::{Table, opaque, text};
use crate::error::Error;
use crate::types::Type;
use crate::value::{Opaque, Value};

const NAME: &str = "kubernetes.NamedFormat";
const FORMAT: Type = Type::Opaque(NAME);

/// What is wrong with a text.
type Check = fn(&str) -> Vec<String>;

#[derive(Debug)]
struct Format {
    name: &'static str,
    check: Check,
}

impl Opaque for Format {
    fn type_name(&self) -> &'static str {
        NAME
    }

    fn equals(&self, other: &dyn Opaque) -> bool {
        other.downcast::<Format>().is_some_and(|other| other.name == self.name)
    }
}

const FORMATS: [(&str, Check); 13] = [
    ("dns1123Label", names::dns_label),
    ("dns1123Subdomain", names::dns_subdomain),
    ("dns1035Label", names::dns1035_label),
    ("qualifiedName", names::qualified_name),
    ("dns1123LabelPrefix", |text| {
        names::dns_label(&names::mask_trailing_dash(text))
    }),
    ("dns1123SubdomainPrefix", |text| {
        names::dns_subdomain(&names::mask_trailing_dash(text))
    }),
    ("dns1035LabelPrefix", |text| {
        names::dns1035_label(&names::mask_trailing_dash(text))
    }),
    ("labelValue", names::label_value),
    ("uri", |text| {
        let url = super::call("isURL", &[Value::text(text)]);
        told(matches!(url, Ok((_, Value::Bool(true)))), "invalid URI for request")
    }),
    ("uuid", |text| told(is_uuid(text), "does not match the UUID format")),
    ("byte", |text| {
        let engine = base64::engine::general_purpose::STANDARD;
        told(engine.decode(text).is_ok() && !text.is_empty(), "invalid base64")
    }),
    ("date", |text| {
        told(
            text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
            "invalid date",
        )
    }),
    ("datetime", |text| {
        told(super::timestamp(text).is_ok(), "invalid datetime")
    }),
];

fn told(fits: bool, why: &str) -> Vec<String> {
    if fits { Vec::new() } else { vec![why.to_owned()] }
}

fn is_uuid(text: &str) -> bool {
    let plain: String = text.chars().filter(|letter| *letter != '-').collect();
    let dashes_fit = match text.len() {
        32 => true,
        36 => [8, 13, 18, 23].iter().all(|at| text.as_bytes()[*at] == b'-'),
        _ => false,
    };
    dashes_fit && plain.len() == 32 && plain.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn format(name: &str) -> Option<Value> {
    let (name, check) = FORMATS.iter().find(|(known, _)| *known == name)?;
    Some(Value::opaque(Format { name, check: *check }))
}

pub(super) fn add(table: &mut Table) {
    macro_rules! constants {
        ($($name:literal),*) => {
            $(table.global(concat!("format.", $name), [], FORMAT, |_| format($name).ok_or(Error::NoSuchOverload));)*
        };
    }
    constants!(
        "dns1123Label",
        "dns1123Subdomain",
        "dns1035Label",
        "qualifiedName",
        "dns1123LabelPrefix",
        "dns1123SubdomainPrefix",
        "dns1035LabelPrefix",
        "labelValue",
        "uri",
        "uuid",
        "byte",
        "date",
        "datetime"
    );
    table.global("format.named", [Type::String], Type::optional(FORMAT), |a| {
        Ok(Value::Optional(format(text(&a[0])?).map(Arc::new)))
    });
    let wrong = Type::optional(Type::list(Type::String));
    table.method("validate", [FORMAT, Type::String], wrong, |a| {
        let wrong = (opaque::<Format>(&a[0])?.check)(text(&a[1])?);
        let wrong = (!wrong.is_empty()).then(|| Value::list(wrong.into_iter().map(Value::text).collect()));
        Ok(Value::Optional(wrong.map(Arc::new)))
    });
}
