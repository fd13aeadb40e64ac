//! Statistics in Prometheus' text format, under the names that dashboards and alerts know.

use std::fmt::Write as _;

use super::seconds;
use crate::pods::Context;
use crate::stats::{ContainerUsage, PodUsage, Usage};

/// Text of metrics, family by family.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> Family<'_> {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family {
            text: &mut self.0,
            name: name.to_string(),
        }
    }
}

struct Family<'a> {
    text: &'a mut String,
    name: String,
}

impl Family<'_> {
    fn add(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let pairs: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = match pairs.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", pairs.join(",")),
        };
        let _ = writeln!(self.text, "{}{labels} {value}", self.name);
    }
}

fn cpu_seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// What this process says of itself.
pub(super) fn own(ctx: &Context) -> String {
    let mut text = Text::default();
    let containers = ctx.engine.containers();
    let running = |container: &&engine::Container| matches!(container.state, engine::State::Running(_));
    text.family("kubelet_node_name", "gauge", "The node's name. The count is always 1.")
        .add(&[("node", &ctx.node_name)], 1);
    text.family(
        "kubelet_running_pods",
        "gauge",
        "Number of pods that have a running pod sandbox",
    )
    .add(&[], ctx.slots.owners().len());
    let mut family = text.family(
        "kubelet_running_containers",
        "gauge",
        "Number of containers currently running",
    );
    family.add(
        &[("container_state", "running")],
        containers.iter().filter(running).count(),
    );
    let ended = containers
        .iter()
        .filter(|c| matches!(c.state, engine::State::Exited(_)));
    family.add(&[("container_state", "exited")], ended.count());
    text.family(
        "kubelet_desired_pods",
        "gauge",
        "The number of pods the kubelet is being instructed to run",
    )
    .add(&[("static", "")], ctx.pods.all().len());
    process(&mut text);
    text.0
}

fn process(text: &mut Text) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may have blanks, come the state and then numbers.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_ascii_whitespace().collect())
        .unwrap_or_default();
    let number = |at: usize| fields.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let name = "process_cpu_seconds_total";
    text.family(name, "counter", "Total user and system CPU time spent in seconds.")
        .add(&[], (number(11) + number(12)) as f64 / 100.0);
    let name = "process_resident_memory_bytes";
    text.family(name, "gauge", "Resident memory size in bytes.")
        .add(&[], number(21) * rustix::param::page_size() as u64);
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    text.family("process_open_fds", "gauge", "Number of open file descriptors.")
        .add(&[], open);
    let started = seconds(crate::stats::boot_time()) + number(19) as f64 / 100.0;
    let name = "process_start_time_seconds";
    text.family(name, "gauge", "Start time of the process since unix epoch in seconds.")
        .add(&[], started);
}

/// `/metrics/resource`.
pub(super) fn resource(host: &Usage, pods: &[PodUsage]) -> String {
    let mut text = Text::default();
    let mut of_containers = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Usage) -> f64| {
        let mut family = text.family(name, kind, help);
        for pod in pods {
            let (namespace, pod_name) = pod.key();
            for container in &pod.containers {
                let labels = [
                    ("container", container.name.as_str()),
                    ("namespace", namespace),
                    ("pod", pod_name),
                ];
                family.add(&labels, value(&container.usage));
            }
        }
    };
    let help = "Cumulative cpu time consumed by the container in core-seconds";
    of_containers("container_cpu_usage_seconds_total", "counter", help, &|usage| {
        cpu_seconds(usage.cpu_ns)
    });
    let help = "Current working set of the container in bytes";
    of_containers("container_memory_working_set_bytes", "gauge", help, &|usage| {
        usage.memory_working_set as f64
    });
    let help = "Start time of the container since unix epoch in seconds";
    of_containers("container_start_time_seconds", "gauge", help, &|usage| {
        seconds(usage.started)
    });
    let help = "Cumulative cpu time consumed by the node in core-seconds";
    text.family("node_cpu_usage_seconds_total", "counter", help)
        .add(&[], cpu_seconds(host.cpu_ns));
    let help = "Current working set of the node in bytes";
    text.family("node_memory_working_set_bytes", "gauge", help)
        .add(&[], host.memory_working_set);
    let mut of_pods = |name: &str, kind: &str, help: &str, value: &dyn Fn(&PodUsage) -> f64| {
        let mut family = text.family(name, kind, help);
        for pod in pods {
            let (namespace, pod_name) = pod.key();
            family.add(&[("namespace", namespace), ("pod", pod_name)], value(pod));
        }
    };
    let help = "Cumulative cpu time consumed by the pod in core-seconds";
    of_pods("pod_cpu_usage_seconds_total", "counter", help, &|pod| {
        cpu_seconds(pod.sum(|usage| usage.cpu_ns))
    });
    let help = "Current working set of the pod in bytes";
    of_pods("pod_memory_working_set_bytes", "gauge", help, &|pod| {
        pod.sum(|usage| usage.memory_working_set) as f64
    });
    let help = "1 if there was an error while getting container metrics, 0 otherwise";
    text.family("resource_scrape_error", "gauge", help).add(&[], 0);
    text.0
}

/// `/metrics/cadvisor`: the families that come from the same counters.
pub(super) fn cadvisor(host: &Usage, pods: &[PodUsage]) -> String {
    let mut text = Text::default();
    let mut all = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Usage) -> f64| {
        let mut family = text.family(name, kind, help);
        let per_cpu = name.contains("_cpu_").then_some(("cpu", "total"));
        let of = |pod: &str, namespace: &str, container: Option<&ContainerUsage>, id: &str| -> Vec<(String, String)> {
            let (name, image) = container.map_or(("", ""), |c| (c.name.as_str(), c.image.as_str()));
            let labels = [("container", name), ("id", id), ("image", image)];
            let more = [
                ("name", container.map_or("", |c| c.id.as_str())),
                ("namespace", namespace),
                ("pod", pod),
            ];
            let all = labels.into_iter().chain(per_cpu).chain(more);
            all.map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        let mut add = |labels: Vec<(String, String)>, value: f64| {
            let labels: Vec<(&str, &str)> = labels.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            family.add(&labels, value);
        };
        add(of("", "", None, "/"), value(host));
        for pod in pods {
            let (namespace, pod_name) = pod.key();
            for container in &pod.containers {
                let id = format!("/{}", container.id);
                add(of(pod_name, namespace, Some(container), &id), value(&container.usage));
            }
        }
    };
    let help = "Cumulative cpu time consumed in seconds.";
    all("container_cpu_usage_seconds_total", "counter", help, &|usage| {
        cpu_seconds(usage.cpu_ns)
    });
    let help = "Current memory usage in bytes, including all memory regardless of when it was accessed";
    all("container_memory_usage_bytes", "gauge", help, &|usage| {
        usage.memory_usage as f64
    });
    let help = "Current working set in bytes.";
    all("container_memory_working_set_bytes", "gauge", help, &|usage| {
        usage.memory_working_set as f64
    });
    let help = "Start time of the container since unix epoch in seconds.";
    all("container_start_time_seconds", "gauge", help, &|usage| {
        seconds(usage.started)
    });
    let help = "Number of threads running inside the container";
    all("container_threads", "gauge", help, &|usage| usage.pids as f64);
    let help = "Last time a container was seen by the exporter";
    all("container_last_seen", "gauge", help, &|usage| seconds(usage.at).floor());
    text.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        let mut family = text.family("a_total", "counter", "Help.");
        family.add(&[], 1);
        family.add(&[("x", "a\"b\\c")], 0.5);
        let expected = "# HELP a_total Help.\n# TYPE a_total counter\na_total 1\na_total{x=\"a\\\"b\\\\c\"} 0.5\n";
        assert_eq!(text.0, expected);
    }
}
