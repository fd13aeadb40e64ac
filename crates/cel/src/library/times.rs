//! Points in time and spans.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::{Table, text};
use crate::error::Error;
use crate::types::Type;
use crate::value::Value;

pub(super) fn add(table: &mut Table) {
    table.global("duration", [Type::Duration], Type::Duration, |a| Ok(a[0].clone()));
    table.global("duration", [Type::String], Type::Duration, |a| {
        duration(text(&a[0])?).map(Value::Duration)
    });
    table.global("timestamp", [Type::Timestamp], Type::Timestamp, |a| Ok(a[0].clone()));
    table.global("timestamp", [Type::String], Type::Timestamp, |a| {
        timestamp(text(&a[0])?).map(Value::Timestamp)
    });
    table.global("timestamp", [Type::Int], Type::Timestamp, |a| match a {
        [Value::Int(seconds)] => Timestamp::from_second(*seconds)
            .map(Value::Timestamp)
            .map_err(|_| Error::Overflow("timestamp")),
        _ => Err(Error::NoSuchOverload),
    });
    let parts: [(&'static str, super::Call); 10] = [
        ("getFullYear", |a| part(a, |time| time.year().into())),
        ("getMonth", |a| part(a, |time| i64::from(time.month()) - 1)),
        ("getDate", |a| part(a, |time| time.day().into())),
        ("getDayOfMonth", |a| part(a, |time| i64::from(time.day()) - 1)),
        ("getDayOfWeek", |a| {
            part(a, |time| time.weekday().to_sunday_zero_offset().into())
        }),
        ("getDayOfYear", |a| part(a, |time| i64::from(time.day_of_year()) - 1)),
        ("getHours", |a| part(a, |time| time.hour().into())),
        ("getMinutes", |a| part(a, |time| time.minute().into())),
        ("getSeconds", |a| part(a, |time| time.second().into())),
        ("getMilliseconds", |a| part(a, |time| time.millisecond().into())),
    ];
    for (name, call) in parts {
        table.method(name, [Type::Timestamp], Type::Int, call);
        table.method(name, [Type::Timestamp, Type::String], Type::Int, call);
    }
    let spans: [(&'static str, super::Call); 4] = [
        ("getHours", |a| span(a, |span| span.as_secs() / 3600)),
        ("getMinutes", |a| span(a, |span| span.as_secs() / 60)),
        ("getSeconds", |a| span(a, |span| span.as_secs())),
        ("getMilliseconds", |a| {
            span(a, |span| (span.subsec_nanos() / 1_000_000).into())
        }),
    ];
    for (name, call) in spans {
        table.method(name, [Type::Duration], Type::Int, call);
    }
}

/// Reads a span as Go writes it: `1h30m`, `-5s`.
pub(crate) fn duration(text: &str) -> Result<SignedDuration, Error> {
    let failed = || {
        Error::other(format!(
            "type conversion error from 'string' to 'google.protobuf.Duration': {text:?}"
        ))
    };
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let parsed = meta::duration::parse(rest).ok_or_else(failed)?;
    let span = SignedDuration::try_from(parsed).map_err(|_| failed())?;
    Ok(if negative { -span } else { span })
}

/// Reads a point in time, as RFC 3339 has it.
pub(crate) fn timestamp(text: &str) -> Result<Timestamp, Error> {
    text.parse()
        .map_err(|_| Error::other("type conversion error from 'string' to 'google.protobuf.Timestamp'"))
}

/// A span as `string(...)` writes it: `5400s`.
pub(super) fn seconds(span: SignedDuration) -> String {
    let (whole, nanos) = (span.as_secs(), span.subsec_nanos().unsigned_abs());
    if nanos == 0 {
        return format!("{whole}s");
    }
    let sign = if span.is_negative() { "-" } else { "" };
    let fraction = format!("{nanos:09}");
    format!("{sign}{}.{}s", whole.unsigned_abs(), fraction.trim_end_matches('0'))
}

fn span(a: &[Value], work: fn(SignedDuration) -> i64) -> Result<Value, Error> {
    match a {
        [Value::Duration(span)] => Ok(Value::Int(work(*span))),
        _ => Err(Error::NoSuchOverload),
    }
}

fn part(a: &[Value], work: fn(&Zoned) -> i64) -> Result<Value, Error> {
    let (Some(Value::Timestamp(time)), zone) = (a.first(), a.get(1)) else {
        return Err(Error::NoSuchOverload);
    };
    let zone = match zone {
        Some(name) => zone_of(text(name)?)?,
        None => TimeZone::UTC,
    };
    Ok(Value::Int(work(&time.to_zoned(zone))))
}

/// A time zone by its name, or by how far it is from UTC: `-08:00`.
fn zone_of(name: &str) -> Result<TimeZone, Error> {
    let unknown = || Error::other(format!("unknown time zone {name}"));
    let (sign, rest) = match name.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, name.strip_prefix('+').unwrap_or(name)),
    };
    let Some((hours, minutes)) = rest.split_once(':') else {
        return if matches!(name, "UTC" | "") {
            Ok(TimeZone::UTC)
        } else {
            TimeZone::get(name).map_err(|_| unknown())
        };
    };
    let (hours, minutes): (i32, i32) = (
        hours.parse().map_err(|_| unknown())?,
        minutes.parse().map_err(|_| unknown())?,
    );
    let offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).map_err(|_| unknown())?;
    Ok(TimeZone::fixed(offset))
}
