//! Time zones by their names, out of the machine's own database.

use std::path::Path;

use jiff::tz::TimeZone;

const DATABASE: &str = "/usr/share/zoneinfo";

/// Finds a zone; without a name it is UTC.
pub(super) fn find(name: Option<&str>) -> Result<TimeZone, String> {
    let Some(name) = name.filter(|name| !matches!(*name, "UTC" | "Etc/UTC")) else {
        return Ok(TimeZone::UTC);
    };
    let unknown = || format!("unknown time zone {name}");
    // A name is a path in the database, and must not lead out of it.
    let plain = |part: &str| {
        let mut bytes = part.bytes();
        !part.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+'))
    };
    if !name.split('/').all(plain) {
        return Err(unknown());
    }
    let data = std::fs::read(Path::new(DATABASE).join(name)).map_err(|_| unknown())?;
    TimeZone::tzif(name, &data).map_err(|_| unknown())
}
