//! Frames as bytes: reading their heads, writing them. Knows no stream's state.

use bytes::{Buf as _, BufMut as _, BytesMut};

use crate::Error;

pub(crate) const SYN_STREAM: u16 = 1;
pub(crate) const SYN_REPLY: u16 = 2;
pub(crate) const RST_STREAM: u16 = 3;
pub(crate) const PING: u16 = 6;
pub(crate) const GOAWAY: u16 = 7;
pub(crate) const HEADERS: u16 = 8;

/// A sender's last frame on a stream.
pub(crate) const FIN: u8 = 1;

/// Why a stream is reset.
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const REFUSED: u32 = 3;
pub(crate) const CANCEL: u32 = 5;

/// Bytes of a frame's head.
pub(crate) const HEAD: usize = 8;
/// The longest control frame that is taken.
pub(crate) const LONGEST: usize = 64 << 10;

const CONTROL: u32 = 1 << 31;
const VERSION: u32 = 3;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Data { stream: u32, fin: bool, length: usize },
    Control { kind: u16, flags: u8, length: usize },
}

impl Head {
    pub(crate) fn parse(mut bytes: &[u8]) -> Result<Head, Error> {
        if bytes.len() < HEAD {
            return Err(Error::TooShort(0));
        }
        let (first, second) = (bytes.get_u32(), bytes.get_u32());
        let flags = (second >> 24) as u8;
        let length = (second & 0xff_ffff) as usize;
        if first & CONTROL == 0 {
            return Ok(Head::Data {
                stream: first,
                fin: flags & FIN != 0,
                length,
            });
        }
        let version = (first >> 16 & 0x7fff) as u16;
        if u32::from(version) != VERSION {
            return Err(Error::Version(version));
        }
        if length > LONGEST {
            return Err(Error::TooLong(length));
        }
        Ok(Head::Control {
            kind: first as u16,
            flags,
            length,
        })
    }
}

/// The number at the beginning of a control frame, mostly a stream's.
pub(crate) fn number(kind: u16, body: &[u8]) -> Result<u32, Error> {
    let mut body = body.get(..4).ok_or(Error::TooShort(kind))?;
    Ok(body.get_u32() & !CONTROL)
}

/// What follows the fixed fields of a frame that opens a stream.
pub(crate) fn header_block(kind: u16, body: &[u8]) -> Result<&[u8], Error> {
    let fixed = if kind == SYN_STREAM { 10 } else { 4 };
    body.get(fixed..).ok_or(Error::TooShort(kind))
}

/// Writes a control frame.
pub(crate) fn control(out: &mut BytesMut, kind: u16, numbers: &[u32], rest: &[u8]) {
    out.put_u32(CONTROL | VERSION << 16 | u32::from(kind));
    out.put_u32((numbers.len() * 4 + rest.len()) as u32);
    for number in numbers {
        out.put_u32(*number);
    }
    out.put_slice(rest);
}

/// Writes the head of a data frame; its bytes follow.
pub(crate) fn data(out: &mut BytesMut, stream: u32, length: usize, fin: bool) {
    out.put_u32(stream);
    out.put_u32(u32::from(if fin { FIN } else { 0 }) << 24 | length as u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let mut out = BytesMut::new();
        data(&mut out, 5, 300, true);
        assert_eq!(out.as_ref(), [0, 0, 0, 5, 1, 0, 1, 44]);
        let head = Head::Data {
            stream: 5,
            fin: true,
            length: 300,
        };
        assert_eq!(Head::parse(&out).unwrap(), head);
        let mut out = BytesMut::new();
        control(&mut out, RST_STREAM, &[7, CANCEL], &[]);
        assert_eq!(out.as_ref(), [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 5]);
        let head = Head::Control {
            kind: RST_STREAM,
            flags: 0,
            length: 8,
        };
        assert_eq!(Head::parse(&out).unwrap(), head);
        assert!(matches!(
            Head::parse(&[0x80, 2, 0, 1, 0, 0, 0, 0]),
            Err(Error::Version(2))
        ));
        assert!(matches!(
            Head::parse(&[0x80, 3, 0, 1, 0, 255, 0, 0]),
            Err(Error::TooLong(_))
        ));
        assert!(header_block(SYN_STREAM, &[0; 9]).is_err());
    }
}
