//! Steps about the new root: everything below it is resolved by the kernel inside of it, so that no link in an image
//! leads out.

use crate::files::{self, AT_FDCWD, O_CLOEXEC, O_DIRECTORY, O_PATH};
use crate::plan::{Op, Record};
use crate::sys;
use crate::sys::{EEXIST, EINVAL, ENOENT, Result};

const AT_EMPTY_PATH: usize = 0x1000;
const AT_RECURSIVE: usize = 0x8000;
const OPEN_TREE_CLONE: usize = 1;
const MOVE_MOUNT_BOTH_EMPTY: usize = 0x4 | 0x40;
const MOUNT_ATTR_RDONLY: u64 = 1;
const MNT_DETACH: usize = 2;
const S_IFMT: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;

/// The directory that becomes the root; before it is opened, and after pivoting, the process's own root.
#[derive(Default)]
pub struct Root {
    dir: Option<i32>,
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

impl Root {
    /// Carries out one of this file's steps.
    pub fn one(&mut self, record: &Record<'_>) -> Result<()> {
        let (a, s) = (|index| record.arg(index), |index| record.str(index));
        match record.op {
            Op::Mount => {
                let data = if s(3).len() > 1 { s(3).as_ptr() } else { core::ptr::null() };
                done(sys!(MOUNT, s(0).as_ptr(), s(1).as_ptr(), s(2).as_ptr(), a(0), data))
            }
            Op::OpenRoot => {
                self.dir = Some(files::open(s(0), O_PATH | O_DIRECTORY, 0)?);
                Ok(())
            }
            Op::Bind => self.bind(record),
            Op::MountFs => self.mount_fs(record),
            Op::Mkdir => self.make_all(s(0), a(0) as usize).map(sys::close),
            Op::Mknod => self.mknod(record),
            Op::Symlink => self.symlink(s(0), s(1)),
            Op::Mask => self.mask(s(0)),
            Op::ReadOnly => self.read_only(s(0)),
            Op::PivotRoot => self.pivot(),
            Op::Attr => {
                let fd = self.open(s(0), O_PATH)?;
                let result = set_attr(fd, false, a(0), a(1), a(2));
                sys::close(fd);
                result
            }
            _ => Err(EINVAL),
        }
    }

    /// Opens a path inside of the root.
    fn open(&self, path: &[u8], flags: usize) -> Result<i32> {
        const RESOLVE_IN_ROOT: u64 = 0x10;
        let how = [(flags | O_CLOEXEC) as u64, 0, RESOLVE_IN_ROOT];
        match self.dir {
            // The kernel may answer EAGAIN when something was renamed meanwhile.
            Some(dir) => loop {
                match sys!(OPENAT2, dir, path.as_ptr(), how.as_ptr(), 24) {
                    Err(sys::EAGAIN) => {}
                    other => return other.map(|fd| fd as i32),
                }
            },
            None => files::open(path, flags, 0),
        }
    }

    /// Opens a directory, making it and its parents if missing.
    pub fn make_all(&self, path: &[u8], mode: usize) -> Result<i32> {
        match self.open(path, O_PATH | O_DIRECTORY) {
            Err(ENOENT) => {}
            other => return other,
        }
        let (parent, name) = split(path)?;
        let dir = self.make_all(parent.c_str(), mode)?;
        let made = sys!(MKDIRAT, dir, name.c_str().as_ptr(), mode);
        let answer = match made {
            Ok(_) => self.open(path, O_PATH | O_DIRECTORY),
            Err(EEXIST) => match self.open(path, O_PATH | O_DIRECTORY) {
                // A link to what is not there yet.
                Err(ENOENT) => self.make_link_target(dir, &parent, &name, mode),
                other => other,
            },
            Err(errno) => Err(errno),
        };
        sys::close(dir);
        answer
    }

    /// Makes the directory that a link leads to, inside of the root. (The kernel itself ends loops.)
    #[inline(never)]
    fn make_link_target(&self, dir: i32, parent: &Path, name: &Path, mode: usize) -> Result<i32> {
        let mut bytes = [0u8; 2048];
        let len = sys!(READLINKAT, dir, name.c_str().as_ptr(), bytes.as_mut_ptr(), bytes.len())?;
        let mut target = Path::default();
        if bytes[0] != b'/' {
            target.put(parent.bytes()).put(b"/");
        }
        target.put(&bytes[..len]);
        self.make_all(target.c_str(), mode)
    }

    /// Opens what something is to be mounted on, making an empty file or directory if it is missing.
    fn target(&self, path: &[u8], directory: bool) -> Result<i32> {
        match self.open(path, O_PATH) {
            Err(ENOENT) if directory => self.make_all(path, 0o755),
            Err(ENOENT) => {
                let (parent, name) = split(path)?;
                let dir = self.make_all(parent.c_str(), 0o755)?;
                let made = sys!(MKNODAT, dir, name.c_str().as_ptr(), 0o100_755, 0);
                sys::close(dir);
                match made {
                    Ok(_) | Err(EEXIST) => self.open(path, O_PATH),
                    Err(errno) => Err(errno),
                }
            }
            other => other,
        }
    }

    fn bind(&self, record: &Record<'_>) -> Result<()> {
        let recursive = record.arg(0) != 0;
        let flags = OPEN_TREE_CLONE | O_CLOEXEC | if recursive { AT_RECURSIVE } else { 0 };
        let tree = sys!(OPEN_TREE, AT_FDCWD, record.str(0).as_ptr(), flags)? as i32;
        let target = self.target(record.str(1), mode(tree)? & S_IFMT == S_IFDIR)?;
        // A cloned tree is still in its source's group; nothing may be changed in it before that ends.
        set_attr(tree, recursive, 0, 0, record.arg(3))?;
        if record.arg(1) | record.arg(2) != 0 {
            set_attr(tree, record.arg(4) != 0, record.arg(1), record.arg(2), 0)?;
        }
        attach(tree, target)
    }

    fn mount_fs(&self, record: &Record<'_>) -> Result<()> {
        const FSCONFIG_SET_FLAG: usize = 0;
        const FSCONFIG_SET_STRING: usize = 1;
        const FSCONFIG_CMD_CREATE: usize = 6;
        let fs = sys!(FSOPEN, record.str(0).as_ptr(), 1)? as i32;
        for index in 2..record.count as usize {
            let option = record.str(index);
            match option.iter().position(|byte| *byte == b'=') {
                None => sys!(FSCONFIG, fs, FSCONFIG_SET_FLAG, option.as_ptr(), 0, 0)?,
                Some(at) => {
                    let mut key = crate::cri::Text::<64>::default();
                    key.put(&option[..at]);
                    sys!(FSCONFIG, fs, FSCONFIG_SET_STRING, key.c_str().as_ptr(), option[at + 1..].as_ptr(), 0)?
                }
            };
        }
        sys!(FSCONFIG, fs, FSCONFIG_CMD_CREATE, 0, 0, 0)?;
        let mount = sys!(FSMOUNT, fs, 1, record.arg(0))? as i32;
        sys::close(fs);
        if record.arg(1) != 0 {
            set_attr(mount, false, 0, 0, record.arg(1))?;
        }
        let target = self.target(record.str(1), true)?;
        attach(mount, target)
    }

    fn mknod(&self, record: &Record<'_>) -> Result<()> {
        let (parent, name) = split(record.str(0))?;
        let dir = self.make_all(parent.c_str(), 0o755)?;
        let (kind, dev) = (record.arg(0) as usize, record.arg(1) as usize);
        let made = sys!(MKNODAT, dir, name.c_str().as_ptr(), kind, dev);
        let result = match made {
            Err(EEXIST) => Ok(0),
            Err(errno) => Err(errno),
            Ok(_) => {
                // The mask took bits away.
                let _ = sys!(FCHMODAT, dir, name.c_str().as_ptr(), kind & 0o7777);
                sys!(FCHOWNAT, dir, name.c_str().as_ptr(), record.arg(2), record.arg(3), 0x100)
            }
        };
        sys::close(dir);
        done(result)
    }

    fn symlink(&self, to: &[u8], path: &[u8]) -> Result<()> {
        let (parent, name) = split(path)?;
        let dir = self.make_all(parent.c_str(), 0o755)?;
        let made = sys!(SYMLINKAT, to.as_ptr(), dir, name.c_str().as_ptr());
        sys::close(dir);
        match made {
            Err(EEXIST) => Ok(()),
            other => done(other),
        }
    }

    fn mask(&self, path: &[u8]) -> Result<()> {
        let target = match self.open(path, O_PATH) {
            Err(_) => return Ok(()),
            Ok(target) => target,
        };
        if mode(target)? & S_IFMT == S_IFDIR {
            let fs = sys!(FSOPEN, c"tmpfs".as_ptr(), 1)? as i32;
            sys!(FSCONFIG, fs, 6, 0, 0, 0)?;
            let mount = sys!(FSMOUNT, fs, 1, MOUNT_ATTR_RDONLY)? as i32;
            sys::close(fs);
            return attach(mount, target);
        }
        let null = self.open(b"/dev/null\0", O_PATH)?;
        let tree = sys!(OPEN_TREE, null, c"".as_ptr(), OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH)? as i32;
        sys::close(null);
        attach(tree, target)
    }

    fn read_only(&self, path: &[u8]) -> Result<()> {
        let target = match self.open(path, O_PATH) {
            Err(_) => return Ok(()),
            Ok(target) => target,
        };
        let flags = OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE;
        let tree = sys!(OPEN_TREE, target, c"".as_ptr(), flags)? as i32;
        set_attr(tree, false, MOUNT_ATTR_RDONLY, 0, 0)?;
        attach(tree, target)
    }

    fn pivot(&mut self) -> Result<()> {
        let dir = self.dir.take().ok_or(EINVAL)?;
        // The root may just have been mounted over: open what is there now.
        sys!(FCHDIR, dir)?;
        sys::close(dir);
        // The old root lands on top of the new one, and is taken away at once.
        sys!(PIVOT_ROOT, c".".as_ptr(), c".".as_ptr())?;
        sys!(UMOUNT2, c".".as_ptr(), MNT_DETACH)?;
        done(sys!(CHDIR, c"/".as_ptr()))
    }
}

fn done(result: Result<usize>) -> Result<()> {
    result.map(|_| ())
}

/// Changes a mount, or all below it.
fn set_attr(fd: i32, recursive: bool, set: u64, clear: u64, propagation: u64) -> Result<()> {
    let attr = MountAttr { set, clear, propagation, userns: 0 };
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    done(sys!(MOUNT_SETATTR, fd, c"".as_ptr(), flags, &raw const attr, 32))
}

/// Puts a mount in its place, and lets go of both.
fn attach(mount: i32, target: i32) -> Result<()> {
    let result = sys!(MOVE_MOUNT, mount, c"".as_ptr(), target, c"".as_ptr(), MOVE_MOUNT_BOTH_EMPTY);
    sys::close(mount);
    sys::close(target);
    done(result)
}

fn mode(fd: i32) -> Result<u32> {
    let mut stat = [0u64; 18];
    sys!(FSTAT, fd, stat.as_mut_ptr())?;
    Ok(if cfg!(target_arch = "x86_64") { stat[3] } else { stat[2] } as u32)
}

type Path = crate::cri::Text<4096>;

/// A path's directory and last name.
fn split(path: &[u8]) -> Result<(Path, Path)> {
    let mut end = path.len() - 1;
    while end > 0 && path[end - 1] == b'/' {
        end -= 1;
    }
    let slash = path[..end].iter().rposition(|byte| *byte == b'/');
    let start = slash.map_or(0, |at| at + 1);
    if start == end {
        return Err(EINVAL);
    }
    let (mut parent, mut name) = (Path::default(), Path::default());
    parent.put(match slash {
        None | Some(0) => b"/",
        Some(at) => &path[..at],
    });
    name.put(&path[start..end]);
    Ok((parent, name))
}
