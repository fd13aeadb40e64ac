//! Ages as kubectl prints them: the two largest sensible units, `<unknown>` when there is no time.

use jiff::Timestamp;
use serde_json::Value;

use super::Column;
use super::view::View as _;

/// The name column that every table begins with.
pub(crate) const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "The object's name, unique among objects of its kind in its namespace.",
    priority: 0,
};

/// The age column that most tables end with.
pub(crate) const AGE: Column = Column {
    name: "Age",
    kind: "string",
    format: "",
    description: "The time since the object was created.",
    priority: 0,
};

/// When the object was created, as a date: the column of kinds that have no table of their own.
const CREATED: Column = Column {
    name: "Created At",
    kind: "date",
    format: "",
    description: "The time at which the object was created.",
    priority: 0,
};

/// The table of kinds that have none of their own.
pub(crate) const NAME_AND_CREATED: &[Column] = &[NAME, CREATED];

/// The row for [`NAME_AND_CREATED`].
pub(crate) fn name_and_created(object: &Value) -> Vec<Value> {
    let metadata = object.at("metadata");
    vec![metadata.text("name").into(), metadata.text("creationTimestamp").into()]
}

/// The table of kinds that have nothing else to tell.
pub(crate) const NAME_AND_AGE: &[Column] = &[NAME, AGE];

/// The age of an object.
pub(crate) fn cell(object: &Value, now: Timestamp) -> Value {
    since(object.at("metadata").text("creationTimestamp"), now).into()
}

/// The time since an RFC 3339 time; `<unknown>` when it is none.
#[must_use]
pub fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(then) => human_duration(now.as_second() - then.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// A number of seconds for people: `5s`, `3m20s`, `12m`, `5h10m`, `2d3h`, `40d`, `3y12d`.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let pair = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big}{big_unit}")
        } else {
            format!("{big}{big_unit}{small}{small_unit}")
        }
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        pair(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        pair(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 24 * 8 {
        pair(hours / 24, "d", hours % 24, "h")
    } else if hours < 24 * 365 * 2 {
        format!("{days}d")
    } else if hours < 24 * 365 * 8 {
        pair(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

#[cfg(test)]
mod tests {
    use super::human_duration;

    #[test]
    fn shows_what_matters() {
        let check = |seconds: i64, text: &str| assert_eq!(human_duration(seconds), text);
        check(-2, "<invalid>");
        check(-1, "0s");
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(599, "9m59s");
        check(600, "10m");
        check(3 * 3_600, "3h");
        check(7 * 3_600 + 61, "7h1m");
        check(8 * 3_600 + 61, "8h");
        check(47 * 3_600, "47h");
        check(48 * 3_600, "2d");
        check(51 * 3_600, "2d3h");
        check(8 * 86_400, "8d");
        check(729 * 86_400, "729d");
        check(731 * 86_400, "2y1d");
        check(8 * 365 * 86_400, "8y");
    }
}
