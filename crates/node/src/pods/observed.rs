//! What a node knows of a pod's containers: the engine's word, the probes' verdicts, and what went wrong.

use std::collections::BTreeMap;

use engine::{ContainerId, Exit, Started};
use jiff::{SignedDuration, Timestamp};

/// The first pause between two starts of a failing container, and the longest.
const FIRST_DELAY: SignedDuration = SignedDuration::from_secs(10);
const LONGEST_DELAY: SignedDuration = SignedDuration::from_mins(5);
/// A container that ran this long starts with a clean slate.
const GOOD_RUN: SignedDuration = SignedDuration::from_mins(10);

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) id: ContainerId,
    /// Counted from 0; the restart count.
    pub(crate) attempt: u32,
    pub(crate) state: RunState,
    pub(crate) image: String,
    pub(crate) image_id: String,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    Running(Started),
    Exited(Exit, Option<String>),
}

/// Why a container does not run yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: String,
    pub(crate) message: String,
    /// When to try again.
    pub(crate) until: Timestamp,
    /// How often it went wrong in a row.
    pub(crate) failures: u32,
}

/// A container of a pod, over all its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) current: Option<Run>,
    pub(crate) previous: Option<Run>,
    /// The startup probe, if there is one, has succeeded in this run.
    pub(crate) started: bool,
    /// The readiness probe, if there is one, succeeds.
    pub(crate) ready: bool,
    pub(crate) waiting: Option<Waiting>,
    /// Runs that ended early, in a row; sets the pause before the next.
    pub(crate) crashes: u32,
    /// The current run is of a sandbox that is gone: known from the API alone.
    pub(crate) lost: bool,
}

/// All containers of a pod by name.
pub(crate) type World = BTreeMap<String, Observed>;

impl Observed {
    pub(crate) fn running(&self) -> Option<&Started> {
        match &self.current.as_ref()?.state {
            RunState::Running(started) => Some(started),
            RunState::Exited(..) => None,
        }
    }

    pub(crate) fn exit(&self) -> Option<&Exit> {
        match &self.current.as_ref()?.state {
            RunState::Exited(exit, _) => Some(exit),
            RunState::Running(_) => None,
        }
    }

    pub(crate) fn next_attempt(&self) -> u32 {
        self.current.as_ref().map_or(0, |run| run.attempt + 1)
    }

    /// Notes how a run ended, for the pause before the next.
    pub(crate) fn ended(&mut self, exit: Exit, message: Option<String>) {
        if let Some(run) = &mut self.current {
            let ran = exit
                .started_at
                .map_or(SignedDuration::ZERO, |at| exit.finished_at.duration_since(at));
            self.crashes = if ran >= GOOD_RUN { 1 } else { self.crashes + 1 };
            run.state = RunState::Exited(exit, message);
        }
        self.ready = false;
        self.started = false;
    }

    /// When the container may start again: at once after the first end, then after 10 s, 20 s and so on to 5 min.
    pub(crate) fn restart_at(&self) -> Option<Timestamp> {
        let exit = self.exit()?;
        if self.crashes <= 1 {
            return Some(exit.finished_at);
        }
        Some(exit.finished_at + delay(self.crashes - 2))
    }
}

/// The pause after `n` earlier pauses.
pub(crate) fn delay(n: u32) -> SignedDuration {
    let factor = 1i32.checked_shl(n.min(6)).unwrap_or(64);
    (FIRST_DELAY * factor).min(LONGEST_DELAY)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    pub(crate) fn exit(code: i32, from: i64, to: i64) -> Exit {
        Exit {
            code,
            signal: None,
            oom_killed: false,
            started_at: Some(at(from)),
            finished_at: at(to),
            uncertain: false,
        }
    }

    pub(crate) fn run(attempt: u32, state: RunState) -> Run {
        let id = ContainerId::new(format!("c{attempt}")).unwrap();
        Run {
            id,
            attempt,
            state,
            image: "img".to_string(),
            image_id: "sha256:1".to_string(),
        }
    }

    pub(crate) fn running(attempt: u32, since: i64) -> Observed {
        let state = RunState::Running(Started {
            pid: 1,
            started_at: at(since),
            withheld: Default::default(),
        });
        Observed {
            current: Some(run(attempt, state)),
            started: true,
            ready: true,
            ..Observed::default()
        }
    }

    #[test]
    fn pauses_grow_and_a_good_run_forgets_them() {
        let mut observed = running(0, 0);
        observed.ended(exit(1, 0, 5), None);
        assert_eq!(observed.restart_at(), Some(at(5)), "the first restart is at once");
        for (crash, pause) in [(2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 300), (8, 300)] {
            observed.ended(exit(1, 5, 6), None);
            assert_eq!(observed.crashes, crash);
            assert_eq!(observed.restart_at(), Some(at(6 + pause)));
        }
        observed.ended(exit(1, 0, 601), None);
        assert_eq!(observed.restart_at(), Some(at(601)));
    }
}
