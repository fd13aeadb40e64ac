//! Which devices may be made and used.

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::super::Write;

/// The devices that every container may use: the default nodes, terminals, and making nodes of any kind.
const ALWAYS: [&str; 10] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

/// The rules in their order, then what is always allowed. Without any rule nothing else is.
pub(in super::super) fn rules(rules: &[LinuxDeviceCgroup]) -> Vec<Write> {
    let write = |allow: bool, value: String| {
        let file = if allow { "devices.allow" } else { "devices.deny" };
        Write {
            controller: "devices",
            file,
            value,
        }
    };
    let deny_all = rules.is_empty().then(|| write(false, "a".into()));
    let rules = rules.iter().map(|rule| {
        let kind = match rule.typ() {
            Some(LinuxDeviceType::B) => "b",
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => "c",
            _ => "a",
        };
        let number = |number: Option<i64>| number.filter(|n| *n >= 0).map_or("*".to_owned(), |n| n.to_string());
        let access = rule.access().as_deref().unwrap_or("rwm");
        if kind == "a" {
            return write(rule.allow(), "a".into());
        }
        write(
            rule.allow(),
            format!("{kind} {}:{} {access}", number(rule.major()), number(rule.minor())),
        )
    });
    let always = ALWAYS.iter().map(|rule| write(true, (*rule).to_owned()));
    deny_all.into_iter().chain(rules).chain(always).collect()
}
