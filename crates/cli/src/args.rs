//! What can be typed.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use ipnet::Ipv4Net;

/// One machine, or many, as one computer that speaks the Kubernetes API.
#[derive(Parser, Debug)]
#[command(name = "gantry", version = crate::VERSION, max_term_width = 100)]
#[command(after_help = "Example:\n  gantry up --demo\n  kubectl --context gantry get pods -A")]
pub struct Cli {
    /// Where this instance keeps everything. Several instances live on one machine with a directory each.
    #[arg(
        long,
        global = true,
        env = "GANTRY_DATA_DIR",
        default_value = "/var/lib/gantry",
        value_name = "DIR"
    )]
    pub data_dir: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Start what isn't running, and wait until the node is ready.
    #[command(
        after_help = "Example:\n  gantry up\n  gantry up --listen 127.0.0.1:7443 --data-dir /tmp/second --pod-cidr 10.245.0.0/16 --service-cidr 10.97.0.0/16"
    )]
    Up(UpArgs),
    /// Stop pods and processes.
    #[command(after_help = "Example:\n  gantry down\n  gantry down --purge    # and remove every trace")]
    Down {
        /// Also remove all files: images, objects, keys. There is no way back.
        #[arg(long)]
        purge: bool,
    },
    /// Tokens by which other machines join.
    #[command(after_help = "Example:\n  gantry token create    # prints the line to paste on the other machine")]
    Token {
        /// What to do with tokens.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Make this machine a node of a server elsewhere; `gantry token create` there prints the line.
    #[command(
        after_help = "Example:\n  gantry join https://192.0.2.10:6443 --token 07401b.f395accd246ae52d.<hash> --labels disk=ssd"
    )]
    Join(JoinArgs),
    /// Move a node's pods away, so that it can be stopped.
    #[command(
        after_help = "Example:\n  gantry drain web-2 --ignore-daemonsets\n  kubectl uncordon web-2    # when it is back"
    )]
    Drain(DrainArgs),
    /// Take this machine out of the cluster that it joined, and remove every trace.
    #[command(after_help = "Example:\n  gantry leave\n  gantry leave --force    # the server is gone for good")]
    Leave(LeaveArgs),
    /// Show what runs, where, and how healthy it is.
    #[command(after_help = "Example:\n  gantry status\n  gantry status -o json")]
    Status {
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Images on this machine: import, build, list, remove.
    #[command(after_help = "Example:\n  gantry image build -t shop:v1 ./shop\n  gantry image ls")]
    Image {
        /// What to do with images.
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Measure this cluster, or any other that a kubeconfig leads to.
    #[command(after_help = "Example:\n  gantry bench pods --kubeconfig /var/lib/gantry/admin.kubeconfig")]
    Bench {
        /// What to measure.
        #[command(subcommand)]
        command: bench::Command,
    },
    /// Run the server in the foreground, for a service manager.
    #[command(after_help = "Example:\n  gantry server --listen 0.0.0.0:6443")]
    Server(SettingsArgs),
    /// Run this machine's node in the foreground, for a service manager.
    #[command(after_help = "Example:\n  gantry node --node-name web-1")]
    Node(SettingsArgs),
    /// Keep server and node running; `up` starts it.
    #[command(hide = true)]
    Supervise,
    /// Print the version.
    #[command(after_help = "Example:\n  gantry version")]
    Version,
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  gantry completion bash > /etc/bash_completion.d/gantry")]
    Completion {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// How `status` prints.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What `up` takes.
#[derive(Args, Debug, Clone)]
pub struct UpArgs {
    /// The instance's settings.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Deploy a web application and show its answer.
    #[arg(long)]
    pub demo: bool,
    /// How long to wait until the node is ready (and the demo answers).
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "TIME")]
    pub wait: Duration,
    /// Leave the user's kubeconfig alone.
    #[arg(long)]
    pub no_kubeconfig: bool,
}

/// Settings that an instance keeps; what isn't given stays as it was at the last start.
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsArgs {
    /// Where the server listens [default: 0.0.0.0:6443].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// The address under which others reach the server [default: the one that leads to the world].
    #[arg(long, value_name = "IP")]
    pub advertise_address: Option<IpAddr>,
    /// Addresses for pods; each node gets a part [default: 10.244.0.0/16].
    #[arg(long, value_name = "CIDR")]
    pub pod_cidr: Option<Ipv4Net>,
    /// Addresses for Services [default: 10.96.0.0/16].
    #[arg(long, value_name = "CIDR")]
    pub service_cidr: Option<Ipv4Net>,
    /// This machine's name in the cluster [default: the host's name].
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// How many nodes to have on this machine, for trying things out: those beside the first are in networks of their own.
    #[arg(long, value_name = "N")]
    pub nodes: Option<u8>,
    /// Run the server alone; pods run on machines that join.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub no_node: Option<bool>,
    /// How long nodes' certificates hold; they renew them by themselves [default: 365 days].
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub cluster_signing_duration: Option<Duration>,
    /// Admission plug-ins to run beside those that always do, such as AlwaysPullImages; an empty text for none.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub enable_admission_plugins: Option<Vec<String>>,
    /// Admission plug-ins not to run, such as PodSecurity; an empty text for none.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub disable_admission_plugins: Option<Vec<String>>,
    /// Settings of admission plug-ins: a file with an AdmissionConfiguration, as Kubernetes has it.
    #[arg(long, value_name = "FILE")]
    pub admission_control_config_file: Option<PathBuf>,
    /// The audit log.
    #[command(flatten)]
    pub audit: crate::audit::AuditArgs,
    /// Who is believed.
    #[command(flatten)]
    pub authentication: crate::authentication::AuthenticationArgs,
    /// Encryption at rest.
    #[command(flatten)]
    pub encryption: crate::encryption::EncryptionArgs,
    /// Traces.
    #[command(flatten)]
    pub tracing: crate::traces::TracingArgs,
    /// Front proxies.
    #[command(flatten)]
    pub front_proxy: crate::front_proxy::FrontProxyArgs,
    /// Where objects are kept.
    #[command(flatten)]
    pub store: crate::store::StoreArgs,
    /// Versions and resources to serve beside those of the defaults, or not: api/all, api/beta, GROUP/VERSION or
    /// GROUP/VERSION/RESOURCE, each with =true or =false; an empty text for the defaults.
    #[arg(long, value_name = "KEY=BOOL,...", value_delimiter = ',')]
    pub runtime_config: Option<Vec<String>>,
}

/// What to do with tokens.
#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Make one, and print the line that lets another machine join.
    #[command(after_help = "Example:\n  gantry token create --ttl 1h")]
    Create {
        /// How long it lets machines join; 0 for ever.
        #[arg(long, default_value = "24h", value_parser = duration, value_name = "TIME")]
        ttl: Duration,
        /// What it is for, as `list` shows it.
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// List them.
    #[command(after_help = "Example:\n  gantry token list")]
    List {
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Take one back. Nodes that joined by it stay.
    #[command(after_help = "Example:\n  gantry token revoke 07401b")]
    Revoke {
        /// The token, or its first six characters.
        token: String,
    },
}

/// What `join` takes.
#[derive(Args, Debug, Clone)]
pub struct JoinArgs {
    /// Where the server is: https://ADDRESS:PORT.
    #[arg(value_name = "URL")]
    pub server: String,
    /// What `gantry token create` printed. A node that has joined before needs none.
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// This machine's name in the cluster [default: the host's name].
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// The address by which other nodes reach this one [default: the one that leads to the world].
    #[arg(long, value_name = "IP")]
    pub node_ip: Option<IpAddr>,
    /// Labels for the node.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// How long to wait until the node is ready.
    #[arg(long, default_value = "60s", value_parser = duration, value_name = "TIME")]
    pub wait: Duration,
}

/// What `drain` takes: kubectl's flags.
#[derive(Args, Debug, Clone)]
pub struct DrainArgs {
    /// The node.
    pub node: String,
    /// How pods are moved.
    #[command(flatten)]
    pub how: DrainOptions,
}

/// How pods are moved away.
#[derive(Args, Debug, Clone, Default)]
pub struct DrainOptions {
    /// Also pods that nobody makes anew elsewhere.
    #[arg(long)]
    pub force: bool,
    /// Leave pods of DaemonSets where they are.
    #[arg(long)]
    pub ignore_daemonsets: bool,
    /// Also pods with emptyDir volumes, whose data goes.
    #[arg(long)]
    pub delete_emptydir_data: bool,
    /// Seconds that each pod gets to end; below zero, its own.
    #[arg(long, default_value_t = -1, allow_hyphen_values = true, value_name = "SECONDS")]
    pub grace_period: i64,
    /// How long it may all take; 0 for ever.
    #[arg(long, default_value = "0s", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
    /// Only pods with these labels.
    #[arg(long, value_name = "SELECTOR")]
    pub pod_selector: Option<String>,
    /// Delete pods without heeding disruption budgets.
    #[arg(long)]
    pub disable_eviction: bool,
}

/// What `leave` takes.
#[derive(Args, Debug, Clone)]
pub struct LeaveArgs {
    /// Don't move the pods away first, and go even if the server doesn't answer.
    #[arg(long)]
    pub force: bool,
    /// How long moving the pods away may take; 0 for ever.
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,
}

/// What to do with images.
#[derive(Subcommand, Debug)]
pub enum ImageCommand {
    /// Import an OCI layout or a docker-save archive.
    #[command(
        after_help = "Example:\n  docker save shop:v1 | gantry image import -\n  gantry image import ./layout --name shop:v1"
    )]
    Import {
        /// A directory, a tar (also compressed), or - for standard input.
        source: PathBuf,
        /// The name for an archive of one image.
        #[arg(long)]
        name: Option<String>,
    },
    /// Build an image from a Dockerfile.
    #[command(
        after_help = "Example:\n  gantry image build -t shop:v1 ./shop\n  gantry image build -t shop:v1 --target test --build-arg V=2 --secret id=key,src=key.txt ."
    )]
    Build(crate::build::args::BuildArgs),
    /// Pull an image from its registry.
    #[command(
        after_help = "Example:\n  gantry image pull nginx\n  gantry image pull --insecure 10.0.0.5:5000/shop:v1\n\nCredentials are those of `docker login`."
    )]
    Pull {
        /// Its name.
        name: String,
        /// The registry may do without TLS, or have a certificate that nobody vouches for.
        #[arg(long)]
        insecure: bool,
        /// The machine that it is for [default: this one].
        #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
        platform: Option<image::Platform>,
        /// Print the digest alone.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Push an image to the registry of its name.
    #[command(
        after_help = "Example:\n  gantry image tag shop:v1 registry.example.com/shop:v1\n  gantry image push registry.example.com/shop:v1"
    )]
    Push {
        /// Its name.
        name: String,
        /// The registry may do without TLS, or have a certificate that nobody vouches for.
        #[arg(long)]
        insecure: bool,
    },
    /// Give an image one more name.
    #[command(after_help = "Example:\n  gantry image tag shop:v1 shop:stable")]
    Tag {
        /// Its name or id.
        source: String,
        /// The new name.
        name: String,
    },
    /// Write images into an archive, for `gantry image import` and `docker load`.
    #[command(
        after_help = "Example:\n  gantry image export -o shop.tar shop:v1\n  gantry image export shop:v1 | docker load"
    )]
    Export {
        /// Their names.
        #[arg(required = true)]
        names: Vec<String>,
        /// The archive [default: standard output].
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// List the images.
    #[command(
        after_help = "Example:\n  gantry image ls\n  gantry image ls -q",
        visible_alias = "list"
    )]
    Ls {
        /// Only names that contain this.
        filter: Option<String>,
        /// How to print it.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
        /// Print the ids alone.
        #[arg(short, long)]
        quiet: bool,
        /// Print the digests too.
        #[arg(long)]
        digests: bool,
    },
    /// Remove images.
    #[command(after_help = "Example:\n  gantry image rm shop:v1\n  gantry image rm 3f2a9c81")]
    Rm {
        /// Their names or ids; an id takes all names of the image.
        #[arg(required = true)]
        names: Vec<String>,
        /// Also those that containers run on; their layers stay until the containers are gone.
        #[arg(short, long)]
        force: bool,
    },
    /// Remove what no image needs, and with --all the images that no container uses.
    #[command(after_help = "Example:\n  gantry image prune\n  gantry image prune --all")]
    Prune {
        /// Images that no container uses, too.
        #[arg(short, long)]
        all: bool,
    },
}

/// `KEY=VALUE`, as a label may be.
fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not a label such as disk=ssd"))?;
    let mut wrong = meta::names::qualified_name(key);
    wrong.extend(meta::names::label_value(value));
    match wrong.first() {
        Some(wrong) => Err(format!("{text:?}: {wrong}")),
        None => Ok((key.to_string(), value.to_string())),
    }
}

/// `90s`, `2m`, `500ms`, or a number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a time such as 90s or 2m"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err(format!("{unit:?} is not a unit of time; use ms, s, m or h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command) {
            if !command.is_hide_set() && command.get_name() != "help" {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example:"), "{} has no example", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn times() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        assert!(duration("5x").is_err() && duration("").is_err());
    }
}
