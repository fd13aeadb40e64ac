//! The nf_tables tables of this machine, asked of the kernel itself: nft(8) of Debian 12 reads all rules of the machine
//! even to list tables, and gives up at some that it doesn't know.

use std::io;

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

/// Their names.
pub fn names() -> io::Result<Vec<String>> {
    // nlmsghdr (netlink(7)), then nfgenmsg: NFT_MSG_GETTABLE of the subsystem nf_tables, as a dump.
    const LENGTH: u32 = 20;
    const GET_TABLE: u16 = 10 << 8 | 1;
    const REQUEST_DUMP: u16 = 0x301;
    const DONE: u16 = 3;
    const ERROR: u16 = 2;
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(NETFILTER))?;
    let mut request = LENGTH.to_ne_bytes().to_vec();
    request.extend(GET_TABLE.to_ne_bytes());
    request.extend(REQUEST_DUMP.to_ne_bytes());
    request.resize(LENGTH as usize, 0);
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let (mut names, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let (length, _) = rustix::net::recv(&socket, &mut *buffer, RecvFlags::empty())?;
        let mut rest = &buffer[..length];
        while let Some((kind, body)) = next(&mut rest, 4) {
            match kind {
                DONE => return Ok(names),
                ERROR => return Err(io::Error::other("the kernel lists no nf_tables tables")),
                _ => names.extend(name(body.get(16..).unwrap_or_default())),
            }
        }
    }
}

/// The attribute with the table's name, which is 1.
fn name(mut attributes: &[u8]) -> Option<String> {
    while let Some((kind, body)) = next(&mut attributes, 2) {
        if kind & 0x3fff == 1 {
            let text = body.get(4..)?.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
    }
    None
}

/// Takes the next message or attribute, which begins with its length in `width` bytes and then its kind in two.
fn next<'a>(rest: &mut &'a [u8], width: usize) -> Option<(u16, &'a [u8])> {
    let length = rest
        .get(..width)?
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let kind = rest.get(width..width + 2)?.try_into().ok().map(u16::from_ne_bytes)?;
    let whole = rest.get(..length).filter(|whole| whole.len() >= 4)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, whole))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_found_among_attributes() {
        let attributes = [8, 0, 2, 0, 1, 0, 0, 0, 9, 0, 1, 0, b'a', b'b', b'-', b'1', 0, 0, 0, 0];
        assert_eq!(super::name(&attributes).as_deref(), Some("ab-1"));
        assert_eq!(super::name(&attributes[..8]), None);
        assert_eq!(super::name(&[0; 8]), None);
    }
}
