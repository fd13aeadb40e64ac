//! What names, label keys and values may look like, and what Kubernetes says when they don't. Each check returns all
//! that is wrong, and nothing when nothing is.

/// The longest DNS label.
pub const LABEL_MAX: usize = 63;
/// The longest DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_MESSAGE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN_FORMAT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const DNS1035_FORMAT: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const DNS1035_MESSAGE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
const KEY_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_MESSAGE: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const VALUE_FORMAT: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const VALUE_MESSAGE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const C_IDENTIFIER_FORMAT: &str = "[A-Za-z_][A-Za-z0-9_]*";
const C_IDENTIFIER_MESSAGE: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
const WILDCARD_MESSAGE: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
const ENV_FORMAT: &str = "[-._a-zA-Z][-._a-zA-Z0-9]*";
const ENV_MESSAGE: &str = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit";
const RELAXED_ENV_MESSAGE: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const CONFIG_KEY_FORMAT: &str = "[-._a-zA-Z0-9]+";
const CONFIG_KEY_MESSAGE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
const HEADER_FORMAT: &str = "[-A-Za-z0-9]+";
const HEADER_MESSAGE: &str = "a valid HTTP header must consist of alphanumeric characters or '-'";
const PERCENT_FORMAT: &str = "[0-9]+%";
const PERCENT_MESSAGE: &str = "a valid percent string must be a numeric string followed by an ending '%'";

/// A lowercase RFC 1123 label, such as a namespace's name.
#[must_use]
pub fn dns_label(value: &str) -> Vec<String> {
    let mut errors = too_long(value, LABEL_MAX);
    if !is_label(value) {
        if is_subdomain(value) {
            errors.push("must not contain dots".to_owned());
        } else {
            errors.push(format_error(LABEL_MESSAGE, LABEL_FORMAT, &["my-name", "123-abc"]));
        }
    }
    errors
}

/// A lowercase RFC 1123 subdomain, such as a Pod's name.
#[must_use]
pub fn dns_subdomain(value: &str) -> Vec<String> {
    let mut errors = too_long(value, SUBDOMAIN_MAX);
    if !is_subdomain(value) {
        errors.push(format_error(SUBDOMAIN_MESSAGE, SUBDOMAIN_FORMAT, &["example.com"]));
    }
    errors
}

/// An RFC 1035 label: one that starts with a letter.
#[must_use]
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut errors = too_long(value, LABEL_MAX);
    if !(is_label(value) && value.as_bytes()[0].is_ascii_lowercase()) {
        errors.push(format_error(DNS1035_MESSAGE, DNS1035_FORMAT, &["my-name", "abc-123"]));
    }
    errors
}

/// A subdomain behind `*.`.
#[must_use]
pub fn wildcard_dns_subdomain(value: &str) -> Vec<String> {
    let mut errors = too_long(value, SUBDOMAIN_MAX);
    if !value.strip_prefix("*.").is_some_and(is_subdomain) {
        let format = format!(r"\*\.{SUBDOMAIN_FORMAT}");
        errors.push(format_error(WILDCARD_MESSAGE, &format, &["*.example.com"]));
    }
    errors
}

/// A qualified name: an optional subdomain and a slash, then a name. Label and annotation keys are such.
#[must_use]
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let mut parts = value.split('/');
    let (first, second, third) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    if third.is_some() {
        let shape = format_error(KEY_MESSAGE, KEY_FORMAT, &["MyName", "my.name", "123-abc"]);
        return vec![format!(
            "a valid label key {shape} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )];
    }
    let name = match second {
        None => first,
        Some(name) => {
            if first.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(
                    dns_subdomain(first)
                        .into_iter()
                        .map(|error| format!("prefix part {error}")),
                );
            }
            name
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", max_length(LABEL_MAX)));
    }
    if !is_key(name) {
        errors.push(format!(
            "name part {}",
            format_error(KEY_MESSAGE, KEY_FORMAT, &["MyName", "my.name", "123-abc"])
        ));
    }
    errors
}

/// A label's value.
#[must_use]
pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = too_long(value, LABEL_MAX);
    if !value.is_empty() && !is_key(value) {
        errors.push(format_error(
            VALUE_MESSAGE,
            VALUE_FORMAT,
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// An identifier as in C.
#[must_use]
pub fn c_identifier(value: &str) -> Vec<String> {
    let rest = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let bytes = value.as_bytes();
    if bytes.first().is_some_and(|byte| !byte.is_ascii_digit()) && bytes.iter().all(rest) {
        return Vec::new();
    }
    vec![format_error(
        C_IDENTIFIER_MESSAGE,
        C_IDENTIFIER_FORMAT,
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A TCP or UDP port.
#[must_use]
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) {
        Vec::new()
    } else {
        vec![in_range(1, 65535)]
    }
}

/// The name of a port (RFC 6335): at most 15 letters, digits and hyphens, with a letter.
#[must_use]
pub fn port_name(port: &str) -> Vec<String> {
    let mut errors = too_long(port, 15);
    let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    if port.is_empty() || !port.as_bytes().iter().all(allowed) {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !port.bytes().any(|byte| byte.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if port.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if port.starts_with('-') || port.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// The name of an environment variable as Kubernetes allows it by default: printable ASCII without `=`.
#[must_use]
pub fn env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.is_empty() {
        errors.push("environment variable name must be non-empty".to_owned());
    }
    if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        errors.push(RELAXED_ENV_MESSAGE.to_owned());
    }
    errors
}

/// The name of an environment variable in the strict form, which keys of ConfigMaps had to have.
#[must_use]
pub fn strict_env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.bytes().next().is_none_or(|byte| byte.is_ascii_digit()) || !value.bytes().all(is_config_byte) {
        errors.push(format_error(
            ENV_MESSAGE,
            ENV_FORMAT,
            &["my.env-name", "MY_ENV.NAME", "MyEnvName1"],
        ));
    }
    errors.extend(parent_directory(value));
    errors
}

/// A key of a ConfigMap or Secret.
#[must_use]
pub fn config_key(value: &str) -> Vec<String> {
    let mut errors = too_long(value, SUBDOMAIN_MAX);
    if value.is_empty() || !value.bytes().all(is_config_byte) {
        errors.push(format_error(
            CONFIG_KEY_MESSAGE,
            CONFIG_KEY_FORMAT,
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    errors.extend(parent_directory(value));
    errors
}

/// The name of an HTTP header.
#[must_use]
pub fn http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    vec![format_error(HEADER_MESSAGE, HEADER_FORMAT, &["X-Header-Name"])]
}

/// A number of percent, such as `25%`.
#[must_use]
pub fn percent(value: &str) -> Vec<String> {
    let digits = value.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    vec![format_error(PERCENT_MESSAGE, PERCENT_FORMAT, &["1%", "93%"])]
}

/// `generateName` as the name that will come of it: a trailing dash is allowed there.
#[must_use]
pub fn mask_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        // Kubernetes cuts the character before the dash, too.
        Some(rest) if !rest.is_empty() => {
            let mut kept: String = rest.to_owned();
            kept.pop();
            kept.push('a');
            kept
        }
        _ => prefix.to_owned(),
    }
}

/// `must be no more than ... characters`.
#[must_use]
pub fn max_length(length: usize) -> String {
    format!("must be no more than {length} characters")
}

/// `must be between ... and ..., inclusive`.
#[must_use]
pub fn in_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// A message about a regular expression, with examples.
#[must_use]
pub fn format_error(message: &str, format: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{format}')");
    }
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!(
        "{message} (e.g. {}regex used for validation is '{format}')",
        examples.join(" or ")
    )
}

fn too_long(value: &str, length: usize) -> Vec<String> {
    if value.len() > length {
        vec![max_length(length)]
    } else {
        Vec::new()
    }
}

fn parent_directory(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if value.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

fn is_config_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')
}

fn is_label(value: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = value.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            edge(*first) && edge(*last) && bytes.iter().all(|byte| edge(*byte) || *byte == b'-')
        }
        _ => false,
    }
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_key(value: &str) -> bool {
    let bytes = value.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && bytes.iter().all(|byte| is_config_byte(*byte))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&str) -> Vec<String>;

    #[test]
    fn accepts_what_kubernetes_accepts() {
        let long = "a".repeat(63);
        let cases: &[(Check, &[&str])] = &[
            (dns_label, &["a", "a--1", "0", "1-a", &long]),
            (dns_subdomain, &["a", "a.b", "0.1.2", "a-1.b--2", "hello.123"]),
            (dns1035_label, &["a", "a-1"]),
            (qualified_name, &["simple", "now-with-dashes", "1-starts", "a.b/C_d.e"]),
            (label_value, &["", "a", "A_b-c.d", "1"]),
            (c_identifier, &["a", "_", "A1_"]),
            (port_name, &["http", "a-1", "1a"]),
            (env_var_name, &["a b", "1", "a.b"]),
            (config_key, &["a", ".a", "a..b"]),
            (wildcard_dns_subdomain, &["*.example.com"]),
            (percent, &["1%", "100%"]),
        ];
        for (check, values) in cases {
            for value in *values {
                assert_eq!(check(value), Vec::<String>::new(), "{value:?}");
            }
        }
    }

    #[test]
    fn says_what_kubernetes_says() {
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert_eq!(
            dns_label("A"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(
            dns_subdomain("A"),
            [
                r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(dns_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
        assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("").len(), 2);
        assert!(qualified_name("a/b/c")[0].ends_with("'/' (e.g. 'example.com/MyName')"));
        assert_eq!(config_key(".."), ["must not be '..'"]);
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
        assert_eq!(port_name("80"), ["must contain at least one letter (a-z)"]);
    }

    #[test]
    fn refuses_what_kubernetes_refuses() {
        let cases: &[(Check, &[&str])] = &[
            (dns_label, &["", "-", "a-", "-a", "a_b", "a b", "ü"]),
            (dns_subdomain, &["", ".", "a.", ".a", "a..b", "a_b"]),
            (dns1035_label, &["", "0", "1a", "a.b"]),
            (qualified_name, &["", "a/", "_a", "a_", "é", "A.b/c/d", "UPPER/x"]),
            (label_value, &["_", "a b", "é"]),
            (c_identifier, &["", "1a", "a-b"]),
            (port_name, &["", "a--b", "-a", "A", "0123456789abcdef"]),
            (env_var_name, &["", "a=b", "é", "a\n"]),
            (strict_env_var_name, &["", "1a", "..a"]),
            (config_key, &["", ".", "..", "..a", "a/b"]),
            (wildcard_dns_subdomain, &["*", "a.b", "*.*.b"]),
            (percent, &["", "%", "1", "-1%"]),
        ];
        for (check, values) in cases {
            for value in *values {
                assert_ne!(check(value), Vec::<String>::new(), "{value:?}");
            }
        }
    }

    #[test]
    fn generated_names_may_end_in_a_dash() {
        assert_eq!(mask_trailing_dash("web-"), "wea");
        assert_eq!(mask_trailing_dash("-"), "-");
        assert_eq!(mask_trailing_dash("web"), "web");
    }
}
