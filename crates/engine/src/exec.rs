//! A process that runs beside a container's first one.

use std::os::fd::OwnedFd;

use crate::{Error, Exit, Result};

/// A process started by [`crate::Engine::exec`]. Dropping it kills the process.
pub struct Exec {
    /// Its process id on the host.
    pub pid: i32,
    /// Where to write its input, if asked for. A pipe, or the terminal. Drop it to close.
    pub stdin: Option<OwnedFd>,
    /// Its output: a pipe, or the terminal (reading that fails with EIO at its end).
    pub stdout: Option<OwnedFd>,
    /// Its errors, without a terminal.
    pub stderr: Option<OwnedFd>,
}

impl Exec {
    /// Sets the terminal's size.
    pub fn resize(&self, _rows: u16, _cols: u16) -> Result<()> {
        Err(Error::Unsupported("this operation yet".into()))
    }

    /// Waits until it has ended. Can be called again after a cancellation.
    pub async fn wait(&mut self) -> Result<Exit> {
        Err(Error::Unsupported("this operation yet".into()))
    }
}
