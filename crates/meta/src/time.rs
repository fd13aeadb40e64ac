//! Times as the API writes them: RFC 3339 in UTC, to the second (`Time`) or the microsecond (`MicroTime`).

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Now, to the second.
#[must_use]
pub fn now() -> String {
    format_seconds(Timestamp::now())
}

/// Now, to the microsecond.
#[must_use]
pub fn now_micros() -> String {
    format_micros(Timestamp::now())
}

/// As `Time`: `2026-01-02T03:04:05Z`.
#[must_use]
pub fn format_seconds(time: Timestamp) -> String {
    let t = time.to_zoned(TimeZone::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        t.year(),
        t.month(),
        t.day(),
        t.hour(),
        t.minute(),
        t.second()
    )
}

/// As `MicroTime`: `2026-01-02T03:04:05.000006Z`.
#[must_use]
pub fn format_micros(time: Timestamp) -> String {
    let mut text = format_seconds(time);
    text.pop();
    let micros = time.to_zoned(TimeZone::UTC).subsec_nanosecond() / 1000;
    format!("{text}.{micros:06}Z")
}

/// A time of whole seconds and nanoseconds since 1970; none when it is outside of years 0 to 9999.
#[must_use]
pub fn from_unix(seconds: i64, nanos: i32) -> Option<Timestamp> {
    let time = Timestamp::new(seconds, nanos).ok()?;
    (MIN_SECOND..=MAX_SECOND).contains(&seconds).then_some(time)
}

const MIN_SECOND: i64 = -62_135_596_800;
const MAX_SECOND: i64 = 253_402_207_200;

/// Reads RFC 3339, strictly. None when it isn't that.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        bytes.get(from..to)?.iter().try_fold(0_i64, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0'))
        })
    };
    let literal = |at: usize, byte: u8| (bytes.get(at) == Some(&byte)).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    literal(4, b'-')
        .and(literal(7, b'-'))
        .and(literal(10, b'T'))
        .and(literal(13, b':'))
        .and(literal(16, b':'))?;
    let mut at = 19;
    let mut nanos = 0;
    if bytes.get(at) == Some(&b'.') {
        let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let kept = digits.min(9);
        nanos = number(at + 1, at + 1 + kept)? * 10_i64.pow(9 - u32::try_from(kept).ok()?);
        at += 1 + digits;
    }
    let offset = match bytes.get(at)? {
        b'Z' if bytes.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if bytes.len() == at + 6 => {
            literal(at + 3, b':')?;
            let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let date = jiff::civil::Date::new(
        i16::try_from(year).ok()?,
        i8::try_from(month).ok()?,
        i8::try_from(day).ok()?,
    );
    let midnight = date.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    Timestamp::new(
        midnight + hour * 3600 + minute * 60 + second - offset,
        i32::try_from(nanos).ok()?,
    )
    .ok()
}

/// The error that Kubernetes gives for a text that [`parse`] doesn't read.
#[must_use]
pub fn parse_error(text: &str) -> String {
    let quoted = crate::quote(text);
    let (rest, element) = unread(text);
    let layout = "2006-01-02T15:04:05Z07:00";
    format!(
        "parsing time {quoted} as \"{layout}\": cannot parse {} as {}",
        crate::quote(rest),
        crate::quote(element)
    )
}

/// What of the text isn't as the layout wants it, and which of the layout's parts that is.
fn unread(text: &str) -> (&str, &'static str) {
    let layout: [(usize, &'static str); 11] = [
        (4, "2006"),
        (1, "-"),
        (2, "01"),
        (1, "-"),
        (2, "02"),
        (1, "T"),
        (2, "15"),
        (1, ":"),
        (2, "04"),
        (1, ":"),
        (2, "05"),
    ];
    let mut at = 0;
    for (length, element) in layout {
        let is_right = text.get(at..at + length).is_some_and(|part| {
            if length == 1 {
                part == element
            } else {
                part.bytes().all(|byte| byte.is_ascii_digit())
            }
        });
        if !is_right {
            return (text.get(at..).unwrap_or_default(), element);
        }
        at += length;
    }
    (text.get(at..).unwrap_or_default(), "Z07:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, seconds, micros) in [
            (
                "2026-01-02T03:04:05Z",
                "2026-01-02T03:04:05Z",
                "2026-01-02T03:04:05.000000Z",
            ),
            (
                "2026-01-02T03:04:05.1234567Z",
                "2026-01-02T03:04:05Z",
                "2026-01-02T03:04:05.123456Z",
            ),
            (
                "2026-01-02T03:04:05+02:00",
                "2026-01-02T01:04:05Z",
                "2026-01-02T01:04:05.000000Z",
            ),
            (
                "0001-01-01T00:00:00Z",
                "0001-01-01T00:00:00Z",
                "0001-01-01T00:00:00.000000Z",
            ),
        ] {
            let time = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (format_seconds(time).as_str(), format_micros(time).as_str()),
                (seconds, micros)
            );
        }
    }

    #[test]
    fn refuses_what_is_not_rfc3339() {
        for text in [
            "",
            "2026-01-02",
            "2026-01-02 03:04:05Z",
            "2026-13-02T03:04:05Z",
            "2026-02-30T03:04:05Z",
            "2026-01-02T24:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05+0200",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(
            parse_error("yesterday"),
            r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#
        );
        assert_eq!(
            parse_error("2026-01-02"),
            r#"parsing time "2026-01-02" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#
        );
    }
}
