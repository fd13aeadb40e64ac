//! The bundle's mounts as steps.

use oci_spec::runtime::{Mount, Spec};
use shim::plan::Op;

use super::container::text;
use super::{Place, Step};
use crate::{Error, Result};

const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;
const MS_UNBINDABLE: u64 = 1 << 17;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;

/// A mount's options, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    bind: bool,
    recursive: bool,
    set: u64,
    clear: u64,
    recursive_attributes: bool,
    propagation: u64,
    data: Vec<String>,
}

impl Options {
    pub(super) fn parse(options: &[String]) -> Self {
        let mut parsed = Self::default();
        for option in options {
            parsed.one(option);
        }
        parsed
    }

    fn one(&mut self, option: &str) {
        // Attributes for the whole tree have the same names with an r in front.
        let (name, deep) = match option {
            "rro" | "rrw" | "rnosuid" | "rsuid" | "rnodev" | "rdev" | "rnoexec" | "rexec" => (&option[1..], true),
            _ => (option, false),
        };
        let (set, clear) = match name {
            "ro" => (RDONLY, 0),
            "rw" => (0, RDONLY),
            "nosuid" => (NOSUID, 0),
            "suid" => (0, NOSUID),
            "nodev" => (NODEV, 0),
            "dev" => (0, NODEV),
            "noexec" => (NOEXEC, 0),
            "exec" => (0, NOEXEC),
            "noatime" => (NOATIME, ATIME),
            "strictatime" => (STRICTATIME, ATIME),
            "relatime" | "atime" => (0, ATIME),
            "nodiratime" => (NODIRATIME, 0),
            "diratime" => (0, NODIRATIME),
            "nosymfollow" => (NOSYMFOLLOW, 0),
            "symfollow" => (0, NOSYMFOLLOW),
            _ => return self.other(option),
        };
        self.set = self.set & !clear | set;
        // Atime is a field of several bits: to set it, the kernel wants it cleared too.
        self.clear = (self.clear & !set) | clear;
        self.recursive_attributes |= deep;
    }

    fn other(&mut self, option: &str) {
        match option {
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive) = (true, true),
            "private" | "rprivate" => self.propagation = MS_PRIVATE,
            "slave" | "rslave" => self.propagation = MS_SLAVE,
            "shared" | "rshared" => self.propagation = MS_SHARED,
            "unbindable" | "runbindable" => self.propagation = MS_UNBINDABLE,
            "defaults" | "async" | "loud" | "silent" | "norelatime" | "tmpcopyup" => {}
            data => self.data.push(data.to_owned()),
        }
    }
}

/// All mounts, in their order.
pub(super) fn steps(spec: &Spec, place: &Place, steps: &mut Vec<Step>) -> Result<()> {
    for mount in spec.mounts().iter().flatten() {
        one(mount, place, steps)?;
    }
    Ok(())
}

fn one(mount: &Mount, place: &Place, steps: &mut Vec<Step>) -> Result<()> {
    let target = text(mount.destination())?;
    if !target.starts_with('/') {
        return Err(Error::Invalid(format!(
            "mount on {target:?}, which is no absolute path"
        )));
    }
    let options = Options::parse(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().as_deref().unwrap_or_default();
    if options.bind || kind == "bind" {
        let source = mount
            .source()
            .as_ref()
            .ok_or_else(|| Error::Invalid(format!("no source to mount on {target}")))?;
        steps.push(bind(text(source)?, target, &options));
    } else if kind == "cgroup" {
        cgroups(&target, &options, place, steps)?;
    } else {
        let source = mount
            .source()
            .as_deref()
            .map(text)
            .transpose()?
            .unwrap_or_else(|| kind.to_owned());
        steps.push(file_system(kind, &source, target, &options));
    }
    Ok(())
}

fn bind(source: String, target: String, options: &Options) -> Step {
    let recursive = u64::from(options.recursive);
    // `rw` and the like on a bind mount ask for nothing unless something else is set.
    let args = [
        recursive,
        options.set,
        options.clear & ATIME,
        options.propagation,
        u64::from(options.recursive_attributes),
    ];
    Step::new(Op::Bind).args(args).strings([source, target])
}

fn file_system(kind: &str, source: &str, target: String, options: &Options) -> Step {
    Step::new(Op::MountFs)
        .args([options.set, options.propagation])
        .strings([kind.to_owned(), target, format!("source={source}")])
        .strings(options.data.clone())
}

/// A view of the container's own cgroups.
fn cgroups(target: &str, options: &Options, place: &Place, steps: &mut Vec<Step>) -> Result<()> {
    if place.cgroup_dir.is_some() {
        steps.push(file_system("cgroup2", "cgroup", target.to_owned(), options));
        return Ok(());
    }
    let tmpfs = Options {
        set: options.set & !RDONLY,
        data: vec!["mode=755".into()],
        ..Options::default()
    };
    steps.push(file_system("tmpfs", "tmpfs", target.to_owned(), &tmpfs));
    for (name, dir) in &place.cgroup_mounts {
        let step = bind(
            text(dir)?,
            format!("{target}/{name}"),
            &Options {
                set: options.set,
                ..Options::default()
            },
        );
        steps.push(step);
        for alone in name.split(',').filter(|alone| alone != name) {
            steps.push(Step::new(Op::Symlink).strings([name.clone(), format!("{target}/{alone}")]));
        }
    }
    if options.set & RDONLY != 0 {
        steps.push(Step::new(Op::Attr).args([RDONLY, 0, 0]).strings([target]));
    }
    Ok(())
}
