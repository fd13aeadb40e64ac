//! What can be typed after `gantry bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to measure.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Time to value: from nothing to a node that is ready, and from a manifest to the first HTTP 200.
    #[command(
        after_help = "Example:\n  gantry bench ttv --kubeconfig /tmp/b/admin.kubeconfig \\\n    --start 'gantry up --data-dir /tmp/b --listen 127.0.0.1:7443 --no-kubeconfig' \\\n    --stop 'gantry down --purge --data-dir /tmp/b' --runs 5"
    )]
    Ttv(TtvArgs),
    /// Pods: created until ready and deleted until gone, one at a time and many at once, and the memory they cost.
    #[command(
        after_help = "Example:\n  gantry bench pods --count 20 --burst 30 --pid $(pidof kubelet) --pid $(pidof containerd) --comm containerd-shim"
    )]
    Pods(PodsArgs),
    /// Images: from a registry on this machine to a started container, against containerd.
    #[command(after_help = "Example:\n  gantry bench pull --kubeconfig /tmp/b/admin.kubeconfig --runs 5")]
    Pull(PullArgs),
    /// The API: creates, gets, lists, updates and watch events a second, with latencies.
    #[command(
        after_help = "Example:\n  gantry bench api --clients 64 --seconds 10 --size 1024 --pid $(pidof kube-apiserver)"
    )]
    Api(ApiArgs),
}

/// Which cluster, and which processes of it run on this machine.
#[derive(Args, Debug, Clone)]
pub struct ClusterArgs {
    /// The kubeconfig; the user's own by default.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; its current one by default.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// The processes whose memory and CPU time are reported beside.
#[derive(Args, Debug, Clone, Default)]
pub struct ProcessArgs {
    /// A process to report memory (PSS, RSS) and CPU time of; may be repeated.
    #[arg(long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,
    /// Also all processes whose name (as in /proc/PID/comm) begins so, at each moment anew; may be repeated.
    #[arg(long = "comm", value_name = "PREFIX")]
    pub comms: Vec<String>,
}

/// `bench ttv`
#[derive(Args, Debug, Clone)]
pub struct TtvArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// The shell command that starts the cluster; without it, the cluster is expected to run.
    #[arg(long, value_name = "COMMAND")]
    pub start: Option<String>,
    /// A shell command to run once a node is ready, such as an import of the image; not part of the total.
    #[arg(long, value_name = "COMMAND")]
    pub prepare: Option<String>,
    /// The shell command that stops the cluster after each run.
    #[arg(long, value_name = "COMMAND")]
    pub stop: Option<String>,
    /// How often.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// The image of a web server, present on the node.
    #[arg(long, default_value = "gantry.local/hello:latest")]
    pub image: String,
    /// The port that it listens on.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// The node's address, for the NodePort; the API server's host by default.
    #[arg(long, value_name = "HOST")]
    pub address: Option<String>,
    /// How many seconds any one step may take.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    pub timeout: u64,
}

/// `bench pods`
#[derive(Args, Debug, Clone)]
pub struct PodsArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Which processes.
    #[command(flatten)]
    pub processes: ProcessArgs,
    /// How many pods one after another.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub count: u32,
    /// How many pods at once.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub burst: u32,
    /// The image, present on the node; its process must run until it is told to stop.
    #[arg(long, default_value = "gantry.local/hello:latest")]
    pub image: String,
    /// The pods' terminationGracePeriodSeconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub grace: u32,
    /// How many seconds any one pod, or the burst, may take.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    pub timeout: u64,
}

/// `bench pull`
#[derive(Args, Debug, Clone)]
pub struct PullArgs {
    /// Which cluster; its node must be this machine.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// How often each.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// The image's size, unpacked.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub megabytes: u32,
    /// Its layers.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub layers: u32,
    /// Don't install and measure containerd.
    #[arg(long)]
    pub no_peer: bool,
    /// How many seconds any one pull may take.
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub timeout: u64,
}

/// `bench api`
#[derive(Args, Debug, Clone)]
pub struct ApiArgs {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// Which processes.
    #[command(flatten)]
    pub processes: ProcessArgs,
    /// How many clients ask at once, each over a connection of its own.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: u32,
    /// How many clients list at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub list_clients: u32,
    /// How long each measurement lasts.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// How many bytes of data an object carries.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub size: u32,
    /// How many objects gets, updates and lists work on; a list holds all of them.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub objects: u32,
    /// How many objects the measurement of creates makes at most.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_creates: u32,
    /// How many clients watch; 0 leaves watches out.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub watchers: u32,
    /// How many objects are created while they watch.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub watch_writes: u32,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::Command;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    #[test]
    fn every_command_has_an_example() {
        Line::command().debug_assert();
        for command in Line::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example:"), "{}", command.get_name());
        }
    }

    #[test]
    fn the_defaults_are_those_the_peers_were_measured_with() {
        let Command::Api(args) = Line::try_parse_from(["bench", "api", "--pid", "1", "--pid", "2"])
            .expect("parses")
            .command
        else {
            panic!("not the api command");
        };
        assert_eq!(
            (args.clients, args.seconds, args.size, args.objects, args.watchers),
            (64, 10, 1024, 5000, 200)
        );
        assert_eq!(args.processes.pids, [1, 2]);
    }

    #[test]
    fn no_clients_is_refused() {
        assert!(Line::try_parse_from(["bench", "api", "--clients", "0"]).is_err());
    }
}
