//! Root file systems for images: the distribution's own, with the programs that specs call, and busybox alone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::clients::tools;

/// What is in the suite's own images beside their program.
const PACKAGES: &str = "curl,dnsutils,iproute2,iperf,netcat-openbsd,nginx-light,procps,socat";

/// A minimal Debian of the host's release, from where the host gets its packages.
const BOOTSTRAP: &str = r#"
suite=$(. /etc/os-release; echo $VERSION_CODENAME)
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $suite" | head -1)
debootstrap --variant=minbase --include="$1" "$suite" "$2" "$mirror"
rm -rf "$2"/var/cache/apt/* "$2"/var/lib/apt/lists/* "$2"/usr/share/doc/* "$2"/usr/share/man/* "$2"/var/log/*
"#;

/// The accounts that specs expect in an image.
const ACCOUNTS: [(&str, &str); 2] = [
    (
        "etc/passwd",
        "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n",
    ),
    (
        "etc/group",
        "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n",
    ),
];

/// Makes Debian's, and busybox's programs where Debian has none of that name.
pub(super) fn debian(dir: &Path, busybox: &Path) -> anyhow::Result<()> {
    tools::program("debootstrap", "debootstrap")?;
    tools::run(Command::new("sh").args(["-ec", BOOTSTRAP, "sh", PACKAGES]).arg(dir))?;
    for (file, lines) in ACCOUNTS {
        let file = dir.join(file);
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        fs::write(&file, text + lines).with_context(|| format!("writing {}", file.display()))?;
    }
    let there = |name: &str| {
        ["bin", "sbin", "usr/bin", "usr/sbin"]
            .iter()
            .any(|place| fs::symlink_metadata(dir.join(place).join(name)).is_ok())
    };
    fill(&dir.join("bin"), busybox, |name| !there(name))
}

/// Makes one that has busybox and nothing else.
pub(super) fn busybox(dir: &Path, busybox: &Path) -> anyhow::Result<()> {
    for path in [
        "bin",
        "etc",
        "home",
        "root",
        "tmp",
        "usr/bin",
        "usr/local/bin",
        "var/spool",
    ] {
        let path = dir.join(path);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    }
    fs::write(
        dir.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    )?;
    fs::write(dir.join("etc/group"), "root:x:0:\nnobody:x:65534:\n")?;
    fill(&dir.join("bin"), busybox, |_| true)
}

/// busybox under the names of its programs.
fn fill(bin: &Path, busybox: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    fs::copy(busybox, bin.join("busybox")).context("copying busybox")?;
    let list = Command::new(busybox).arg("--list").output();
    let list = list.context("asking busybox for its programs")?.stdout;
    for name in String::from_utf8_lossy(&list)
        .lines()
        .filter(|name| *name != "busybox" && wanted(name))
    {
        symlink("busybox", bin.join(name)).context("linking busybox's programs")?;
    }
    Ok(())
}
