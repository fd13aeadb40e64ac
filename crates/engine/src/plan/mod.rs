//! Compiles a bundle into a plan: what a new process must do, step by step, until it is the container's program.
//!
//! Pure: nothing in here asks the kernel or reads a file, so all of it is tested without one. The format is the shim's
//! (`shim::plan`); carrying it out is the shim's business.

mod container;
mod devices;
mod exec;
mod mounts;
mod process;

#[cfg(test)]
mod tests;

pub(crate) use container::{Place, container, park};
pub(crate) use exec::{Target, exec};
use shim::plan::{HEADER, MAGIC, Op, VERSION};

use crate::Error;

/// One step, with its arguments and strings as the operation defines them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) op: Op,
    pub(crate) args: Vec<u64>,
    pub(crate) strings: Vec<String>,
}

impl Step {
    pub(crate) fn new(op: Op) -> Self {
        Self {
            op,
            args: Vec::new(),
            strings: Vec::new(),
        }
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = u64>) -> Self {
        self.args.extend(args);
        self
    }

    pub(crate) fn strings<S: Into<String>>(mut self, strings: impl IntoIterator<Item = S>) -> Self {
        self.strings.extend(strings.into_iter().map(Into::into));
        self
    }

    /// For people: what the step is about.
    fn describe(&self) -> String {
        let verb = match self.op {
            Op::Exec => "exec",
            Op::MountFs | Op::Mount | Op::Bind => "mount",
            Op::Chdir => "change to working directory",
            Op::User => "become user",
            Op::Seccomp => "load seccomp filter",
            Op::Rlimit => "set resource limit",
            Op::WriteFile => "write",
            Op::Terminal => "open terminal",
            Op::Setns | Op::SetnsFd => "join namespace",
            other => {
                return format!("{other:?} {}", self.strings.join(" "))
                    .trim_end()
                    .to_lowercase();
            }
        };
        let about = match self.op {
            Op::Exec => self.strings.first().map(|program| format!("{program:?}")),
            Op::Bind | Op::MountFs => Some(format!("{} on {}", self.strings[0], self.strings[1])),
            Op::User => Some(format!("{}:{}", self.args[0], self.args[1])),
            Op::Rlimit => Some(self.args[0].to_string()),
            _ => self.strings.first().cloned(),
        };
        format!("{verb} {}", about.unwrap_or_default()).trim_end().to_owned()
    }
}

/// A whole plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) clone_flags: u64,
    pub(crate) parent: Vec<Step>,
    pub(crate) child: Vec<Step>,
}

impl Plan {
    /// The plan as the shim reads it.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        let (mut parent, mut child) = (Vec::new(), Vec::new());
        self.parent.iter().try_for_each(|step| encode(step, &mut parent))?;
        self.child.iter().try_for_each(|step| encode(step, &mut child))?;
        let mut bytes = Vec::with_capacity(HEADER + parent.len() + child.len());
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend(VERSION.to_ne_bytes());
        for number in [self.clone_flags, parent.len() as u64, child.len() as u64] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(parent);
        bytes.extend(child);
        Ok(bytes)
    }

    /// The error that a failed step means.
    pub(crate) fn failure(&self, step: u64, errno: i32) -> Error {
        match self.child.get(step as usize) {
            Some(step) => Error::Step {
                step: step.describe(),
                errno,
                exec: step.op == Op::Exec,
            },
            None => Error::Step {
                step: "start".into(),
                errno,
                exec: false,
            },
        }
    }
}

fn encode(step: &Step, to: &mut Vec<u8>) -> Result<(), Error> {
    let start = to.len();
    to.extend((step.op as u16).to_ne_bytes());
    let count = u16::try_from(step.strings.len()).map_err(|_| Error::Invalid("too many arguments".into()))?;
    to.extend(count.to_ne_bytes());
    to.extend((step.args.len() as u32).to_ne_bytes());
    to.extend([0; 8]);
    step.args.iter().for_each(|arg| to.extend(arg.to_ne_bytes()));
    for string in &step.strings {
        if string.contains('\0') {
            return Err(Error::Invalid(format!("{string:?} has a zero byte")));
        }
        to.extend(string.as_bytes());
        to.push(0);
    }
    to.resize(to.len().next_multiple_of(8), 0);
    let len = (to.len() - start) as u32;
    to[start + 8..start + 12].copy_from_slice(&len.to_ne_bytes());
    Ok(())
}
