//! Patch: JSON patch, merge patch, strategic merge patch, and server-side apply.

use api::codec::{self, FieldValidation};
use api::merge::{self, apply};
use http::StatusCode;
use meta::Status;
use serde_json::Value;

use super::options::WriteOptions;
use super::update::{self, Target, Wanted};
use super::{Answer, Call, create, decode, ownership};
use crate::http::negotiate;
use crate::{object, wire};

/// The kinds of patches, by media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Merge,
    Strategic,
    Apply,
}

const TYPES: [&str; 5] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
];

impl Format {
    pub(crate) fn of(call: &Call) -> Result<Format, Status> {
        match negotiate::media_type(&call.headers).unwrap_or_default() {
            "application/json-patch+json" => Ok(Format::Json),
            "application/merge-patch+json" => Ok(Format::Merge),
            "application/apply-patch+yaml" => Ok(Format::Apply),
            // What a custom resource's lists are merged by is no business of Go's struct tags.
            _ if call.kind.row.custom.is_some() && call.subresource() != "scale" => {
                Err(Status::unsupported_media_type(&[TYPES[0], TYPES[1], TYPES[3]]))
            }
            "application/strategic-merge-patch+json" => Ok(Format::Strategic),
            _ => Err(Status::unsupported_media_type(&TYPES[..4])),
        }
    }
}

/// Answers a PATCH to an object, or to its status.
pub(crate) async fn patch(call: &Call) -> Result<Answer, Status> {
    let options = WriteOptions::parse(call, "PatchOptions")?;
    let format = Format::of(call)?;
    let target = update::target(call)?;
    if format == Format::Apply {
        return apply(call, &options, &target).await;
    }
    if call.query.has("force") {
        let error = meta::FieldError::forbidden("force", "may not be specified for non-apply patch");
        return Err(Status::invalid(
            &meta::GroupKind::new("meta.k8s.io", "PatchOptions"),
            "",
            &[error],
        ));
    }
    let patch = parse(call)?;
    let updated = update::change(call, &options, &target, |current| {
        let patched = patched(call, format, current, &patch, options.validation)?;
        let mut wanted = decode::reshape(call, &patched, options.validation)?;
        create::settle_namespace(call, &mut wanted)?;
        check_name(call, &wanted)?;
        Ok(Wanted::of(wanted))
    });
    Ok(updated.await?.answer())
}

/// The patch itself.
fn parse(call: &Call) -> Result<Value, Status> {
    serde_json::from_slice(&call.body).map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))
}

/// The patched object, before it is brought into shape.
pub(crate) fn patched(
    call: &Call,
    format: Format,
    current: &Value,
    patch: &Value,
    validation: FieldValidation,
) -> Result<Value, Status> {
    match format {
        Format::Json => {
            let patched = merge::json_patch(current, patch).map_err(Status::from)?;
            match validation {
                FieldValidation::Strict if !patched.strict.is_empty() => {
                    let text = patched.strict.join(", ");
                    return Err(Status::bad_request(format!("strict decoding error: {text}")));
                }
                FieldValidation::Warn => patched.strict.iter().for_each(|text| call.warn(text.clone())),
                _ => {}
            }
            Ok(patched.value)
        }
        Format::Merge => merge::merge_patch(current, patch).map_err(Status::from),
        Format::Strategic => {
            merge::strategic(call.kind.row.schema(), call.kind.row.ty, current, patch).map_err(Status::from)
        }
        Format::Apply => Err(Status::internal("an apply is no other patch")),
    }
}

fn check_name(call: &Call, wanted: &Value) -> Result<(), Status> {
    let (given, name) = (object::name(wanted), call.name()?);
    if given == name {
        return Ok(());
    }
    Err(Status::bad_request(format!(
        "the name of the object ({given}) does not match the name on the URL ({name})"
    )))
}

async fn apply(call: &Call, options: &WriteOptions, target: &Target<'_>) -> Result<Answer, Status> {
    if call.query.get("fieldManager").is_none() {
        let error = meta::FieldError::required("fieldManager", "is required for apply patch");
        return Err(Status::invalid(
            &meta::GroupKind::new("meta.k8s.io", "PatchOptions"),
            "",
            &[error],
        ));
    }
    let mut config = wire::configuration(&call.body, &call.kind)?;
    create::settle_namespace(call, &mut config)?;
    if object::name(&config).is_empty() {
        config["metadata"]["name"] = target.name.into();
    }
    check_name(call, &config)?;
    loop {
        let live = update::current(&call.core, target.kind, target.namespace, target.name).await?;
        if live.is_none() && target.subresource.is_empty() {
            let object = applied(call, options, target, None, &config)?;
            let object = decode::reshape(call, &object, FieldValidation::Ignore)?;
            if object::uid(&config).is_empty() {
                match create::new(call, options, object, true).await {
                    // Somebody else created it meanwhile: apply to theirs.
                    Err(status) if status.reason == "AlreadyExists" => continue,
                    result => {
                        let (stored, revision) = result?;
                        return Ok(Answer::Object {
                            code: StatusCode::CREATED,
                            stored,
                            revision,
                        });
                    }
                }
            }
            let why = format!(
                "uid mismatch: the provided object specified uid {}, and no existing object was found",
                object::uid(&config)
            );
            return Err(Status::conflict(&target.kind.resource, target.name, why));
        }
        let updated = update::change(call, options, target, |current| {
            let object = applied(call, options, target, Some(current), &config)?;
            let object = decode::reshape(call, &object, FieldValidation::Ignore)?;
            Ok(Wanted { object, owned: true })
        });
        return Ok(updated.await?.answer());
    }
}

/// Fields that are written twice are told of here; unknown ones are errors of apply itself.
fn strict(call: &Call, options: &WriteOptions) -> Result<(), Status> {
    if options.validation == FieldValidation::Ignore {
        return Ok(());
    }
    let Some(twice) = codec::duplicates(&call.body) else {
        return Ok(());
    };
    let why = format!("error converting YAML to JSON: {twice}");
    if options.validation == FieldValidation::Strict {
        return Err(Status::bad_request(format!("error strict decoding patch: {why}")));
    }
    call.warn(why);
    Ok(())
}

fn applied(
    call: &Call,
    options: &WriteOptions,
    target: &Target<'_>,
    live: Option<&Value>,
    config: &Value,
) -> Result<Value, Status> {
    let reset = ownership::reset(target.kind, target.subresource);
    let where_to = ownership::target(target.kind, target.subresource, &reset);
    let config = apply::Config {
        object: config,
        manager: &options.manager,
        force: options.force,
    };
    let object = apply::apply(&where_to, live, config, jiff::Timestamp::now()).map_err(Status::from)?;
    strict(call, options)?;
    Ok(object)
}
