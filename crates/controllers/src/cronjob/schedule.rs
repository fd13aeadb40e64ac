//! Cron schedules: five fields, their names and short forms, and `@every`. Pure.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

/// Further than this nothing is looked for: such a schedule never comes.
const YEARS: i16 = 5;
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// When something is to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Schedule {
    Calendar(Calendar),
    Every(Duration),
}

/// The times whose parts are all in these sets of bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Calendar {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both days are named: one of them is enough.
    either: bool,
}

/// A field: its values, whether it stands for all of them, its names.
struct Field {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

impl Schedule {
    /// Reads a schedule.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ => text,
        };
        if let Some(text) = fields.strip_prefix("@every ") {
            let every = duration(text).ok_or_else(|| format!("failed to parse duration {text:?}"))?;
            return Ok(Self::Every(Duration::from_secs(every.as_secs().max(1))));
        }
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}: {text:?}", fields.len()));
        };
        let field = |low, high, names| Field { low, high, names };
        let (days, all_days) = field(1, 31, &[]).read(day)?;
        let (weekdays, all_weekdays) = field(0, 6, &DAYS).read(weekday)?;
        Ok(Self::Calendar(Calendar {
            minutes: field(0, 59, &[]).read(minute)?.0,
            hours: field(0, 23, &[]).read(hour)?.0,
            days,
            months: field(1, 12, &MONTHS).read(month)?.0,
            weekdays,
            either: !all_days && !all_weekdays,
        }))
    }

    /// The first time after this one, if there is any.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(every) => {
                let whole = Timestamp::from_second(after.as_second()).ok()?;
                whole.checked_add(SignedDuration::try_from(*every).ok()?).ok()
            }
            Self::Calendar(calendar) => calendar.next(after, zone),
        }
    }
}

impl Calendar {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let start = after.to_zoned(zone.clone()).date();
        let end = start.checked_add(YEARS.years()).ok()?;
        let mut day = start;
        while day <= end {
            if self.has_day(day) {
                let mut times = self.times().filter_map(|time| at(day.to_datetime(time), zone));
                if let Some(found) = times.find(|time| *time > after) {
                    return Some(found);
                }
            }
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let fits = if self.either { day || weekday } else { day && weekday };
        has(self.months, date.month()) && fits
    }

    fn times(&self) -> impl Iterator<Item = Time> {
        let (hours, minutes) = (self.hours, self.minutes);
        let hours = (0..24).filter(move |hour| has(hours, *hour));
        hours.flat_map(move |hour| {
            let minutes = (0..60).filter(move |minute| has(minutes, *minute));
            minutes.filter_map(move |minute| Time::new(hour, minute, 0, 0).ok())
        })
    }
}

fn has(set: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| set & (1 << value) != 0)
}

/// The moment of a local time; none when clocks skip it.
fn at(time: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let zoned = zone.to_zoned(time).ok()?;
    (zoned.datetime() == time).then(|| zoned.timestamp())
}

impl Field {
    /// The values, and whether the field stands for all of them.
    fn read(&self, text: &str) -> Result<(u64, bool), String> {
        let (mut values, mut all) = (0, false);
        for part in text.split(',') {
            let (range, step) = part
                .split_once('/')
                .map_or((part, None), |(range, step)| (range, Some(step)));
            let step_by = match step {
                Some(step) => number(step)?,
                None => 1,
            };
            let (low, high) = match range.split_once('-') {
                _ if matches!(range, "*" | "?") => {
                    all |= step_by == 1;
                    (self.low, self.high)
                }
                Some((low, high)) => (self.value(low)?, self.value(high)?),
                // With a step, a single value is where it begins.
                None if step.is_some() => (self.value(range)?, self.high),
                None => (self.value(range)?, self.value(range)?),
            };
            if low < self.low || high > self.high || low > high || step_by == 0 {
                return Err(format!("{part:?} is not between {} and {}", self.low, self.high));
            }
            for value in (low..=high).step_by(usize::try_from(step_by).unwrap_or(usize::MAX)) {
                values |= 1 << value;
            }
        }
        Ok((values, all))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let lower = text.to_ascii_lowercase();
        match self.names.iter().position(|name| *name == lower) {
            Some(place) => Ok(self.low + u32::try_from(place).unwrap_or(0)),
            None => number(text),
        }
    }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("failed to parse int from {text:?}"))
}

/// Go's durations, such as `1h30m`.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(total).ok())?
}
