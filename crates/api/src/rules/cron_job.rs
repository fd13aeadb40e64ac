//! CronJobs.

use jiff::Timestamp;
use meta::{FieldError, Path};
use serde_json::Value;

use super::check::Errors;
use super::column::{self, CONTAINERS, IMAGES, SELECTOR, boolean, integer, text};
use super::view::{Edit as _, View as _};
use super::{Column, Rules, age, job, metadata, strategy, workload};

/// The rules of `batch` `cronjobs`.
pub(crate) struct CronJob;

const COLUMNS: &[Column] = &[
    age::NAME,
    text("Schedule", "When jobs are made."),
    text("Timezone", "The time zone of the schedule."),
    boolean("Suspend", "Whether no jobs are made for now."),
    integer("Active", "How many jobs are running."),
    text("Last Schedule", "When a job was last made."),
    age::AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

impl Rules for CronJob {
    fn default(&self, object: &mut Value) {
        let spec = object.object("spec");
        spec.or_text("concurrencyPolicy", "Allow");
        spec.or("suspend", false);
        spec.or("successfulJobsHistoryLimit", 3);
        spec.or("failedJobsHistoryLimit", 1);
        let template = spec.object("jobTemplate");
        template.object("metadata");
        job::default_spec(template.object("spec"));
        object.object("status");
    }

    fn prepare_create(&self, object: &mut Value) {
        strategy::start(object);
    }

    fn prepare_update(&self, object: &mut Value, old: &Value) {
        strategy::advance(object, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::create(object, true, metadata::subdomain, &mut errors);
        spec(object.at("spec"), &mut errors);
        let name = object.at("metadata").text("name");
        if name.len() > 52 {
            errors.invalid(&Path::new("metadata.name"), name, "must be no more than 52 characters");
        }
        errors.0
    }

    fn validate_update(&self, object: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        metadata::update(object, old, &mut errors);
        spec(object.at("spec"), &mut errors);
        errors.0
    }

    fn validate_status(&self, _object: &Value, _old: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (object.at("spec"), object.at("status"));
        let job_spec = spec.at("jobTemplate").at("spec");
        let [names, images] = column::containers(job_spec.at("template").at("spec"));
        let suspend = match spec.flag("suspend") {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        };
        let last = status.at("lastScheduleTime").as_str();
        vec![
            column::name(object),
            spec.text("schedule").into(),
            spec.at("timeZone").as_str().unwrap_or("<none>").into(),
            suspend.into(),
            status.list("active").len().into(),
            last.map_or_else(|| "<none>".to_owned(), |time| age::since(time, now))
                .into(),
            age::cell(object, now),
            names,
            images,
            column::selector(job_spec.at("selector")).into(),
        ]
    }
}

fn spec(spec: &Value, errors: &mut Errors) {
    let at = Path::new("spec");
    let (schedule, at_schedule) = (spec.text("schedule"), at.child("schedule"));
    if schedule.is_empty() {
        errors.required(&at_schedule, "");
    } else {
        if let Err(reason) = check_schedule(schedule) {
            errors.invalid(&at_schedule, schedule, &reason);
        }
        if schedule.contains("TZ") {
            let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.invalid(&at_schedule, schedule, detail);
        }
    }
    workload::not_negative(spec, &at, &["startingDeadlineSeconds"], errors);
    if spec.has("timeZone") {
        time_zone(spec.text("timeZone"), &at.child("timeZone"), errors);
    }
    match spec.text("concurrencyPolicy") {
        "" => errors.required(&at.child("concurrencyPolicy"), ""),
        policy => {
            errors.one_of(&at.child("concurrencyPolicy"), policy, &["Allow", "Forbid", "Replace"]);
        }
    }
    let template = at.child("jobTemplate");
    let job_spec = spec.at("jobTemplate").at("spec");
    if job_spec.is("manualSelector") {
        errors.not_supported(
            &template.child("spec").child("manualSelector"),
            "true",
            &["nil", "false"],
        );
    }
    job::template_spec(job_spec, &template.child("spec"), errors);
    workload::not_negative(
        spec,
        &at,
        &["successfulJobsHistoryLimit", "failedJobsHistoryLimit"],
        errors,
    );
}

fn time_zone(zone: &str, at: &Path<'_>, errors: &mut Errors) {
    if zone.is_empty() {
        errors.invalid(at, zone, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("local") {
        errors.invalid(
            at,
            zone,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
    } else if !jiff::tz::db().is_definitively_empty() && jiff::tz::TimeZone::get(zone).is_err() {
        errors.invalid(at, zone, &format!("unknown time zone {zone}"));
    }
}

const FIELDS: [(i64, i64, &[&str]); 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

/// Checks a schedule: five fields, or one of the names with `@`.
fn check_schedule(schedule: &str) -> Result<(), String> {
    let schedule = match schedule
        .strip_prefix("TZ=")
        .or_else(|| schedule.strip_prefix("CRON_TZ="))
    {
        Some(rest) => rest.split_once(' ').map_or("", |(_, rest)| rest).trim(),
        None => schedule,
    };
    if let Some(name) = schedule.strip_prefix('@') {
        let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"].contains(&name);
        return if known || name.starts_with("every ") {
            Ok(())
        } else {
            Err(format!("unrecognized descriptor: {schedule}"))
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        let shown: Vec<String> = fields.iter().map(ToString::to_string).collect();
        return Err(format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            shown.join(" ")
        ));
    }
    for (field, (low, high, names)) in fields.iter().zip(FIELDS) {
        for range in field.split(',') {
            check_range(range, low, high, names)?;
        }
    }
    Ok(())
}

fn check_range(text: &str, low: i64, high: i64, names: &[&str]) -> Result<(), String> {
    let (range, step) = match text.split_once('/') {
        Some((_, step)) if step.contains('/') => return Err(format!("too many slashes: {text}")),
        Some((range, step)) => (range, Some(step)),
        None => (text, None),
    };
    let value = |text: &str| match names
        .iter()
        .zip(low..)
        .find(|(name, _)| text.eq_ignore_ascii_case(name))
    {
        Some((_, number)) => Ok(number),
        None => text
            .parse::<i64>()
            .map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")),
    };
    let (start, end) = match range {
        "*" | "?" => (low, high),
        _ => match range.split_once('-') {
            Some((_, end)) if end.contains('-') => return Err(format!("too many hyphens: {text}")),
            Some((start, end)) => (value(start)?, value(end)?),
            None => {
                let start = value(range)?;
                (start, if step.is_some() { high } else { start })
            }
        },
    };
    if let Some(step) = step
        && value(step)? == 0
    {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {text}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {text}"));
    }
    if start > end {
        return Err(format!(
            "beginning of range ({start}) beyond end of range ({end}): {text}"
        ));
    }
    Ok(())
}
