//! Durations as Go writes them (`time.Duration.String`), which is how the API has them: `1h30m0s`, `10.014s`, `345ms`.

use std::time::Duration;

const SECOND: u128 = 1_000_000_000;

/// The form in which `metav1.Duration` is kept.
#[must_use]
pub fn format(time: Duration) -> String {
    let nanos = time.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    for (unit, name) in [(1, "ns"), (1_000, "µs"), (1_000_000, "ms")] {
        if nanos < unit * 1000 {
            return format!("{}{name}", decimal(nanos, unit));
        }
    }
    let (minutes, rest) = (nanos / (60 * SECOND), nanos % (60 * SECOND));
    let seconds = decimal(rest, SECOND);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// A count of units as a decimal number without trailing zeros.
fn decimal(number: u128, unit: u128) -> String {
    let whole = number / unit;
    let digits = unit.ilog10() as usize;
    let fraction = format!("{:0digits$}", number % unit);
    match fraction.trim_end_matches('0') {
        _ if digits == 0 => whole.to_string(),
        "" => whole.to_string(),
        fraction => format!("{whole}.{fraction}"),
    }
}

/// What `time.ParseDuration` reads, without signs: decimal numbers with units, one after the other. None for what it
/// refuses, and for negative durations.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut nanos) = (text, 0_u128);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            _ => return None,
        };
        nanos = nanos.checked_add(scaled(number, unit)?)?;
        rest = after;
    }
    // Go holds an int64 of nanoseconds.
    i64::try_from(nanos)
        .ok()
        .map(|nanos| Duration::from_nanos(nanos.unsigned_abs()))
}

fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let mut nanos = match whole {
        "" => 0,
        whole => whole.parse::<u64>().ok().map(u128::from)?.checked_mul(unit)?,
    };
    let mut place = unit;
    for digit in fraction.chars() {
        place /= 10;
        nanos = nanos.checked_add(u128::from(digit.to_digit(10)?) * place)?;
    }
    Some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_written_as_go_does() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (345_000_000, "345ms"),
            (1_250_000_000, "1.25s"),
            (2_000_000_000, "2s"),
            (62_500_000_000, "1m2.5s"),
            (80_000_000_000, "1m20s"),
            (3_600_000_000_000, "1h0m0s"),
            (303_000_000_001, "5m3.000000001s"),
        ] {
            let time = Duration::from_nanos(nanos);
            assert_eq!(format(time), text);
            assert_eq!(parse(text), Some(time), "{text}");
        }
    }

    #[test]
    fn they_are_read_as_go_does() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("5.s", Some(5_000_000_000)),
            (".5s", Some(500_000_000)),
            ("1h15m30.918s", Some(4_530_918_000_000)),
            ("3us", Some(3_000)),
            ("", None),
            ("3", None),
            (".s", None),
            ("1.2.3s", None),
            ("-1s", None),
            ("1d", None),
            ("9999999999h", None),
        ] {
            assert_eq!(parse(text), nanos.map(Duration::from_nanos), "{text}");
        }
    }
}
