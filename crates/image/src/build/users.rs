//! Users and groups by the names that an image gives them.

use crate::error::Result;

use super::fault;
use super::tree::Tree;

/// Who runs or owns something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Further groups.
    pub(super) groups: Vec<u32>,
}

/// The owner that `--chown` names. A number without a group stands for both.
pub(super) fn owner(text: &str, tree: &Tree) -> Result<User> {
    let (user, group) = split(text);
    let passwd = lines(tree, "/etc/passwd")?;
    let mut found = match user.parse() {
        Ok(uid) => User {
            uid,
            gid: uid,
            ..User::default()
        },
        Err(_) if user == "root" => User::default(),
        Err(_) => by_name(&passwd, user)?,
    };
    if let Some(group) = group {
        found.gid = group_id(group, tree)?;
    }
    Ok(found)
}

/// The user that a command runs as: USER's value, empty for root.
pub(super) fn runner(text: &str, tree: &Tree) -> Result<User> {
    if text.is_empty() {
        return runner("0", tree);
    }
    let (user, group) = split(text);
    let passwd = lines(tree, "/etc/passwd")?;
    let entry = passwd
        .iter()
        .find(|fields| fields.first().is_some_and(|name| name == user));
    let entry = entry.or_else(|| {
        passwd
            .iter()
            .find(|fields| fields.get(2).is_some_and(|uid| uid == user))
    });
    let mut found = match (entry, user.parse()) {
        (Some(fields), _) => numbers(fields),
        (None, Ok(uid)) => User { uid, ..User::default() },
        (None, Err(_)) if user == "root" => User::default(),
        (None, Err(_)) => by_name(&passwd, user)?,
    };
    match group {
        Some(group) => found.gid = group_id(group, tree)?,
        None => {
            let name = entry.and_then(|fields| fields.first());
            found.groups = name.map_or(Ok(Vec::new()), |name| memberships(name, tree))?;
        }
    }
    Ok(found)
}

fn split(text: &str) -> (&str, Option<&str>) {
    match text.split_once(':') {
        Some((user, group)) if !group.is_empty() => (user, Some(group)),
        Some((user, _)) => (user, None),
        None => (text, None),
    }
}

fn by_name(passwd: &[Vec<String>], user: &str) -> Result<User> {
    let fields = passwd
        .iter()
        .find(|fields| fields.first().is_some_and(|name| name == user));
    let fields = fields.ok_or_else(|| {
        fault(format!(
            "the image's /etc/passwd has no user {user:?}; a number always works"
        ))
    })?;
    Ok(numbers(fields))
}

fn numbers(fields: &[String]) -> User {
    let number = |at: usize| fields.get(at).and_then(|text| text.parse().ok()).unwrap_or(0);
    User {
        uid: number(2),
        gid: number(3),
        groups: Vec::new(),
    }
}

fn group_id(group: &str, tree: &Tree) -> Result<u32> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let groups = lines(tree, "/etc/group")?;
    let fields = groups
        .iter()
        .find(|fields| fields.first().is_some_and(|name| name == group));
    match fields.and_then(|fields| fields.get(2)?.parse().ok()) {
        Some(gid) => Ok(gid),
        None if group == "root" => Ok(0),
        None => Err(fault(format!(
            "the image's /etc/group has no group {group:?}; a number always works"
        ))),
    }
}

fn memberships(user: &str, tree: &Tree) -> Result<Vec<u32>> {
    let member = |fields: &&Vec<String>| fields.get(3).is_some_and(|all| all.split(',').any(|name| name == user));
    let groups = lines(tree, "/etc/group")?;
    Ok(groups
        .iter()
        .filter(member)
        .filter_map(|fields| fields.get(2)?.parse().ok())
        .collect())
}

fn lines(tree: &Tree, file: &str) -> Result<Vec<Vec<String>>> {
    let bytes = tree.read(file)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    Ok(text
        .lines()
        .map(|line| line.split(':').map(str::to_string).collect())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(
            dir.path().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(
            dir.path().join("etc/group"),
            "root:x:0:\nweb:x:34:\nlog:x:4:web,other\n",
        )
        .unwrap();
        let tree = Tree::of_layers(vec![dir.path().to_path_buf()]);
        let ids = |user: User| (user.uid, user.gid, user.groups);
        assert_eq!(ids(owner("web", &tree).unwrap()), (33, 34, vec![]));
        assert_eq!(ids(owner("5", &tree).unwrap()), (5, 5, vec![]));
        assert_eq!(ids(owner("5:log", &tree).unwrap()), (5, 4, vec![]));
        assert_eq!(ids(runner("web", &tree).unwrap()), (33, 34, vec![4]));
        assert_eq!(ids(runner("33", &tree).unwrap()), (33, 34, vec![4]));
        assert_eq!(ids(runner("web:0", &tree).unwrap()), (33, 0, vec![]));
        assert_eq!(ids(runner("77", &tree).unwrap()), (77, 0, vec![]));
        assert_eq!(ids(runner("", &tree).unwrap()), (0, 0, vec![]));
        assert!(runner("nobody", &tree).unwrap_err().to_string().contains("nobody"));
        assert!(owner("web:none", &tree).unwrap_err().to_string().contains("none"));
    }
}
