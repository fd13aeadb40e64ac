//! The attribute format of netlink: length, type, value, padded to four bytes, nested at will.

use std::sync::atomic::{AtomicU32, Ordering};

const HEADER: usize = 16;
const NESTED: u16 = 1 << 15;
const TYPE_MASK: u16 = 0x3fff;

/// Attributes being written.
#[derive(Clone, Default)]
pub(crate) struct Attrs {
    bytes: Vec<u8>,
}

impl Attrs {
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value);
        self.close(start);
        self
    }

    /// A number in the machine's byte order, as route netlink wants it.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A number in network byte order, as netfilter wants it.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn be64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A text with the zero byte at its end.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.close(start);
        self
    }

    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Attrs)) -> &mut Self {
        let start = self.open(kind | NESTED);
        inside(self);
        self.close(start);
        self
    }

    /// Bytes that are not an attribute: the header that some nested values begin with, or attributes made before.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = self.bytes.len() - start;
        debug_assert!(length <= usize::from(u16::MAX), "an attribute of {length} bytes");
        self.bytes[start..start + 2].copy_from_slice(&(length as u16).to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Messages being written, one after the other, to be sent at once.
#[derive(Default)]
pub(crate) struct Messages {
    bytes: Attrs,
    /// The sequence numbers of those that will be answered, and what each asked for.
    pub(crate) asked: Vec<(u32, String)>,
    /// All sequence numbers with what was asked, for errors of those that ask for no answer.
    pub(crate) described: Vec<(u32, String)>,
}

impl Messages {
    /// Adds a message; `what` describes it in errors. Returns its sequence number.
    pub(crate) fn push(
        &mut self,
        kind: u16,
        flags: u16,
        what: impl Into<String>,
        header: &[u8],
        body: impl FnOnce(&mut Attrs),
    ) -> u32 {
        static SEQUENCE: AtomicU32 = AtomicU32::new(1);
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        let flags = flags | libc::NLM_F_REQUEST as u16;
        let start = self.bytes.bytes.len();
        let bytes = &mut self.bytes.bytes;
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(header);
        let padded = bytes.len().next_multiple_of(4);
        bytes.resize(padded, 0);
        body(&mut self.bytes);
        let length = (self.bytes.bytes.len() - start) as u32;
        self.bytes.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        let list = if flags & super::ACK != 0 {
            &mut self.asked
        } else {
            &mut self.described
        };
        list.push((sequence, what.into()));
        sequence
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.as_slice()
    }
}

/// One message as received.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) body: Vec<u8>,
}

/// Splits what one read returned into messages; what is cut off is left out.
pub(crate) fn split(mut bytes: &[u8]) -> Vec<Received> {
    let mut found = Vec::new();
    while let Some((header, _)) = bytes.split_at_checked(HEADER) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some(body) = bytes.get(HEADER..length) else { break };
        found.push(Received {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            body: body.to_vec(),
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The attributes in `bytes`: type and value. What is malformed ends the list.
pub(crate) fn attrs(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (header, _) = bytes.split_at_checked(4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of a type.
pub(crate) fn attr(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut written = Attrs::default();
        written.u32(1, 7).text(2, "abc").nest(3, |inner| {
            inner.bytes(4, &[1, 2, 3, 4, 5]);
        });
        let read: Vec<_> = attrs(written.as_slice()).collect();
        assert_eq!(read[0], (1, &7u32.to_ne_bytes()[..]));
        assert_eq!(read[1], (2, &b"abc\0"[..]));
        assert_eq!(attr(read[2].1, 4), Some(&[1, 2, 3, 4, 5][..]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let total: usize = attrs(&bytes).map(|(_, value)| value.len()).sum();
            prop_assert!(total <= bytes.len());
            prop_assert!(split(&bytes).len() <= bytes.len());
        }
    }
}
