//! Starts shims and hands them plans. `posix_spawn` makes the process, whatever the size of this one.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use rustix::fs::MemfdFlags;
use sha2::{Digest, Sha256};
use shim::message;

use crate::channel::{Answer, Channel};
use crate::error::Context;
use crate::plan::Plan;
use crate::{Error, Result, Started, Withheld};

/// Puts a carried program into a directory, under a name that changes with its content, so that processes of an older
/// one are not disturbed.
pub(crate) fn install(dir: &Path, name: &str, program: &[u8]) -> Result<PathBuf> {
    let hash = hex::encode(&Sha256::digest(program)[..6]);
    let path = dir.join(format!("{name}-{hash}"));
    // Compared, since a power cut may have left something else under the name.
    if fs::read(&path).is_ok_and(|there| there == program) {
        return Ok(path);
    }
    let install = || {
        fs::create_dir_all(dir)?;
        let new = dir.join(format!("{name}-{hash}.new"));
        fs::write(&new, program)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        fs::rename(&new, &path)
    };
    install().context(|| format!("install {}", path.display()))?;
    Ok(path)
}

/// A shim that waits for orders.
pub(crate) async fn shim(program: PathBuf, name: String) -> Result<Channel> {
    let (ours, theirs) = Channel::pair()?;
    let spawn = move || {
        let mut command = Command::new(&program);
        command
            .arg0("gantry-shim")
            .arg(&name)
            .env_clear()
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(points) = std::env::var_os("GANTRY_FAILPOINTS") {
            command.env("GANTRY_FAILPOINTS", points);
        }
        // The process splits at once: what is awaited here is the half that ends.
        let status = command.spawn().and_then(|mut first| first.wait());
        let status = status.context(|| format!("run {}", program.display()))?;
        if status.success() {
            Ok(())
        } else {
            Err(Error::ShimLost(name))
        }
    };
    let spawned = tokio::task::spawn_blocking(spawn).await;
    spawned.unwrap_or_else(|error| Err(std::io::Error::other(error)).context(|| "start a shim".into()))?;
    Ok(ours)
}

/// A plan as a descriptor.
fn in_memory(plan: &Plan) -> Result<OwnedFd> {
    let bytes = plan.encode()?;
    let fd = rustix::fs::memfd_create("plan", MemfdFlags::CLOEXEC).context(|| "make a memory file".into())?;
    let mut file = File::from(fd);
    file.write_all(&bytes).context(|| "write a plan".into())?;
    Ok(file.into())
}

/// Lets a shim park a process.
pub(crate) async fn park(channel: &Channel, plan: &Plan) -> Result<()> {
    let memory = in_memory(plan)?;
    let answer = channel.ask(message::PARK, 0, 0, &[memory.as_fd()]).await?;
    expect(answer, message::PARKED, plan).map(|_| ())
}

/// Lets a shim run a plan. The terminal comes back, if there is one and it is the caller's.
pub(crate) async fn run(channel: &Channel, plan: &Plan, fds: &[BorrowedFd<'_>]) -> Result<(Started, Option<OwnedFd>)> {
    let memory = in_memory(plan)?;
    let mut all = vec![memory.as_fd()];
    all.extend(fds);
    let answer = channel.ask(message::RUN, 0, 0, &all).await?;
    let answer = expect(answer, message::STARTED, plan)?;
    let started_at = timestamp(answer.b, answer.c & 0xffff_ffff);
    let withheld = (answer.c >> 32) as u32;
    let withheld = Withheld {
        oom_score: withheld & message::OOM_SCORE != 0,
        limits: withheld & message::LIMITS != 0,
    };
    Ok((
        Started {
            pid: answer.a,
            started_at,
            withheld,
        },
        answer.fds.into_iter().next(),
    ))
}

/// A time that the kernel told.
pub(crate) fn timestamp(seconds: u64, nanos: u64) -> Timestamp {
    Timestamp::new(seconds as i64, nanos as i32).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn expect(answer: Option<Answer>, kind: u32, plan: &Plan) -> Result<Answer> {
    match answer {
        Some(answer) if answer.kind == kind => Ok(answer),
        Some(answer) if answer.kind == message::FAILED && answer.b == 1 => Err(plan.failure(answer.c, answer.a)),
        Some(answer) => Err(Error::Step {
            step: "prepare the process".into(),
            errno: answer.a,
            exec: false,
        }),
        None => Err(Error::ShimLost("a process".into())),
    }
}
