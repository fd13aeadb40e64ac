//! Netlink: attributes and messages, written and read, and a blocking socket. It knows no subsystem; what the messages
//! mean is the business of `link`, `nft` and `conntrack`.

mod attrs;
mod socket;

pub(crate) use attrs::{Attrs, Messages, Received, attr, attrs};
pub(crate) use socket::{Refused, Socket};

/// Flags of a request that makes something.
pub(crate) const CREATE: u16 = (libc::NLM_F_CREATE) as u16;
/// With `CREATE`: fail when it is there.
pub(crate) const EXCLUSIVE: u16 = (libc::NLM_F_EXCL) as u16;
/// With `CREATE`: replace what is there.
pub(crate) const REPLACE: u16 = (libc::NLM_F_REPLACE) as u16;
/// With `CREATE`: put it at the end.
pub(crate) const APPEND: u16 = (libc::NLM_F_APPEND) as u16;
/// Answer also when all went well.
pub(crate) const ACK: u16 = (libc::NLM_F_ACK) as u16;
/// List everything.
pub(crate) const DUMP: u16 = (libc::NLM_F_DUMP) as u16;
