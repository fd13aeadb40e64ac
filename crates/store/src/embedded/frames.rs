//! Reads a file frame by frame from the front, in large strides.

use std::sync::Arc;

use super::format::{FRAME_HEAD, checksum, decode_head};
use super::media::File;
use super::{damaged, io_error};
use crate::Error;

const STRIDE: usize = 256 << 10;

/// What comes next in a file.
pub(crate) enum Next {
    /// A frame with a right checksum: where it begins, and its body.
    Frame { offset: u64, body: std::ops::Range<usize> },
    /// The file ends here, after a whole frame.
    End,
    /// What is here is no frame.
    Bad { offset: u64 },
}

/// A reader; [`Frames::body`] gives the bytes of the last frame.
pub(crate) struct Frames {
    name: String,
    file: Arc<dyn File>,
    salt: u32,
    /// Where in the file the buffer begins.
    base: u64,
    buffer: Vec<u8>,
    /// Where in the buffer the next frame begins.
    position: usize,
    at_end: bool,
}

impl Frames {
    pub(crate) fn new(name: &str, file: Arc<dyn File>, salt: u32, offset: u64) -> Self {
        Self {
            name: name.to_owned(),
            file,
            salt,
            base: offset,
            buffer: Vec::new(),
            position: 0,
            at_end: false,
        }
    }

    /// Where the next frame begins.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.position as u64
    }

    pub(crate) fn next(&mut self) -> Result<Next, Error> {
        let offset = self.offset();
        if !self.have(FRAME_HEAD)? {
            let left = self.buffer.len() - self.position;
            return Ok(if left == 0 { Next::End } else { Next::Bad { offset } });
        }
        let head = &self.buffer[self.position..self.position + FRAME_HEAD];
        let Some((len, crc)) = decode_head(head) else {
            return Ok(Next::Bad { offset });
        };
        if !self.have(FRAME_HEAD + len)? {
            return Ok(Next::Bad { offset });
        }
        let start = self.position + FRAME_HEAD;
        let body = start..start + len;
        if checksum(
            self.salt,
            u32::try_from(len).unwrap_or(u32::MAX),
            &self.buffer[body.clone()],
        ) != crc
        {
            return Ok(Next::Bad { offset });
        }
        self.position = body.end;
        Ok(Next::Frame { offset, body })
    }

    /// The bytes of a frame that has just been read.
    pub(crate) fn body(&self, body: std::ops::Range<usize>) -> &[u8] {
        &self.buffer[body]
    }

    /// Goes on looking one byte further: for frames behind a damaged place.
    pub(crate) fn skip(&mut self) -> Result<bool, Error> {
        if !self.have(1)? {
            return Ok(false);
        }
        self.position += 1;
        Ok(true)
    }

    /// Whether the buffer has so many bytes from the position on; reads more when it must.
    fn have(&mut self, len: usize) -> Result<bool, Error> {
        while self.buffer.len() - self.position < len && !self.at_end {
            self.buffer.drain(..self.position);
            self.base += self.position as u64;
            self.position = 0;
            let old = self.buffer.len();
            self.buffer.resize(old + STRIDE.max(len), 0);
            let read = self.file.read_at(&mut self.buffer[old..], self.base + old as u64);
            let read = read.map_err(|error| io_error(&format!("reading {}", self.name), error))?;
            self.buffer.truncate(old + read);
            self.at_end = self.buffer.len() < old + STRIDE.max(len);
        }
        Ok(self.buffer.len() - self.position >= len)
    }

    /// The error for something wrong in this file.
    pub(crate) fn damaged(&self, offset: u64, detail: &str) -> Error {
        damaged(&self.name, offset, detail)
    }
}
