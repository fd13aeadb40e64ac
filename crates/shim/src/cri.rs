//! The text that shims write: log lines' prefixes in the CRI's format, times, numbers. `core` alone; both sides use it.

/// Longest line kept together; a longer one is written in parts marked `P`.
pub const LINE: usize = 16 * 1024;
/// Bytes of `2026-01-02T03:04:05.123456789Z stdout F `.
pub const PREFIX: usize = 40;

/// The beginning of a log entry.
pub fn prefix(seconds: u64, nanos: u32, stdout: bool, full: bool) -> [u8; PREFIX] {
    let mut text = *b"0000-00-00T00:00:00.000000000Z stdout F ";
    let (year, month, day) = civil(seconds / 86_400);
    let second = seconds % 86_400;
    digits(&mut text[0..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], second / 3600);
    digits(&mut text[14..16], second / 60 % 60);
    digits(&mut text[17..19], second % 60);
    digits(&mut text[20..29], u64::from(nanos));
    if !stdout {
        text[34..37].copy_from_slice(b"err");
    }
    if !full {
        text[38] = b'P';
    }
    text
}

/// Writes a number with leading zeros into all of `to`.
pub fn digits(to: &mut [u8], mut number: u64) {
    for digit in to.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of a number of days since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years begin in March here, so that the leap day is a year's last; eras are 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Text being put together in a fixed place; what does not fit is cut off.
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Text<N> {
    /// No text yet.
    pub const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    /// Adds bytes.
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            // One place is kept for the NUL of `c_str`.
            if self.len + 1 < N {
                self.bytes[self.len] = *byte;
                self.len += 1;
            }
        }
        self
    }

    /// Adds a number in decimal.
    pub fn number(&mut self, number: u64) -> &mut Self {
        let mut text = [0; 20];
        digits(&mut text, number);
        let first = text.iter().position(|digit| *digit != b'0').unwrap_or(19);
        self.put(&text[first..])
    }

    /// Adds `seconds.nanoseconds`.
    pub fn time(&mut self, seconds: u64, nanos: u64) -> &mut Self {
        let mut text = [0; 9];
        digits(&mut text, nanos);
        self.number(seconds).put(b".").put(&text)
    }

    /// What was put.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The same with a NUL after it.
    pub fn c_str(&self) -> &[u8] {
        &self.bytes[..=self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_rfc_3339_with_nanoseconds() {
        let check = |seconds, nanos, want: &str| {
            assert_eq!(
                core::str::from_utf8(&prefix(seconds, nanos, true, true)).unwrap(),
                format!("{want} stdout F ")
            );
        };
        check(0, 0, "1970-01-01T00:00:00.000000000Z");
        check(951_782_399, 7, "2000-02-28T23:59:59.000000007Z");
        check(951_782_400, 123_456_789, "2000-02-29T00:00:00.123456789Z");
        check(4_107_542_399, 999_999_999, "2100-02-28T23:59:59.999999999Z");
        check(4_107_542_400, 1, "2100-03-01T00:00:00.000000001Z");
        assert_eq!(&prefix(0, 0, false, false)[31..], b"stderr P ");
    }

    #[test]
    fn text_is_cut_off_and_ended() {
        let mut text = Text::<8>::default();
        assert_eq!(text.number(0).put(b"/").number(1_234_567).c_str(), b"0/12345\0");
        assert_eq!(Text::<32>::default().time(12, 34).bytes(), b"12.000000034");
    }
}
