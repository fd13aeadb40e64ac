//! How long a bootstrap token lives. Pure.

use std::time::Duration;

use jiff::Timestamp;

/// What becomes of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It never expires.
    Stays,
    Expires(Duration),
    Goes,
}

/// By what the token says of its end. One that can't be read is taken for over: nobody could say when it should end.
pub(crate) fn fate(expiration: Option<&str>, now: Timestamp) -> Fate {
    let Some(text) = expiration.filter(|text| !text.is_empty()) else {
        return Fate::Stays;
    };
    let left = meta::time::parse(text).map(|end| end.duration_since(now));
    match left.and_then(|left| Duration::try_from(left).ok()) {
        Some(left) if !left.is_zero() => Fate::Expires(left),
        _ => Fate::Goes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;

    #[test]
    fn a_token_goes_when_its_time_is_over_and_not_before() {
        let end = meta::time::format_seconds(at(100));
        assert_eq!(fate(None, at(0)), Fate::Stays);
        assert_eq!(fate(Some(""), at(0)), Fate::Stays);
        assert_eq!(fate(Some(&end), at(40)), Fate::Expires(Duration::from_secs(60)));
        assert_eq!(fate(Some(&end), at(100)), Fate::Goes);
        assert_eq!(fate(Some(&end), at(101)), Fate::Goes);
        assert_eq!(fate(Some("soon"), at(0)), Fate::Goes);
    }
}
