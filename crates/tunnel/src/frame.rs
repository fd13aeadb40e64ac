//! The frames of an exec body: `[channel u8][length u32, big endian][bytes]`. The channels are those of Kubernetes'
//! remotecommand protocol. It is a released format.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// What the process reads.
pub const STDIN: u8 = 0;
/// What the process writes.
pub const STDOUT: u8 = 1;
/// What the process complains.
pub const STDERR: u8 = 2;
/// How it ended: one `Status` as JSON.
pub const ERROR: u8 = 3;
/// A new terminal size: `{"Width":80,"Height":24}`.
pub const RESIZE: u8 = 4;
/// The channel whose number is the one byte of the frame is closed (half-close of stdin).
pub const CLOSE: u8 = 255;

/// The largest payload that is accepted; senders split above 64 KiB anyway.
pub const MAX_PAYLOAD: usize = 1 << 20;

const HEADER: usize = 5;

/// One piece of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// One of the constants of this module.
    pub channel: u8,
    /// The piece.
    pub data: Bytes,
}

impl Frame {
    /// A frame of `data` on `channel`.
    pub fn new(channel: u8, data: impl Into<Bytes>) -> Frame {
        Frame {
            channel,
            data: data.into(),
        }
    }

    /// The frame as bytes of a body.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER + self.data.len());
        put(&mut out, self);
        out.freeze()
    }
}

/// The codec for `tokio_util::codec::Framed*`; also fit for feeding chunks of a body by hand with
/// [`Decoder::decode`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Codec;

impl Decoder for Codec {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Frame>, io::Error> {
        if src.len() < HEADER {
            return Ok(None);
        }
        let length = u32::from_be_bytes([src[1], src[2], src[3], src[4]]) as usize;
        if length > MAX_PAYLOAD {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a frame of {length} bytes is too long"),
            ));
        }
        if src.len() < HEADER + length {
            src.reserve(HEADER + length - src.len());
            return Ok(None);
        }
        let channel = src[0];
        src.advance(HEADER);
        Ok(Some(Frame {
            channel,
            data: src.split_to(length).freeze(),
        }))
    }
}

impl Encoder<Frame> for Codec {
    type Error = io::Error;

    fn encode(&mut self, frame: Frame, dst: &mut BytesMut) -> Result<(), io::Error> {
        if frame.data.len() > MAX_PAYLOAD {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a frame is too long"));
        }
        dst.reserve(HEADER + frame.data.len());
        put(dst, &frame);
        Ok(())
    }
}

fn put(out: &mut BytesMut, frame: &Frame) {
    out.put_u8(frame.channel);
    out.put_u32(u32::try_from(frame.data.len()).unwrap_or(u32::MAX));
    out.put_slice(&frame.data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_frozen() {
        assert_eq!(Frame::new(STDOUT, "hi").encode().as_ref(), b"\x01\x00\x00\x00\x02hi");
        assert_eq!(
            Frame::new(CLOSE, vec![STDIN]).encode().as_ref(),
            b"\xff\x00\x00\x00\x01\x00"
        );
    }

    #[test]
    fn frames_survive_any_split() {
        let frames = [
            Frame::new(STDOUT, "hello"),
            Frame::new(STDERR, ""),
            Frame::new(ERROR, vec![7; 3000]),
        ];
        let wire: Vec<u8> = frames.iter().flat_map(|frame| frame.encode().to_vec()).collect();
        for chunk in [1, 2, 5, 7, 4096] {
            let mut buffer = BytesMut::new();
            let mut seen = Vec::new();
            for piece in wire.chunks(chunk) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = Codec.decode(&mut buffer).unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, frames);
        }
    }

    #[test]
    fn a_length_that_no_sender_uses_is_an_error() {
        let mut buffer = BytesMut::from(&b"\x01\xff\xff\xff\xff"[..]);
        assert!(Codec.decode(&mut buffer).is_err());
    }
}
