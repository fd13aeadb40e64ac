//! Who a container runs as: the pod's word, else the image's, with names looked up in the image's own files.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use super::env::ConfigError;

/// The numbers that the kernel takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    /// The home directory, for `HOME` when nothing sets it.
    pub(crate) home: String,
}

/// Resolves the user of `container`; `layers` are the image's, topmost first.
pub(crate) fn resolve(
    spec: &PodSpec,
    container: &Container,
    image_user: &str,
    layers: &[PathBuf],
) -> Result<User, ConfigError> {
    let pod = spec.security_context.as_ref();
    let own = container.security_context.as_ref();
    let uid = own.and_then(|c| c.run_as_user).or(pod.and_then(|p| p.run_as_user));
    let gid = own.and_then(|c| c.run_as_group).or(pod.and_then(|p| p.run_as_group));
    let non_root = own
        .and_then(|c| c.run_as_non_root)
        .or(pod.and_then(|p| p.run_as_non_root))
        .unwrap_or(false);
    let passwd = read(layers, "etc/passwd");
    let group = read(layers, "etc/group");
    let mut user = match uid {
        Some(uid) => from_image(&number(uid)?.to_string(), &passwd, &group),
        None => from_image(image_user, &passwd, &group),
    }?;
    if non_root && uid.is_none() && !image_user.is_empty() && image_user.split(':').next().is_some_and(is_name) {
        return Err(ConfigError(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root",
            image_user.split(':').next().unwrap_or_default()
        )));
    }
    if non_root && user.uid == 0 {
        let text = match uid {
            Some(_) => "container's runAsUser breaks non-root policy",
            None => "container has runAsNonRoot and image will run as root",
        };
        return Err(ConfigError(text.to_string()));
    }
    if let Some(gid) = gid {
        user.gid = number(gid)?;
    }
    let merge = pod.and_then(|p| p.supplemental_groups_policy.as_deref()) != Some("Strict");
    if !merge {
        user.groups.clear();
    }
    let extra = pod.and_then(|p| p.supplemental_groups.as_ref()).into_iter().flatten();
    for gid in extra.chain(pod.and_then(|p| p.fs_group.as_ref())) {
        user.groups.push(number(*gid)?);
    }
    user.groups.push(user.gid);
    user.groups.sort_unstable();
    user.groups.dedup();
    Ok(user)
}

/// `user[:group]` of an image, names or numbers.
fn from_image(text: &str, passwd: &str, group: &str) -> Result<User, ConfigError> {
    let (name, group_name) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entry = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let fits = fields.len() >= 6 && (fields[0] == name || fields[2] == name);
        Some((fields[0], fields[2].parse().ok()?, fields[3].parse().ok()?, fields[5])).filter(|_| fits)
    });
    let mut user = match (entry, name.parse()) {
        (Some((_, uid, gid, home)), _) => User {
            uid,
            gid,
            groups: Vec::new(),
            home: home.to_string(),
        },
        (None, Ok(uid)) => User { uid, ..User::default() },
        (None, Err(_)) => {
            return Err(ConfigError(format!(
                "unable to find user {name}: no matching entries in passwd file"
            )));
        }
    };
    match group_name.filter(|name| !name.is_empty()) {
        Some(group_name) => user.gid = group_id(group_name, group)?,
        None => {
            let member = entry.map(|entry| entry.0);
            user.groups = member.map(|member| groups_of(member, group)).unwrap_or_default();
        }
    }
    Ok(user)
}

fn group_id(name: &str, group: &str) -> Result<u32, ConfigError> {
    let found = group.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    });
    match (found, name.parse()) {
        (Some(gid), _) | (None, Ok(gid)) => Ok(gid),
        _ => Err(ConfigError(format!(
            "unable to find group {name}: no matching entries in group file"
        ))),
    }
}

fn groups_of(member: &str, group: &str) -> Vec<u32> {
    let id = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let has = fields.len() >= 4 && fields[3].split(',').any(|name| name == member);
        if has { fields[2].parse().ok() } else { None }
    };
    group.lines().filter_map(id).collect()
}

/// A file of the image, without following links out of it: the topmost layer that has it.
fn read(layers: &[PathBuf], path: &str) -> String {
    use rustix::fs::{Mode, OFlags, ResolveFlags};
    for layer in layers {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let Ok(root) = rustix::fs::open(layer, flags | OFlags::DIRECTORY, Mode::empty()) else {
            continue;
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let Ok(file) = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) else {
            continue;
        };
        if let Ok(text) = std::io::read_to_string(std::fs::File::from(file)) {
            return text;
        }
    }
    String::new()
}

fn number(id: i64) -> Result<u32, ConfigError> {
    u32::try_from(id).map_err(|_| ConfigError(format!("user or group id {id} is out of range")))
}

fn is_name(user: &str) -> bool {
    user.parse::<u32>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:web:/srv:/bin/false\n";
    const GROUP: &str = "root:x:0:\nweb:x:102:\nextra:x:103:other,web\n";

    fn check(text: &str, uid: u32, gid: u32, groups: &[u32]) {
        let user = from_image(text, PASSWD, GROUP).unwrap();
        assert_eq!(
            (user.uid, user.gid, user.groups.as_slice()),
            (uid, gid, groups),
            "{text}"
        );
    }

    #[test]
    fn the_images_user() {
        check("", 0, 0, &[]);
        check("web", 101, 102, &[103]);
        check("101", 101, 102, &[103]);
        check("web:extra", 101, 103, &[]);
        check("7:8", 7, 8, &[]);
        assert!(from_image("nobody", PASSWD, GROUP).is_err());
        assert!(from_image("web:none", PASSWD, GROUP).is_err());
    }

    #[test]
    fn root_is_refused_where_it_must_not_be() {
        use k8s_openapi::api::core::v1::SecurityContext;
        let container = |user: Option<i64>| Container {
            security_context: Some(SecurityContext {
                run_as_non_root: Some(true),
                run_as_user: user,
                ..SecurityContext::default()
            }),
            ..Container::default()
        };
        let spec = PodSpec::default();
        assert!(resolve(&spec, &container(None), "", &[]).is_err());
        assert!(resolve(&spec, &container(None), "web", &[]).is_err());
        assert!(resolve(&spec, &container(Some(0)), "", &[]).is_err());
        assert_eq!(resolve(&spec, &container(Some(5)), "", &[]).unwrap().uid, 5);
    }
}
