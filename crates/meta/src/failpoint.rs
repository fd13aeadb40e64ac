//! Faults on purpose, for tests: named points in the code at which a process started with `GANTRY_FAILPOINTS` dies,
//! fails or waits. Without that variable a point costs one atomic load.
//!
//! `GANTRY_FAILPOINTS="node.pod.cgroup-made=kill(2),store.append=sleep(50),server.commit=error"`: `kill` ends the process
//! as SIGKILL does, at the given hit (the first without a number); `sleep` holds the thread for so many milliseconds;
//! `error` and `error(NTH)` act at points that can fail.

use std::collections::HashMap;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

/// The environment variable that switches points on.
pub const VARIABLE: &str = "GANTRY_FAILPOINTS";

const UNKNOWN: u8 = 0;
const OFF: u8 = 1;
const ON: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);
static POINTS: OnceLock<HashMap<String, Point>> = OnceLock::new();

#[derive(Debug)]
struct Point {
    action: Action,
    hits: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Kill { nth: u64 },
    Error { nth: u64 },
    Sleep(Duration),
}

/// A point at which the process may die or wait.
#[inline]
pub fn hit(name: &str) {
    if STATE.load(Ordering::Relaxed) != OFF {
        let _ = reached(name);
    }
}

/// A point at which the process may die or wait, or the operation fail.
///
/// # Errors
/// When the point is set to `error`.
#[inline]
pub fn try_hit(name: &str) -> io::Result<()> {
    if STATE.load(Ordering::Relaxed) == OFF {
        Ok(())
    } else {
        reached(name)
    }
}

#[cold]
fn reached(name: &str) -> io::Result<()> {
    let points = POINTS.get_or_init(|| parse(&std::env::var(VARIABLE).unwrap_or_default()));
    STATE.store(if points.is_empty() { OFF } else { ON }, Ordering::Relaxed);
    match points.get(name) {
        Some(point) => act(name, point),
        None => Ok(()),
    }
}

fn act(name: &str, point: &Point) -> io::Result<()> {
    let count = point.hits.fetch_add(1, Ordering::Relaxed) + 1;
    match point.action {
        Action::Kill { nth } if count == nth => {
            // No destructor runs and no buffer is flushed: that is the point.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::process::abort();
        }
        Action::Error { nth } if nth == 0 || count == nth => Err(io::Error::other(format!("failpoint {name}"))),
        Action::Sleep(time) => {
            std::thread::sleep(time);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Reads the variable; what isn't understood is left out, with a word on standard error.
fn parse(text: &str) -> HashMap<String, Point> {
    let mut points = HashMap::new();
    for part in text.split([',', ';']).map(str::trim).filter(|part| !part.is_empty()) {
        let action = part
            .split_once('=')
            .and_then(|(name, action)| Some((name, parse_action(action)?)));
        match action {
            Some((name, action)) => {
                points.insert(
                    name.to_owned(),
                    Point {
                        action,
                        hits: AtomicU64::new(0),
                    },
                );
            }
            None => eprintln!("{VARIABLE}: {part:?} is no failpoint"),
        }
    }
    points
}

fn parse_action(text: &str) -> Option<Action> {
    let (name, argument) = match text.split_once('(') {
        Some((name, rest)) => (name, Some(rest.strip_suffix(')')?.parse().ok()?)),
        None => (text, None),
    };
    match (name, argument) {
        ("kill", nth) => Some(Action::Kill { nth: nth.unwrap_or(1) }),
        ("error", nth) => Some(Action::Error { nth: nth.unwrap_or(0) }),
        ("sleep", Some(millis)) => Some(Action::Sleep(Duration::from_millis(millis))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_variable() {
        let points = parse("a.b=kill, c=kill(3),d=error;e=sleep(20),f=burn,g");
        assert_eq!(points.len(), 4);
        assert_eq!(points["a.b"].action, Action::Kill { nth: 1 });
        assert_eq!(points["c"].action, Action::Kill { nth: 3 });
        assert_eq!(points["e"].action, Action::Sleep(Duration::from_millis(20)));
    }

    #[test]
    fn an_error_comes_at_its_hit() {
        let point = Point {
            action: Action::Error { nth: 2 },
            hits: AtomicU64::new(0),
        };
        assert!(act("x", &point).is_ok());
        assert_eq!(act("x", &point).unwrap_err().to_string(), "failpoint x");
        assert!(act("x", &point).is_ok());
    }

    #[test]
    fn nothing_happens_when_off() {
        hit("nobody.set.this");
        assert!(try_hit("nobody.set.this").is_ok());
    }

    #[test]
    fn kill_is_sigkill() {
        use std::os::unix::process::ExitStatusExt as _;
        if std::env::var_os("FAILPOINT_CHILD").is_some() {
            hit("test.die");
            unreachable!("the failpoint did not kill");
        }
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "failpoint::tests::kill_is_sigkill", "--nocapture"])
            .env("FAILPOINT_CHILD", "1")
            .env(VARIABLE, "test.die=kill")
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(9));
    }
}
