//! Failures on demand, by the same environment variable as everywhere else: `name=kill`, `name=kill(3)` (the third time),
//! `name=error`, `name=sleep(20)`, several separated by commas or semicolons. Off unless the variable is set.

use crate::sys::{EINVAL, Result};

static mut POINTS: Option<&'static [u8]> = None;

/// How many points count their hits.
const COUNTED: usize = 8;
static mut HITS: [(usize, u64); COUNTED] = [(0, 0); COUNTED];

/// Notes the variable's value.
pub fn init(points: Option<&'static [u8]>) {
    // SAFETY: the program has one thread.
    unsafe { POINTS = points };
}

/// Does what was asked for at this point.
#[inline(always)]
pub fn hit(name: &[u8]) -> Result<()> {
    // SAFETY: the program has one thread.
    match unsafe { POINTS } {
        None => Ok(()),
        Some(points) => points.split(|byte| matches!(byte, b',' | b';')).try_for_each(|point| one(point, name)),
    }
}

#[cold]
fn one(point: &[u8], name: &[u8]) -> Result<()> {
    let Some(action) = point.strip_prefix(name).and_then(|rest| rest.strip_prefix(b"=")) else { return Ok(()) };
    let number = action.split(|byte| *byte == b'(').nth(1).map(|text| {
        text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0u64, |sum, byte| sum * 10 + u64::from(byte - b'0'))
    });
    if action.starts_with(b"sleep") {
        let ms = number.unwrap_or(0);
        let time = [ms / 1000, ms % 1000 * 1_000_000];
        let _ = sys!(NANOSLEEP, &raw const time, 0);
    } else if action.starts_with(b"kill") {
        if number.is_none_or(|wanted| wanted == count(point)) {
            let pid = sys!(GETPID).unwrap_or(0);
            let _ = sys!(KILL, pid, 9);
            // A namespace's first process cannot kill itself.
            crate::sys::exit(137);
        }
    } else if action.starts_with(b"error") && number.is_none_or(|wanted| wanted == count(point)) {
        return Err(EINVAL);
    }
    Ok(())
}

/// Counts this hit of a point, which is known by where it stands in the variable.
fn count(point: &[u8]) -> u64 {
    let key = point.as_ptr() as usize;
    // SAFETY: the program has one thread.
    let hits = unsafe { &mut *(&raw mut HITS) };
    for (known, times) in hits {
        if *known == 0 || *known == key {
            *known = key;
            *times += 1;
            return *times;
        }
    }
    0
}
