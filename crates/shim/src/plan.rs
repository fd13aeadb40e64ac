//! The plan: a flat binary program that the engine compiles and the shim carries out. This file is the format, and both
//! sides compile it; it stands on `core` alone.
//!
//! ```text
//! header   magic u32 | version u32 | clone flags u64 | bytes of parent's records u64 | bytes of child's records u64
//! record   op u16 | strings u16 | arguments u32 | bytes of the whole record u32 | 0 u32 | arguments u64... | strings,
//!          each ended by NUL | padding to a multiple of eight
//! ```
//!
//! All numbers are the machine's own. A plan never leaves the machine and is read by a shim that came with the engine
//! which wrote it, so its version changes freely.

/// First bytes of a plan.
pub const MAGIC: u32 = 0x4e4c_5047;
/// The format's version.
pub const VERSION: u32 = 1;
/// Size of the header.
pub const HEADER: usize = 32;

/// What a record wants done. Arguments (`a`) and strings (`s`) are listed with each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Op {
    /// Join a namespace by its file. a: type. s: path.
    Setns = 1,
    /// Join namespaces of the process whose descriptor was handed over. a: types.
    SetnsFd,
    /// Leave namespaces. a: flags.
    Unshare,
    /// Write a file. a: 1 ignores errors. s: path, content.
    WriteFile,
    /// mount(2) as it is. a: flags. s: source, target, type, data.
    Mount,
    /// Open the directory that is to become the root. s: path.
    OpenRoot,
    /// Bind a tree under the root. a: recursive, attributes set, attributes cleared, propagation. s: source, target.
    Bind,
    /// Mount a file system under the root. a: attributes, propagation. s: type, target, then options (`key=value` or
    /// `key`).
    MountFs,
    /// Make a directory and its parents under the root. a: mode. s: path.
    Mkdir,
    /// Make a node under the root; one that exists is kept. a: mode with type, device, uid, gid. s: path.
    Mknod,
    /// Make a symbolic link under the root; one that exists is kept. s: target, path.
    Symlink,
    /// Hide a path under the root: an empty directory or `/dev/null`. s: path.
    Mask,
    /// Make a path under the root read-only. s: path.
    ReadOnly,
    /// Make the opened root the root.
    PivotRoot,
    /// Change a mount. a: attributes set, attributes cleared, propagation. s: where it is mounted.
    Attr,
    /// Open a terminal and make it standard input, output and error. a: rows, columns, uid.
    Terminal,
    /// Take the handed over pipes as standard input, output and error. a: uid.
    Stdio,
    /// Lead a new session.
    Setsid,
    /// Set a resource limit; told when the host withholds it. a: resource, soft, hard.
    Rlimit,
    /// Set the host name. s: name.
    Hostname,
    /// Set the NIS domain name. s: name.
    Domainname,
    /// Set the file mode mask. a: mask.
    Umask,
    /// Change directory. s: path.
    Chdir,
    /// Drop capabilities from the bounding set. a: set to keep.
    Bounding,
    /// Set or clear "keep capabilities". a: 0 or 1.
    KeepCaps,
    /// Set supplementary groups. a: each.
    Groups,
    /// Become a user. a: uid, gid.
    User,
    /// Set capabilities. a: effective, permitted, inheritable.
    Caps,
    /// Set ambient capabilities. a: set.
    Ambient,
    /// Never gain privileges again.
    NoNewPrivs,
    /// Load a system call filter. a: flags, then each instruction.
    Seccomp,
    /// Signals as a fresh program expects them.
    ResetSignals,
    /// Die when the shim dies, or no longer. a: signal, or 0.
    DieWithParent,
    /// Close all other descriptors at exec.
    CloseFds,
    /// Run the program. a: number of arguments. s: arguments, then environment.
    Exec,
    /// Find the user's home directory in /etc/passwd, for an environment without HOME. a: uid.
    Home,
    /// Tell that this part is done, and wait for another plan.
    Await,
    /// Set the OOM score; told when the host withholds it. s: the score.
    OomScore,

    /// Parent: supervise a container. a: log size, log files, terminal, stdin kept open. s: directory, log path, file
    /// with the count of OOM kills.
    Container = 100,
    /// Parent: supervise a further process. a: terminal.
    Process,
    /// Parent: join a process namespace for its children by its file. s: path.
    ParentSetns,
    /// Parent: the same by the descriptor handed over.
    ParentSetnsFd,
    /// Parent: put the child into a version 2 cgroup as it is made. s: directory.
    Cgroup,
}

impl Op {
    /// The operation of a number.
    pub fn from_number(number: u16) -> Option<Op> {
        let known = (Op::Setns as u16..=Op::OomScore as u16).contains(&number)
            || (Op::Container as u16..=Op::Cgroup as u16).contains(&number);
        // SAFETY: both ranges of discriminants are without gaps.
        known.then(|| unsafe { core::mem::transmute::<u16, Op>(number) })
    }
}

/// A plan's header, checked.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// Flags for clone3.
    pub clone_flags: u64,
    /// What the parent does.
    pub parent: Records<'a>,
    /// What the child does.
    pub child: Records<'a>,
}

impl<'a> Plan<'a> {
    /// Splits a plan; `None` if it is malformed.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if u32_at(bytes, 0)? != MAGIC || u32_at(bytes, 4)? != VERSION {
            return None;
        }
        let parent = HEADER.checked_add(u64_at(bytes, 16)? as usize)?;
        let child = parent.checked_add(u64_at(bytes, 24)? as usize)?;
        Some(Self {
            clone_flags: u64_at(bytes, 8)?,
            parent: Records {
                bytes: bytes.get(HEADER..parent)?,
            },
            child: Records {
                bytes: bytes.get(parent..child)?,
            },
        })
    }
}

/// Records in their order. An item is `None` where the plan is malformed.
#[derive(Clone, Copy)]
pub struct Records<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Option<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let record = self.split();
        if record.is_none() {
            self.bytes = &[];
        }
        Some(record)
    }
}

impl<'a> Records<'a> {
    fn split(&mut self) -> Option<Record<'a>> {
        let head = u32_at(self.bytes, 0)?;
        let op = Op::from_number(head as u16)?;
        let args = (u32_at(self.bytes, 4)? as usize).checked_mul(8)?.checked_add(16)?;
        let len = u32_at(self.bytes, 8)? as usize;
        if len < args || !len.is_multiple_of(8) {
            return None;
        }
        let record = Record {
            op,
            args: self.bytes.get(16..args)?,
            strings: self.bytes.get(args..len)?,
            count: (head >> 16) as u16,
        };
        self.bytes = self.bytes.get(len..)?;
        Some(record)
    }
}

/// One step.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// What to do.
    pub op: Op,
    /// How many strings there are.
    pub count: u16,
    args: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Record<'a> {
    /// The number of arguments.
    pub fn args(&self) -> usize {
        self.args.len() / 8
    }

    /// An argument; 0 if there is none.
    pub fn arg(&self, index: usize) -> u64 {
        u64_at(self.args, index * 8).unwrap_or(0)
    }

    /// The arguments' bytes.
    pub fn arg_bytes(&self) -> &'a [u8] {
        self.args
    }

    /// A string with its NUL; an empty one if there is none.
    pub fn str(&self, index: usize) -> &'a [u8] {
        let mut rest = self.strings;
        for at in 0..=index {
            let Some(end) = rest.iter().position(|byte| *byte == 0) else {
                return b"\0";
            };
            if at == index {
                return &rest[..=end];
            }
            rest = &rest[end + 1..];
        }
        b"\0"
    }

    /// All strings' bytes, one after the other.
    pub fn str_bytes(&self) -> &'a [u8] {
        self.strings
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
