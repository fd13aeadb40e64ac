//! A batch: changes of one table that the kernel takes all at once or not at all.

use super::message as m;
use super::rule::{Rule, Target, verdict};
use super::{FAMILY, SUBSYSTEM, header, kind};
use crate::netlink::{ACK, APPEND, Attrs, CREATE, Messages, Refused, Socket};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// Elements are sent in messages of about this size: the length of an attribute has sixteen bits.
const CHUNK: usize = 48 * 1024;
const POLICY_ACCEPT: u32 = 1;
const SET_MAP: u32 = 8;
const SET_TIMEOUT: u32 = 0x10;
const SET_EVALUATED: u32 = 0x20;
const VERDICT_TYPE: u32 = 0xffff_ff00;

/// The hook that a base chain hangs on.
pub(crate) struct Base {
    pub(crate) kind: &'static str,
    pub(crate) hook: u32,
    pub(crate) priority: i32,
}

/// What the elements of a set have beside their key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Map {
    /// Nothing.
    None,
    /// Where packets go.
    Verdict,
    /// A value of so many bytes.
    Value(u32),
    /// A value of so many bytes, put by rules, which expires.
    Remembered(u32),
}

/// A set or map to be made.
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) key: u32,
    /// What the key's parts are. The kernel only keeps it, for nft(8) to print.
    pub(crate) kind: u32,
    pub(crate) map: Map,
}

/// Kinds of values, as nft(8) numbers them (`enum datatypes`).
pub(crate) mod types {
    pub(crate) const ADDRESS: u32 = 7;
    pub(crate) const PROTOCOL: u32 = 12;
    pub(crate) const PORT: u32 = 13;
    pub(crate) const NUMBER: u32 = 19;

    /// The number of a concatenation: six bits a part.
    pub(crate) const fn kinds(parts: &[u32]) -> u32 {
        let (mut all, mut i) = (0, 0);
        while i < parts.len() {
            all = all << 6 | parts[i];
            i += 1;
        }
        all
    }
}

/// A number, or an endpoint: address and port.
fn value_kind(length: u32) -> u32 {
    if length == 4 {
        types::NUMBER
    } else {
        types::kinds(&[types::ADDRESS, types::PORT])
    }
}

/// One element of a set.
pub(crate) enum Element<'a> {
    Key(Vec<u8>),
    Value(Vec<u8>, Vec<u8>),
    Verdict(Vec<u8>, Target<'a>),
}

/// The changes, in order.
pub(crate) struct Batch {
    messages: Messages,
    family: u8,
    table: String,
    sets: u32,
}

impl Batch {
    /// Changes of a table of IPv4.
    pub(crate) fn new(table: &str) -> Batch {
        Batch::of_family(FAMILY, table)
    }

    /// Changes of a table of the host's, whatever its family.
    pub(crate) fn of_family(family: u8, table: &str) -> Batch {
        let mut messages = Messages::default();
        messages.push(
            BATCH_BEGIN,
            0,
            "changing nf_tables",
            &[0, 0, 0, SUBSYSTEM as u8],
            |_| {},
        );
        Batch {
            messages,
            family,
            table: table.to_owned(),
            sets: 0,
        }
    }

    /// Has the kernel take it all.
    pub(crate) fn commit(mut self, socket: &mut Socket) -> Result<(), Refused> {
        self.messages
            .push(BATCH_END, 0, "changing nf_tables", &[0, 0, 0, SUBSYSTEM as u8], |_| {});
        socket.transact(&self.messages)
    }

    /// Makes the table, or leaves one of that name as it is.
    pub(crate) fn table(&mut self, note: &[u8]) {
        self.message(m::NEW_TABLE, ACK | CREATE, "making a table", |body, table| {
            body.text(1, table).be32(2, 0).bytes(6, note);
        });
    }

    pub(crate) fn delete_table(&mut self) {
        self.message(m::DELETE_TABLE, ACK, "deleting a table", |body, table| {
            body.text(1, table);
        });
    }

    pub(crate) fn chain(&mut self, name: &str, base: Option<Base>) {
        self.chain_with_policy(name, base, POLICY_ACCEPT);
    }

    /// A chain of the kind that hosts have.
    #[cfg(test)]
    pub(crate) fn base_chain_dropping(&mut self, name: &str, base: Base) {
        self.chain_with_policy(name, Some(base), 0);
    }

    fn chain_with_policy(&mut self, name: &str, base: Option<Base>, policy: u32) {
        let what = format!("making the chain {name}");
        self.message(m::NEW_CHAIN, ACK | CREATE, what, |body, table| {
            body.text(1, table).text(3, name);
            let Some(base) = base else { return };
            body.nest(4, |hook| {
                hook.be32(1, base.hook).be32(2, base.priority as u32);
            });
            body.be32(5, policy).text(7, base.kind);
        });
    }

    /// Appends a rule to a chain.
    pub(crate) fn rule(&mut self, chain: &str, rule: &Rule) {
        self.noted_rule(chain, rule, APPEND, &[]);
    }

    /// Puts a rule with a note at the beginning of a chain.
    pub(crate) fn first_rule(&mut self, chain: &str, rule: &Rule, note: &[u8]) {
        self.noted_rule(chain, rule, 0, note);
    }

    pub(crate) fn delete_rule(&mut self, chain: &str, handle: u64) {
        self.message(
            m::DELETE_RULE,
            ACK,
            format!("deleting a rule of {chain}"),
            |body, table| {
                body.text(1, table).text(2, chain).be64(3, handle);
            },
        );
    }

    pub(crate) fn set(&mut self, set: &Set) {
        self.sets += 1;
        let id = self.sets;
        let (flags, data) = match set.map {
            Map::None => (0, None),
            Map::Verdict => (SET_MAP, Some((VERDICT_TYPE, 0))),
            Map::Value(length) => (SET_MAP, Some((value_kind(length), length))),
            Map::Remembered(length) => (
                SET_MAP | SET_TIMEOUT | SET_EVALUATED,
                Some((value_kind(length), length)),
            ),
        };
        self.message(
            m::NEW_SET,
            ACK | CREATE,
            format!("making the set {}", set.name),
            |body, table| {
                body.text(1, table)
                    .text(2, set.name)
                    .be32(3, flags)
                    .be32(4, set.kind)
                    .be32(5, set.key);
                if let Some((kind, length)) = data {
                    body.be32(6, kind).be32(7, length);
                }
                body.be32(10, id);
            },
        );
    }

    /// Empties a set.
    pub(crate) fn flush(&mut self, set: &str) {
        self.message(
            m::DELETE_ELEMENT,
            ACK,
            format!("emptying the set {set}"),
            |body, table| {
                body.text(1, table).text(2, set);
            },
        );
    }

    pub(crate) fn add<'a>(&mut self, set: &str, elements: impl IntoIterator<Item = Element<'a>>) {
        self.elements(m::NEW_ELEMENT, ACK | CREATE, "adding to", set, elements);
    }

    pub(crate) fn delete(&mut self, set: &str, keys: impl IntoIterator<Item = Vec<u8>>) {
        self.elements(
            m::DELETE_ELEMENT,
            ACK,
            "deleting from",
            set,
            keys.into_iter().map(Element::Key),
        );
    }

    fn elements<'a>(
        &mut self,
        message: u16,
        flags: u16,
        verb: &str,
        set: &str,
        elements: impl IntoIterator<Item = Element<'a>>,
    ) {
        let mut chunk = Attrs::default();
        let mut elements = elements.into_iter().peekable();
        while let Some(element) = elements.next() {
            write(&mut chunk, &element);
            if chunk.len() < CHUNK && elements.peek().is_some() {
                continue;
            }
            let full = std::mem::take(&mut chunk);
            self.message(message, flags, format!("{verb} the set {set}"), |body, table| {
                body.text(1, table).text(2, set).nest(3, |list| {
                    list.raw(full.as_slice());
                });
            });
        }
    }

    fn noted_rule(&mut self, chain: &str, rule: &Rule, flags: u16, note: &[u8]) {
        self.message(
            m::NEW_RULE,
            ACK | CREATE | flags,
            format!("adding a rule to {chain}"),
            |body, table| {
                body.text(1, table).text(2, chain).nest(4, |list| {
                    list.raw(rule.as_slice());
                });
                if !note.is_empty() {
                    body.bytes(7, note);
                }
            },
        );
    }

    fn message(&mut self, message: u16, flags: u16, what: impl Into<String>, body: impl FnOnce(&mut Attrs, &str)) {
        let (family, table) = (self.family, &self.table);
        self.messages
            .push(kind(message), flags, what, &header(family), |attrs| body(attrs, table));
    }
}

fn write(list: &mut Attrs, element: &Element<'_>) {
    list.nest(1, |item| {
        let (Element::Key(key) | Element::Value(key, _) | Element::Verdict(key, _)) = element;
        item.nest(1, |data| {
            data.bytes(1, key);
        });
        match element {
            Element::Key(_) => {}
            Element::Value(_, value) => {
                item.nest(2, |data| {
                    data.bytes(1, value);
                });
            }
            Element::Verdict(_, target) => {
                item.nest(2, |data| verdict(data, *target));
            }
        }
    });
}
