//! The scalar types whose JSON form is checked or normalized on the way in.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meta::{Quantity, duration, quote, time};

/// A quantity's text as it is kept; the error is Kubernetes' message.
pub(super) fn quantity(text: &str) -> Result<Option<String>, String> {
    Quantity::normalize(text.trim()).map_err(|error| error.to_string())
}

/// A `Time` as it is kept: in UTC, to the second.
pub(super) fn seconds(text: &str) -> Result<Option<String>, String> {
    if is_plain(text) {
        return Ok(None);
    }
    let read = time::parse(text).ok_or_else(|| time::parse_error(text))?;
    Ok(Some(time::format_seconds(read)))
}

/// A `MicroTime` as it is kept: in UTC, with six decimals.
pub(super) fn micros(text: &str) -> Result<Option<String>, String> {
    let read =
        time::parse(text).ok_or_else(|| time::parse_error(text).replacen("05Z07:00\"", "05.000000Z07:00\"", 1))?;
    let written = time::format_micros(read);
    Ok((written != text).then_some(written))
}

/// A `Duration` as it is kept.
pub(super) fn duration(text: &str) -> Result<Option<String>, String> {
    let read = duration::parse(text).ok_or_else(|| format!("time: invalid duration {}", quote(text)))?;
    let written = duration::format(read);
    Ok((written != text).then_some(written))
}

/// Whether the text is a time in the form in which it is kept, to the letter. (The day may still be wrong for February.)
fn is_plain(text: &str) -> bool {
    text.len() == 20 && text.ends_with('Z') && time::parse(text).is_some()
}

/// Checks base64; line breaks are dropped.
pub(super) fn base64(text: &str) -> Result<Cow<'_, str>, String> {
    let text: Cow<'_, str> = if text.contains(['\r', '\n']) {
        text.replace(['\r', '\n'], "").into()
    } else {
        text.into()
    };
    match STANDARD.decode(text.as_bytes()) {
        Ok(_) => Ok(text),
        Err(error) => {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) => at,
                _ => text.len(),
            };
            Err(format!("illegal base64 data at input byte {at}"))
        }
    }
}
