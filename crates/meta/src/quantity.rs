//! Resource quantities: `500m`, `1.5Gi`, `12e6`. Exact, never floating point; written in Kubernetes' canonical form.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

/// An amount, to the nano. It remembers the family of suffixes that it was written with, which plays no part in
/// comparing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// The family of suffixes of a [`Quantity`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `m`, none, `k`, `M`, ...: powers of 1000.
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, ...: powers of 1024.
    BinarySi,
    /// `e3`, `e6`, ...
    DecimalExponent,
}

/// Why a text is no quantity, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It doesn't look like one.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// Its number can't be read, or is greater than 10^29.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// Nobody knows its suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANO: i128 = 1_000_000_000;
const DECIMAL_SUFFIXES: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl Quantity {
    /// None of it.
    pub const ZERO: Quantity = Quantity {
        nanos: 0,
        format: Format::DecimalSi,
    };

    /// So many units.
    #[must_use]
    pub fn from_units(units: i64, format: Format) -> Self {
        Quantity {
            nanos: i128::from(units) * NANO,
            format,
        }
    }

    /// So many thousandths.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Quantity {
            nanos: i128::from(millis) * (NANO / 1000),
            format: Format::DecimalSi,
        }
    }

    /// The family of suffixes that it is written with.
    #[must_use]
    pub fn format(self) -> Format {
        self.format
    }

    /// The same amount, written with another family of suffixes.
    #[must_use]
    pub fn with_format(self, format: Format) -> Self {
        Quantity { format, ..self }
    }

    /// Units, rounded up (away from zero), as Kubernetes' `Value()`.
    #[must_use]
    pub fn units(self) -> i64 {
        saturate(divide_away(self.nanos, NANO))
    }

    /// Thousandths, rounded up (away from zero), as Kubernetes' `MilliValue()`.
    #[must_use]
    pub fn millis(self) -> i64 {
        saturate(divide_away(self.nanos, NANO / 1000))
    }

    /// Approximately.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Whether there is none of it.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is less than nothing.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// So many times as much, within what can be held.
    #[must_use]
    pub fn times(self, factor: i64) -> Self {
        Quantity {
            nanos: self.nanos.saturating_mul(i128::from(factor)),
            ..self
        }
    }

    /// What Kubernetes keeps of a text that it read: the text itself where that is canonical enough, otherwise the
    /// canonical form. The codecs write this.
    ///
    /// # Errors
    /// When the text is no quantity.
    pub fn normalize(text: &str) -> Result<Option<String>, QuantityError> {
        if text == "0" {
            return Ok(None);
        }
        let parts = Parts::read(text)?;
        if parts.is_kept() {
            return Ok(None);
        }
        let written = parts.quantity()?.to_string();
        Ok((written != text).then_some(written))
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// Division that rounds away from zero.
fn divide_away(value: i128, by: i128) -> i128 {
    let (quotient, rest) = (value / by, value % by);
    quotient + rest.signum()
}

/// A quantity's text, taken apart.
struct Parts<'a> {
    negative: bool,
    /// The digits before the point without leading zeros, the digits after it.
    whole: &'a str,
    fraction: &'a str,
    base: i128,
    exponent: i32,
    format: Format,
}

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, rest) = rest.split_at(digits(rest));
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(digits(rest)),
            None => ("", rest),
        };
        let letters = suffix.bytes().take_while(|byte| b"eEinumkKMGTP".contains(byte)).count();
        let power = suffix[letters..].strip_prefix(['-', '+']).unwrap_or(&suffix[letters..]);
        if !power.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(QuantityError::Format);
        }
        let (base, exponent, format) = read_suffix(suffix)?;
        Ok(Parts {
            negative,
            whole: whole.trim_start_matches('0'),
            fraction,
            base,
            exponent,
            format,
        })
    }

    /// Whether Kubernetes keeps the text that it read instead of writing the amount anew.
    fn is_kept(&self) -> bool {
        let whole = if self.whole.is_empty() { "0" } else { self.whole };
        let digits = || whole.bytes().chain(self.fraction.bytes());
        let length = i32::try_from(whole.len() + self.fraction.len()).unwrap_or(i32::MAX);
        if self.format == Format::BinarySi {
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
            let precision = 15 - length - (self.exponent as f32 * 3.0 / 10.0) as i32 - 1;
            let is_odd_enough = || whole.parse::<i64>().is_ok_and(|value| value & 7 != 0);
            return self.fraction.is_empty() && precision >= 0 && is_odd_enough();
        }
        let scale = self.exponent - i32::try_from(self.fraction.len()).unwrap_or(i32::MAX);
        let ends_in_thousand = length >= 3 && digits().rev().take(3).all(|digit| digit == b'0');
        length <= 18 && scale >= -9 && scale % 3 == 0 && !ends_in_thousand && !whole.starts_with('0')
    }

    fn quantity(&self) -> Result<Quantity, QuantityError> {
        let fraction = self.fraction.trim_end_matches('0');
        if self.whole.is_empty() && fraction.is_empty() {
            return Ok(Quantity {
                nanos: 0,
                format: self.format,
            });
        }
        let mut number: i128 = 0;
        for digit in self.whole.bytes().chain(fraction.bytes()) {
            let digit = i128::from(digit - b'0');
            number = number
                .checked_mul(10)
                .and_then(|n| n.checked_add(digit))
                .ok_or(QuantityError::Number)?;
        }
        let fraction_length = i32::try_from(fraction.len()).map_err(|_| QuantityError::Number)?;
        let mut power = 9 - fraction_length;
        if self.base == 2 {
            number = number.checked_mul(1 << self.exponent).ok_or(QuantityError::Number)?;
        } else {
            power = power.saturating_add(self.exponent);
        }
        let magnitude = if power >= 0 {
            let factor = 10_i128.checked_pow(power.unsigned_abs()).ok_or(QuantityError::Number)?;
            number.checked_mul(factor).ok_or(QuantityError::Number)?
        } else {
            10_i128
                .checked_pow(power.unsigned_abs())
                .map_or(1, |divisor| divide_away(number, divisor))
        };
        let magnitude = if self.base == 2 {
            magnitude.min(i128::from(i64::MAX) * NANO)
        } else {
            magnitude
        };
        let format = if self.base == 2 && magnitude < NANO {
            Format::DecimalSi
        } else {
            self.format
        };
        Ok(Quantity {
            nanos: if self.negative { -magnitude } else { magnitude },
            format,
        })
    }
}

fn read_suffix(suffix: &str) -> Result<(i128, i32, Format), QuantityError> {
    if let Some((_, exponent)) = DECIMAL_SUFFIXES.iter().find(|(known, _)| *known == suffix) {
        return Ok((10, *exponent, Format::DecimalSi));
    }
    if let Some(place) = BINARY_SUFFIXES.iter().position(|known| *known == suffix) {
        return Ok((2, i32::try_from(place * 10).unwrap_or(0), Format::BinarySi));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).and_then(|power| power.parse().ok());
    exponent
        .map(|exponent| (10, exponent, Format::DecimalExponent))
        .ok_or(QuantityError::Suffix)
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Parts::read(text)?.quantity()
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let whole = self.nanos / NANO;
        let is_binary = self.format == Format::BinarySi && whole.abs() >= 1024 && self.nanos % NANO == 0;
        if is_binary {
            let (mut number, mut place) = (whole, 0);
            while number % 1024 == 0 && place + 1 < BINARY_SUFFIXES.len() {
                number /= 1024;
                place += 1;
            }
            return write!(f, "{number}{}", BINARY_SUFFIXES[place]);
        }
        let (mut number, mut exponent) = (self.nanos, -9);
        let last = if self.format == Format::DecimalExponent {
            i32::MAX
        } else {
            18
        };
        while number % 1000 == 0 && exponent < last {
            number /= 1000;
            exponent += 3;
        }
        write!(f, "{number}")?;
        match (self.format, exponent) {
            (_, 0) => Ok(()),
            (Format::DecimalExponent, exponent) => write!(f, "e{exponent}"),
            (_, exponent) => {
                let suffix = DECIMAL_SUFFIXES.iter().find(|(_, known)| *known == exponent);
                f.write_str(suffix.map_or("", |(suffix, _)| suffix))
            }
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nanos.hash(state);
    }
}

/// The sum, within what can be held; nothing takes the other's suffixes, as in Kubernetes.
impl Add for Quantity {
    type Output = Quantity;

    fn add(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity {
            nanos: self.nanos.saturating_add(other.nanos),
            format,
        }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Quantity) {
        *self = *self + other;
    }
}

impl Sub for Quantity {
    type Output = Quantity;

    fn sub(self, other: Quantity) -> Quantity {
        self + -other
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Quantity) {
        *self = *self - other;
    }
}

impl Neg for Quantity {
    type Output = Quantity;

    fn neg(self) -> Quantity {
        Quantity {
            nanos: self.nanos.saturating_neg(),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn writes_the_canonical_form() {
        for (text, written) in [
            ("0", "0"),
            ("0Gi", "0"),
            ("1.5", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("1000m", "1"),
            ("1024", "1024"),
            ("1024Mi", "1Gi"),
            ("1000Mi", "1000Mi"),
            ("0.5Ki", "512"),
            ("0.1Ki", "102400m"),
            ("100k", "100k"),
            ("1000k", "1M"),
            ("12e6", "12e6"),
            ("1200e4", "12e6"),
            ("0.1m", "100u"),
            ("0.1n", "1n"),
            ("1e-12", "1e-9"),
            ("-1.5", "-1500m"),
            ("-0.1n", "-1n"),
            ("8Ei", "9223372036854775807"),
            (".5", "500m"),
            ("5.", "5"),
            ("1000E", "1000E"),
            ("1Ki", "1Ki"),
            ("512Mi", "512Mi"),
        ] {
            assert_eq!(read(text).to_string(), written, "{text}");
        }
    }

    #[test]
    fn keeps_texts_that_kubernetes_keeps() {
        for (text, kept) in [
            ("1.500", None),
            ("100m", None),
            ("05", None),
            ("1Gi", None),
            ("8Gi", None),
            ("1500m", None),
            ("1000m", Some("1")),
            ("0.001", Some("1m")),
            ("1.5", Some("1500m")),
            ("1024Mi", Some("1Gi")),
            ("0.5Gi", Some("512Mi")),
            ("1e3", None),
        ] {
            assert_eq!(Quantity::normalize(text).unwrap().as_deref(), kept, "{text}");
        }
    }

    #[test]
    fn refuses_with_kubernetes_words() {
        for (text, error) in [
            ("", QuantityError::Format),
            ("1 ", QuantityError::Format),
            ("1.1.1", QuantityError::Format),
            ("abc", QuantityError::Format),
            ("1x", QuantityError::Format),
            ("1mm", QuantityError::Suffix),
            ("1i", QuantityError::Suffix),
            ("1ki", QuantityError::Suffix),
            ("1e", QuantityError::Suffix),
            ("1e999999999", QuantityError::Number),
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn compares_and_adds_exactly() {
        assert_eq!(read("1"), read("1000m"));
        assert!(read("1Gi") > read("1G"));
        assert_eq!((read("100m") + read("1")).to_string(), "1100m");
        assert_eq!((read("1Gi") - read("512Mi")).to_string(), "512Mi");
        assert_eq!((Quantity::ZERO + read("1Gi")).to_string(), "1Gi");
        assert_eq!(read("1.1").units(), 2);
        assert_eq!(read("-1.1").units(), -2);
        assert_eq!(read("1u").millis(), 1);
        assert_eq!(read("2.5").millis(), 2500);
        assert_eq!(Quantity::from_units(3, Format::BinarySi).times(1024).to_string(), "3Ki");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+]?[0-9.]{0,20}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,3}") {
            let _ = text.parse::<Quantity>();
            let _ = Quantity::normalize(&text);
        }

        #[test]
        fn the_canonical_form_is_the_same_amount(number in -1_000_000i64..1_000_000, suffix in 0usize..17) {
            let suffixes: Vec<&str> = DECIMAL_SUFFIXES.iter().map(|(s, _)| *s).chain(BINARY_SUFFIXES).collect();
            let once = read(&format!("{number}{}", suffixes[suffix]));
            let twice = read(&once.to_string());
            prop_assert_eq!(once, twice);
            prop_assert_eq!(once.to_string(), twice.to_string());
        }
    }
}
