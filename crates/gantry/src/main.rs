//! The binary: it reads the command line and wires the rooms together. What a room does is the room's business.

mod footprint;
mod node;
mod registry;
mod server;
mod store;
mod supervise;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use cli::{Cli, Command, Instance};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(dir) = supervised() {
        return finish(Instance::new(&dir).and_then(|instance| supervise::run(&instance)));
    }
    let cli = Cli::parse();
    if !matches!(cli.command, Command::Server(_) | Command::Node(_) | Command::Supervise) {
        // A reader that goes away, such as `head`, ends a command quietly instead of by a panic.
        // SAFETY: no other thread runs yet, and the default disposition needs no handler.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    }
    finish(run(cli))
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gantry: {}", cli::process::one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Version => {
            println!("gantry {} (Kubernetes {})", cli::VERSION, cli::KUBERNETES);
            Ok(())
        }
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "gantry", &mut std::io::stdout());
            Ok(())
        }
        Command::Image { command } => cli::image::run(&Instance::new(&cli.data_dir)?, command),
        Command::Up(args) => small(cli::up::run(Instance::new(&cli.data_dir)?, args)),
        Command::Token { command } => small(cli::token::run(Instance::new(&cli.data_dir)?, command)),
        Command::Join(args) => small(cli::join::run(Instance::new(&cli.data_dir)?, args)),
        Command::Drain(args) => small(cli::drain::run(Instance::new(&cli.data_dir)?, args)),
        Command::Leave(args) => small(cli::leave::run(Instance::new(&cli.data_dir)?, args)),
        Command::Down { purge } => small(cli::down::run(Instance::new(&cli.data_dir)?, purge)),
        Command::Status { output } => small(cli::status::run(Instance::new(&cli.data_dir)?, output)),
        Command::Bench { command } => busy(bench::run(command)),
        Command::Supervise => supervise::run(&Instance::new(&cli.data_dir)?),
        Command::Server(given) => large(server::run(Instance::new(&cli.data_dir)?, given)),
        Command::Node(given) => large(node::run(Instance::new(&cli.data_dir)?, given)),
    }
}

/// The data directory, when this is the supervisor as `gantry up` starts it. The general way through the command line
/// would cost more memory than all that the supervisor ever needs.
fn supervised() -> Option<PathBuf> {
    let given: Vec<_> = std::env::args_os().skip(1).collect();
    match given.as_slice() {
        [flag, dir, command] if flag == "--data-dir" && command == "supervise" => Some(PathBuf::from(dir)),
        _ => None,
    }
}

/// For work that waits more than it computes.
fn small(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // What still waits for a sign on another thread is of no interest any more.
    runtime.shutdown_background();
    result
}

/// For the long-running processes.
fn large(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    without_huge_pages();
    let filter = tracing_subscriber::EnvFilter::try_from_env("GANTRY_LOG").unwrap_or_else(|_| "info".into());
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        // Told by `eprintln!`, which panics in turn: a full disk must not end whoever has something to say.
        .log_internal_errors(false)
        .init();
    busy(work)
}

/// A heap of a few megabytes that lies scattered over some address space takes three times the memory in pages of two
/// megabytes. The allocator doesn't ask for such pages; this is for hosts that give them unasked. Children inherit it: a
/// shim takes it back, so that containers have what the host gives.
fn without_huge_pages() {
    let (on, off): (libc::c_ulong, libc::c_ulong) = (1, 0);
    // SAFETY: only a flag of this process changes.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, on, off, off, off) };
}

/// For work that computes.
fn busy(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// Cancelled when the process is told to end.
fn until_told_to_end() -> anyhow::Result<CancellationToken> {
    let cancel = CancellationToken::new();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let told = cancel.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        told.cancel();
    });
    Ok(cancel)
}
