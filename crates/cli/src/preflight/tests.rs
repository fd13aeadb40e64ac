//! A machine from which one thing at a time is taken away.

use super::*;

/// Has everything but what a test takes away.
struct Fake {
    root: bool,
    owns: bool,
    without: Vec<&'static str>,
    kernel: &'static str,
    lacks: Option<Feature>,
    disk: Disk,
    port: Option<io::ErrorKind>,
}

impl Fake {
    fn whole() -> Self {
        Self {
            root: true,
            owns: true,
            without: Vec::new(),
            kernel: "6.1.0-13-amd64",
            lacks: None,
            disk: Disk {
                free: 10 << 30,
                files: Some(1 << 20),
                is_overlay: false,
            },
            port: None,
        }
    }

    /// What `up` would say, in one line.
    fn says(&self) -> String {
        let wishes = Wishes {
            dir: Path::new("/srv/gantry"),
            instance: "1a2b3c",
            listen: SocketAddr::from(([0, 0, 0, 0], 6443)),
            pods: "10.244.0.0/16".parse().unwrap(),
            services: "10.96.0.0/16".parse().unwrap(),
        };
        let checked = can_run_node(self).and_then(|()| can_have(self, &wishes));
        checked.map_or_else(|missing| missing.to_string(), |()| "fine".to_owned())
    }
}

impl Host for Fake {
    fn is_root(&self) -> bool {
        self.root
    }

    fn owns_machine(&self) -> bool {
        self.owns
    }

    fn has_capability(&self, capability: Capability) -> bool {
        !self.without.contains(&capability.name)
    }

    fn kernel(&self) -> String {
        self.kernel.to_owned()
    }

    fn has_feature(&self, feature: Feature) -> bool {
        self.lacks != Some(feature)
    }

    fn disk(&self, _: &Path) -> io::Result<Disk> {
        Ok(self.disk)
    }

    fn listen(&self, _: SocketAddr) -> io::Result<()> {
        self.port.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn ranges(&self, _: &str, pods: Ipv4Net, _: Ipv4Net) -> Result<(), network::Error> {
        match self.port {
            // Only reached when nothing else is wrong.
            Some(_) => Err(network::Error::SmallRange(pods)),
            None => Ok(()),
        }
    }
}

#[test]
fn a_whole_machine_is_fine() {
    assert_eq!(Fake::whole().says(), "fine");
    let strange = Fake {
        kernel: "custom",
        ..Fake::whole()
    };
    assert_eq!(strange.says(), "fine");
}

#[test]
fn each_missing_feature_is_named_with_its_option() {
    for (feature, what, option) in FEATURES {
        let said = Fake {
            lacks: Some(feature),
            ..Fake::whole()
        }
        .says();
        assert_eq!(
            said,
            format!("the kernel has no support for {what}: enable {option}, or use another kernel")
        );
    }
    let old = Fake {
        kernel: "5.10.0-30-amd64",
        ..Fake::whole()
    };
    assert_eq!(
        old.says(),
        "kernel 5.10.0-30-amd64 is too old: Gantry needs Linux 5.14 or later"
    );
}

#[test]
fn a_lack_of_power_is_told_before_all_else() {
    let nobody = Fake {
        root: false,
        lacks: Some(Feature::Overlay),
        ..Fake::whole()
    };
    assert_eq!(nobody.says(), "a node needs root: run `sudo gantry up`");
    let inside = Fake {
        owns: false,
        ..Fake::whole()
    };
    assert!(inside.says().contains("user namespace"));
    let contained = Fake {
        without: vec!["CAP_SYS_ADMIN", "CAP_NET_ADMIN"],
        ..Fake::whole()
    };
    assert!(
        contained
            .says()
            .starts_with("this process lacks CAP_NET_ADMIN, CAP_SYS_ADMIN,")
    );
}

#[test]
fn disks_and_ports_have_a_remedy() {
    let disk = |disk: Disk| Fake { disk, ..Fake::whole() }.says();
    let whole = Fake::whole().disk;
    let full = disk(Disk { free: 5 << 10, ..whole });
    assert_eq!(
        full,
        "the disk of /srv/gantry is full: 5 KiB are left, and a start needs 64 MiB: free some, or choose another --data-dir"
    );
    let crowded = Disk {
        files: Some(3),
        ..whole
    };
    assert!(disk(crowded).contains("3 files are left"));
    assert_eq!(disk(Disk { files: None, ..whole }), "fine");
    let overlay = Disk {
        is_overlay: true,
        ..whole
    };
    assert!(disk(overlay).contains("--data-dir on another file system"));
    let port = |kind| {
        Fake {
            port: Some(kind),
            ..Fake::whole()
        }
        .says()
    };
    assert!(port(io::ErrorKind::AddrInUse).starts_with("0.0.0.0:6443 is taken by another program"));
    assert!(port(io::ErrorKind::AddrNotAvailable).ends_with("choose another --listen"));
}
