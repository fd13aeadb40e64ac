//! What an instance of Gantry may leave on the machine: looked for by its id and its directory, so that other
//! instances don't matter.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

use super::house::House;

/// The name of the case.
pub(crate) const NAME: &str = "down --purge leaves nothing";

/// Takes the house down and looks.
pub(crate) fn none_left(house: House) -> anyhow::Result<()> {
    let (id, work) = (house.id()?, house.work().to_path_buf());
    ensure!(
        !look(&id, &work)?.is_empty(),
        "a running instance has no traces: the search is wrong"
    );
    house.end()?;
    ensure!(!house.data().exists(), "{} is still there", house.data().display());
    let left = look(&id, &work)?;
    ensure!(left.is_empty(), "left behind: {left:#?}");
    Ok(())
}

/// Mounts, links, tables, cgroups and processes of an instance, a line each.
fn look(id: &str, work: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let (work, name) = (work.to_string_lossy(), format!("gantry-{id}"));
    for line in std::fs::read_to_string("/proc/self/mounts")
        .context("reading the mounts")?
        .lines()
    {
        if line.contains(&*work) || line.contains(&name) {
            found.insert(format!("mount {line}"));
        }
    }
    for link in std::fs::read_dir("/sys/class/net").context("reading the links")? {
        let link = link?.file_name().to_string_lossy().into_owned();
        if link.starts_with(&format!("g{id}")) {
            found.insert(format!("link {link}"));
        }
    }
    found.extend(
        tables()?
            .into_iter()
            .filter(|table| table.contains(id))
            .map(|table| format!("nft table {table}")),
    );
    cgroups(Path::new("/sys/fs/cgroup"), 4, &name, &mut found);
    for entry in std::fs::read_dir("/proc").context("reading /proc")?.flatten() {
        let cgroup = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let command = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if cgroup.contains(&name) || command.contains(&format!("{work}/data")) {
            let command = command.replace('\0', " ");
            found.insert(format!("process {} {command}", entry.file_name().to_string_lossy()));
        }
    }
    Ok(found)
}

fn cgroups(dir: &Path, depth: usize, name: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name() == name {
            found.insert(format!("cgroup {}", entry.path().display()));
        } else if depth > 0 {
            cgroups(&entry.path(), depth - 1, name, found);
        }
    }
}

/// The names of all nf_tables tables, asked of the kernel itself: nft(8) of Debian 12 reads all rules of the machine
/// even to list tables, and gives up at some that it doesn't know.
fn tables() -> anyhow::Result<Vec<String>> {
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
                ERROR => anyhow::bail!("the kernel lists no tables: {:?}", body.get(12..16)),
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
