//! Protobuf's wire format: varints, tags, lengths.

/// A value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Raw<'a> {
    /// A varint.
    Number(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// A length and so many bytes.
    Bytes(&'a [u8]),
    /// Four bytes: nothing in Kubernetes has them.
    Fixed32(u32),
}

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const LENGTH: u32 = 2;
const FIXED32: u32 = 5;

/// Writes a varint.
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn head(out: &mut Vec<u8>, tag: u32, kind: u32) {
    varint(out, u64::from(tag << 3 | kind));
}

/// Writes a number.
pub(super) fn number(out: &mut Vec<u8>, tag: u32, value: u64) {
    head(out, tag, VARINT);
    varint(out, value);
}

/// Writes a floating point number.
pub(super) fn double(out: &mut Vec<u8>, tag: u32, value: f64) {
    head(out, tag, FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Writes bytes.
pub(super) fn bytes(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    head(out, tag, LENGTH);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Writes text.
pub(super) fn text(out: &mut Vec<u8>, tag: u32, value: &str) {
    bytes(out, tag, value.as_bytes());
}

/// Begins a message whose length isn't known yet; [`close`] ends it.
pub(super) fn open(out: &mut Vec<u8>, tag: u32) -> usize {
    head(out, tag, LENGTH);
    out.push(0);
    out.len()
}

/// Ends the message that began at `start`: writes its length, for which one byte was kept free.
pub(super) fn close(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start;
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out[start - 1] = short;
        return;
    }
    let mut encoded = Vec::with_capacity(5);
    varint(&mut encoded, length as u64);
    out.splice(start - 1..start, encoded);
}

/// Takes the next field off the bytes: its tag and value. None at the end.
pub(super) fn next<'a>(bytes: &mut &'a [u8]) -> Result<Option<(u32, Raw<'a>)>, String> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let head = read_varint(bytes)?;
    let tag = u32::try_from(head >> 3).map_err(|_| format!("proto: illegal tag {}", head >> 3))?;
    if tag == 0 {
        return Err("proto: illegal tag 0 (wire type 0)".to_owned());
    }
    let value = match (head & 7) as u32 {
        VARINT => Raw::Number(read_varint(bytes)?),
        FIXED64 => Raw::Fixed64(u64::from_le_bytes(take(bytes, 8)?.try_into().unwrap_or_default())),
        LENGTH => {
            let length = read_varint(bytes)?;
            Raw::Bytes(take(bytes, usize::try_from(length).map_err(|_| end())?)?)
        }
        FIXED32 => Raw::Fixed32(u32::from_le_bytes(take(bytes, 4)?.try_into().unwrap_or_default())),
        other => return Err(format!("proto: illegal wireType {other}")),
    };
    Ok(Some((tag, value)))
}

/// Takes a varint off the bytes.
pub(super) fn read_varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or_else(end)?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if *first < 0x80 {
            return Ok(value);
        }
    }
    Err("proto: integer overflow".to_owned())
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    let (taken, rest) = bytes.split_at_checked(length).ok_or_else(end)?;
    *bytes = rest;
    Ok(taken)
}

fn end() -> String {
    "unexpected EOF".to_owned()
}
