//! What `gantry up` says on a machine that lacks something: one line with the remedy, exit code 1, nothing left behind.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use testkit::cluster::{Cluster, output};
use testkit::leaks::Snapshot;

use crate::disk::SmallDisk;
use crate::stage;

/// A command that must be refused: it says one line with each of these in it, and leaves the machine as it was.
fn refused(cluster: &Cluster, command: &mut Command, says: &[&str]) {
    let data = cluster.data().to_owned();
    let existed = data.exists();
    let before = traces(&data);
    let output = output(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    for part in says {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
    let left = traces(&data).since(&before);
    assert!(left.is_empty(), "left behind: {left:#?}");
    assert_eq!(data.exists(), existed, "{} is not as it was", data.display());
}

/// All that bears the name of the directory, or of the instance that it would have.
fn traces(data: &Path) -> Snapshot {
    Snapshot::take(&[&data.to_string_lossy()])
}

/// `up` behind another program, such as one that takes privileges away.
fn through(wrapper: &[&str], cluster: &Cluster) -> Command {
    let up = cluster.up_command();
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(up.get_program()).args(up.get_args());
    for (name, value) in up.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

#[test]
fn a_port_that_is_taken() {
    let cluster = stage::cluster();
    let _taken = TcpListener::bind(cluster.listen()).unwrap();
    let says = [&*cluster.listen(), "taken by another program", "--listen"];
    refused(&cluster, &mut cluster.up_command(), &says);
}

#[test]
fn an_address_of_another_machine() {
    let cluster = stage::cluster();
    let mut up = cluster.gantry(&["up", "--no-kubeconfig", "--listen", "192.0.2.1:6443"]);
    up.args([
        "--pod-cidr",
        &cluster.pod_cidr(),
        "--service-cidr",
        &cluster.service_cidr(),
    ]);
    refused(&cluster, &mut up, &["192.0.2.1:6443", "choose another --listen"]);
}

#[test]
fn root_is_missing() {
    let cluster = stage::cluster();
    // The ids of a user namespace are what this process may have besides its own.
    let nobody = ["unshare", "--user", "--map-user=1000", "--"];
    refused(
        &cluster,
        &mut through(&nobody, &cluster),
        &["needs root", "sudo gantry up"],
    );
    let contained = ["unshare", "--user", "--map-root-user", "--"];
    refused(
        &cluster,
        &mut through(&contained, &cluster),
        &["user namespace", "outside of"],
    );
}

#[test]
fn a_part_of_roots_power_is_missing() {
    let cluster = stage::cluster();
    let without = [
        "setpriv",
        "--bounding-set=-sys_admin,-net_admin",
        "--inh-caps=-all",
        "--",
    ];
    let says = ["CAP_NET_ADMIN, CAP_SYS_ADMIN", "outside of a container"];
    refused(&cluster, &mut through(&without, &cluster), &says);
}

#[test]
fn the_disk_is_full() {
    for (options, what) in [
        ("size=100m,nr_inodes=100", "files are left"),
        ("size=2m", "KiB are left"),
    ] {
        let disk = SmallDisk::mount(options);
        let cluster = stage::cluster().with_data(disk.path().join("deep/data"));
        let says = [what, cluster.data().to_str().unwrap(), "--data-dir"];
        refused(&cluster, &mut cluster.up_command(), &says);
        assert_eq!(
            std::fs::read_dir(disk.path()).unwrap().count(),
            0,
            "directories on the way are left"
        );
    }
}

#[test]
fn a_range_overlaps_the_hosts_network() {
    let cluster = stage::cluster();
    let up = |pods: &str, services: &str| {
        let mut up = cluster.gantry(&["up", "--no-kubeconfig", "--listen", &cluster.listen()]);
        up.args(["--pod-cidr", pods, "--service-cidr", services]);
        up
    };
    let (pods, services) = (cluster.pod_cidr(), cluster.service_cidr());
    // Every host has these addresses.
    let taken = "127.64.0.0/16";
    let of_host = "of this host";
    refused(
        &cluster,
        &mut up(taken, &services),
        &[taken, of_host, "choose another --pod-cidr"],
    );
    refused(
        &cluster,
        &mut up(&pods, taken),
        &[taken, of_host, "choose another --service-cidr"],
    );
    refused(&cluster, &mut up(&pods, &pods), &["overlap", "--pod-cidr"]);
    if let Some(route) = host_route() {
        let says = [&*route, "overlaps the", of_host];
        refused(&cluster, &mut up(&route, &services), &says);
    }
}

/// A network that this host has a route to, other than the default one and those that tests make.
fn host_route() -> Option<String> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap();
    routes.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| u32::from_str_radix(fields[at], 16).unwrap().swap_bytes();
        let physical = Path::new("/sys/class/net").join(fields[0]).join("device").exists();
        let (network, mask) = (number(1), number(7));
        let whole = physical && network != 0 && (8..=28).contains(&mask.count_ones());
        whole.then(|| format!("{}/{}", std::net::Ipv4Addr::from(network), mask.count_ones()))
    })
}

/// What only a running process can find out is told and undone as well.
#[test]
fn a_failure_of_a_running_process_is_undone() {
    let cluster = stage::cluster();
    std::fs::create_dir_all(cluster.data()).unwrap();
    let server = cluster.data().join("server");
    std::fs::write(&server, "somebody's own file").unwrap();
    refused(
        &cluster,
        &mut cluster.up_command(),
        &["making", server.to_str().unwrap()],
    );
    assert!(server.is_file(), "what was there before stays");
}
