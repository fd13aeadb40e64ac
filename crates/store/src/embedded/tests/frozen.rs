//! The format on the disk is frozen: these bytes were written once and must stay readable, and what is written now must
//! be the same bytes.

use bytes::Bytes;
use meta::Revision;

use super::sim::Sim;
use crate::embedded::Options;
use crate::embedded::format::{Effect, Entry, FileKind, Frame, Header, Kept, Write};
use crate::{Embedded, Error};

const SALT: u32 = 0x0102_0304;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn header(kind: FileKind) -> Header {
    Header {
        kind,
        number: 7,
        revision: Revision(41),
        compacted: Revision(9),
        salt: SALT,
    }
}

#[test]
fn headers() {
    let log = header(FileKind::Log).encode();
    assert_eq!(hex(&log), LOG_HEADER);
    assert_eq!(Header::decode(&log), Ok(header(FileKind::Log)));
    let state = header(FileKind::State).encode();
    assert_eq!(hex(&state), STATE_HEADER);
    assert_eq!(Header::decode(&state), Ok(header(FileKind::State)));
}

#[test]
fn frames() {
    let put = |expires| Effect::Put {
        value: Bytes::from_static(b"value"),
        expires,
    };
    let writes = vec![
        Write {
            key: "/a".into(),
            effect: put(0),
        },
        Write {
            key: "/b".into(),
            effect: put(1_800_000_000_000),
        },
        Write {
            key: "/c".into(),
            effect: Effect::Delete,
        },
    ];
    let entries = [
        (Entry::Txn(writes), TXN),
        (Entry::Compact(Revision(40)), COMPACT),
        (Entry::Closed, CLOSED),
    ];
    for (entry, expected) in entries {
        let frame = Frame {
            revision: Revision(42),
            durable: 64,
            time: 1_700_000_000_000,
            entry,
        };
        let mut bytes = Vec::new();
        frame.encode(SALT, &mut bytes);
        assert_eq!(hex(&bytes), expected);
        assert_eq!(Frame::decode(&bytes[12..]), Some(frame));
    }
}

#[test]
fn records_of_checkpoints() {
    let kept = Kept {
        key: "/a".into(),
        revision: Revision(5),
        value: Bytes::from_static(b"value"),
        expires: 6,
    };
    let mut bytes = Vec::new();
    kept.encode(&mut bytes);
    assert_eq!(hex(&bytes), KEPT);
}

#[test]
fn a_newer_format_is_refused() {
    let mut bytes = header(FileKind::Log).encode();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    let disk = Sim::of(&[("log-0000000000000007".to_owned(), bytes.to_vec())]);
    let opened = Embedded::open_on(disk.media(), Options::default());
    assert!(matches!(opened, Err(Error::Format { found: 2, known: 1, .. })));
}

const LOG_HEADER: &str = "67616e7472796c67010000000000000007000000000000002900000000000000090000000000000000000000000000000000000000000000040302019aaaeb7b";
const STATE_HEADER: &str = "67616e7472797374010000000000000007000000000000002900000000000000090000000000000000000000000000000000000000000000040302019fedc26b";
const TXN: &str = "5ae5a3f749000000f7a27947010003002a0000000000000040000000000000000068e5cf8b010000010200050000002f6176616c75650202000500000000505c18a30100002f6276616c7565030200000000002f63";
const COMPACT: &str =
    "5ae5a3f724000000a6f012b8020000002a0000000000000040000000000000000068e5cf8b0100002800000000000000";
const CLOSED: &str = "5ae5a3f71c000000f57ae698030000002a0000000000000040000000000000000068e5cf8b010000";
const KEPT: &str = "020005000000050000000000000006000000000000002f6176616c7565";
