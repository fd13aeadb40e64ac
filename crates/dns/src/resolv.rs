//! The host's resolvers: `/etc/resolv.conf`, read again when it changed.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;

const PORT: u16 = 53;
/// What the C library takes of a list, and so what people expect.
const MOST: usize = 3;

/// One resolver, and how it did.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) address: SocketAddr,
    /// When it last failed to answer.
    pub(crate) failed: Mutex<Option<Instant>>,
    /// Questions to it come back to us.
    pub(crate) loops: Mutex<bool>,
}

/// The resolvers as of a change of the file.
#[derive(Debug, Default)]
pub(crate) struct Resolvers {
    pub(crate) list: Vec<Resolver>,
    changed: Option<SystemTime>,
}

/// The file and what was last read from it.
pub(crate) struct Source {
    path: PathBuf,
    own: Vec<SocketAddr>,
    current: Mutex<Arc<Resolvers>>,
}

impl Source {
    /// `own` are addresses at which we listen ourselves: never ask there.
    pub(crate) fn new(path: &Path, own: Vec<SocketAddr>) -> Source {
        Source {
            path: path.to_owned(),
            own,
            current: Mutex::new(Arc::new(Resolvers::default())),
        }
    }

    /// The resolvers of now, and whether they were read anew.
    pub(crate) fn current(&self) -> (Arc<Resolvers>, bool) {
        let changed = fs::metadata(&self.path).and_then(|file| file.modified()).ok();
        let mut current = self.current.lock();
        if current.changed == changed && changed.is_some() {
            return (current.clone(), false);
        }
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let fresh = |address| Resolver {
            address,
            failed: Mutex::new(None),
            loops: Mutex::new(false),
        };
        let usable = parse(&text).into_iter().filter(|address| !self.own.contains(address));
        *current = Arc::new(Resolvers {
            list: usable.map(fresh).collect(),
            changed,
        });
        (current.clone(), true)
    }
}

/// The name servers in a file. What else is in it is for the host's own programs.
fn parse(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = (words.next()? == "nameserver").then(|| words.next())??;
        // With a port: not in the manual, but some write it. A link-local address may name its link.
        let plain = || {
            Some(SocketAddr::new(
                address.split('%').next()?.parse::<IpAddr>().ok()?,
                PORT,
            ))
        };
        address.parse().ok().or_else(plain)
    };
    text.lines().filter_map(server).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_found_and_the_rest_ignored() {
        let text = "# nameserver 9.9.9.9\nsearch a b\nnameserver 192.0.2.1\n nameserver fe80::1%eth0 \nnameserver x\n\
                    nameserver 127.0.0.1:5353\nnameserver 192.0.2.4\n";
        let found: Vec<String> = parse(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1:53", "[fe80::1]:53", "127.0.0.1:5353"]);
    }

    #[test]
    fn a_changed_file_is_read_again_and_we_never_ask_ourselves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let source = Source::new(&path, vec!["192.0.2.9:53".parse().unwrap()]);
        assert!(source.current().0.list.is_empty());
        fs::write(&path, "nameserver 192.0.2.1\nnameserver 192.0.2.9\n").unwrap();
        let (resolvers, fresh) = source.current();
        assert!(fresh);
        assert_eq!(resolvers.list.len(), 1);
        assert!(!source.current().1);
        fs::write(&path, "nameserver 192.0.2.2\n").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        fs::File::open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(source.current().0.list[0].address.to_string(), "192.0.2.2:53");
    }
}
