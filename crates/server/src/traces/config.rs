//! What is traced, and where that is sent: a `TracingConfiguration` of apiserver.config.k8s.io.
//!
//! <https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#apiserver-config-k8s-io-v1-TracingConfiguration>

use http::uri::Authority;
use meta::FieldError;
use serde::Deserialize;
use serde_json::Value;

/// Where OTLP collectors listen for gRPC when nothing else is said.
const COLLECTOR: &str = "localhost:4317";
/// The port of a collector whose host is named without one, as gRPC has it.
const PORT: u16 = 443;
const MILLION: u32 = 1_000_000;

/// Which requests are traced, and where their spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracingSettings {
    pub(super) collector: Collector,
    /// So many of a million requests that come without a decision are traced.
    pub(super) per_million: u32,
}

/// Where a collector listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Collector {
    /// `HOST:PORT`.
    Tcp(String),
    /// A socket of the file system, or behind a zero byte a name without a file.
    Unix(String),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct TracingConfiguration {
    api_version: String,
    kind: String,
    endpoint: Option<Value>,
    sampling_rate_per_million: Option<Value>,
}

impl TracingSettings {
    /// Reads a configuration from YAML or JSON.
    ///
    /// # Errors
    /// What can't be used, with the field that says it, and what it may say.
    pub fn parse(text: &str) -> Result<TracingSettings, String> {
        // What is no YAML is told with the lines around it; the first says what it is.
        let first = |error: String| {
            let line = error.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        };
        let tree: Value = serde_saphyr::from_str(text).map_err(|error| first(error.to_string()))?;
        let given: TracingConfiguration = serde_json::from_value(tree).map_err(|error| error.to_string())?;
        let version = given.api_version.strip_prefix("apiserver.config.k8s.io/");
        if given.kind != "TracingConfiguration" || !matches!(version, Some("v1" | "v1beta1" | "v1alpha1")) {
            return Err("apiVersion and kind: must be apiserver.config.k8s.io/v1, TracingConfiguration".to_owned());
        }
        let rate = given.sampling_rate_per_million.unwrap_or_else(|| 0.into());
        let wrong = |why: &str| FieldError::invalid("samplingRatePerMillion", rate.clone(), why).to_string();
        let per_million = match rate.as_i64() {
            None => return Err(wrong("must be a whole number from 0 to 1000000")),
            Some(..0) => return Err(wrong("sampling rate must be positive")),
            Some(rate) => u32::try_from(rate).unwrap_or(u32::MAX),
        };
        if per_million > MILLION {
            return Err(wrong(
                "sampling rate per million must be less than or equal to one million",
            ));
        }
        let endpoint = given.endpoint.unwrap_or_else(|| COLLECTOR.into());
        let named = endpoint.as_str().ok_or_else(must_be);
        let collector = named.and_then(collector);
        let collector = collector.map_err(|why| FieldError::invalid("endpoint", endpoint.clone(), why).to_string())?;
        Ok(TracingSettings { collector, per_million })
    }
}

fn must_be() -> String {
    "must be HOST:PORT, such as localhost:4317".to_owned()
}

/// A name as gRPC reads it: `HOST:PORT`, `dns:///HOST:PORT`, `unix:///PATH` or `unix-abstract:NAME`.
fn collector(endpoint: &str) -> Result<Collector, String> {
    match endpoint.split_once(':') {
        Some(("unix", rest)) => Ok(Collector::Unix(path(rest)?.to_owned())),
        Some(("unix-abstract", rest)) => {
            let name = if rest.starts_with('/') { path(rest)? } else { rest };
            Ok(Collector::Unix(format!("\0{name}")))
        }
        Some(("dns", rest)) if rest.starts_with("//") => match rest[2..].split_once('/') {
            Some(("", host)) => tcp(host),
            None => tcp(&rest[2..]),
            Some(_) => Err("a DNS server of its own can't be asked: write dns:///HOST:PORT".to_owned()),
        },
        Some((scheme, rest)) if rest.starts_with("//") => Err(format!(
            "unsupported scheme: {scheme}. Options are none, dns, unix, or unix-abstract, such as localhost:4317 or \
             unix:///run/otel.sock"
        )),
        _ => tcp(endpoint),
    }
}

/// The path of a socket, behind `unix:`.
fn path(rest: &str) -> Result<&str, String> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    match path.starts_with('/') && path.len() > 1 {
        true => Ok(path),
        false => Err("the socket needs a path from the root, such as unix:///run/otel.sock".to_owned()),
    }
}

fn tcp(host: &str) -> Result<Collector, String> {
    let authority: Authority = host.parse().map_err(|_| must_be())?;
    let port = match host.strip_prefix(authority.host()) {
        Some("") => PORT,
        Some(rest) => {
            let port = rest.strip_prefix(':').and_then(|port| port.parse().ok());
            port.ok_or_else(must_be)?
        }
        // A user's name before the host.
        None => return Err(must_be()),
    };
    match authority.host() {
        "" => Err(must_be()),
        host => Ok(Collector::Tcp(format!("{host}:{port}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &str) -> Result<TracingSettings, String> {
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n";
        TracingSettings::parse(&format!("{head}{fields}"))
    }

    #[test]
    fn the_defaults_are_kubernetes() {
        let settings = parse("").unwrap();
        assert_eq!(settings.collector, Collector::Tcp("localhost:4317".to_owned()));
        assert_eq!(settings.per_million, 0);
        let beta =
            "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: TracingConfiguration\nsamplingRatePerMillion: 100\n";
        assert_eq!(TracingSettings::parse(beta).unwrap().per_million, 100);
    }

    #[test]
    fn collectors_are_named_as_for_grpc() {
        let found = |endpoint: &str| collector(endpoint).unwrap();
        for (endpoint, host) in [
            ("localhost:4317", "localhost:4317"),
            ("dns:///otel:4317", "otel:4317"),
            ("dns://otel:4317", "otel:4317"),
            ("[::1]:4317", "[::1]:4317"),
            ("otel.example.com", "otel.example.com:443"),
        ] {
            assert_eq!(found(endpoint), Collector::Tcp(host.to_owned()), "{endpoint}");
        }
        for (endpoint, path) in [
            ("unix:///run/otel.sock", "/run/otel.sock"),
            ("unix:/run/otel.sock", "/run/otel.sock"),
            ("unix-abstract:otel", "\0otel"),
            ("unix-abstract:///otel", "\0/otel"),
        ] {
            assert_eq!(found(endpoint), Collector::Unix(path.to_owned()), "{endpoint}");
        }
    }

    #[test]
    fn errors_name_the_field_and_what_it_may_say() {
        let told = |fields: &str| parse(fields).unwrap_err();
        let why = told("endpoint: http://localhost:4317");
        assert_eq!(
            why,
            "endpoint: Invalid value: \"http://localhost:4317\": unsupported scheme: http. Options are none, dns, unix, or \
             unix-abstract, such as localhost:4317 or unix:///run/otel.sock"
        );
        let why = told("samplingRatePerMillion: 1000001");
        assert_eq!(
            why,
            "samplingRatePerMillion: Invalid value: 1000001: sampling rate per million must be less than or equal to one \
             million"
        );
        assert!(told("samplingRatePerMillion: -1").ends_with("sampling rate must be positive"));
        let why = told("samplingRatePerMillion: many");
        let whole = "samplingRatePerMillion: Invalid value: \"many\": must be a whole number from 0 to 1000000";
        assert_eq!(why, whole);
        assert!(told("endpoint: 4317").starts_with("endpoint: Invalid value: 4317: must be HOST:PORT"));
        let why =
            "unknown field `endpiont`, expected one of `apiVersion`, `kind`, `endpoint`, `samplingRatePerMillion`";
        assert_eq!(told("endpiont: a"), why);
        assert_eq!(told("endpoint: ["), "line 3 column 11: unclosed bracket '['");
        for endpoint in [
            "localhost:port",
            "unix:run",
            "dns://8.8.8.8/otel:4317",
            "me@otel:4317",
            "a b",
            "''",
            "':4317'",
        ] {
            assert!(
                told(&format!("endpoint: {endpoint}")).starts_with("endpoint: "),
                "{endpoint}"
            );
        }
        assert!(
            TracingSettings::parse("kind: TracingConfiguration")
                .unwrap_err()
                .starts_with("apiVersion and kind")
        );
    }
}
