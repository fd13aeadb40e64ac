//! Finds what a test left behind on the machine: mounts, links, network namespaces, nf_tables tables, cgroups,
//! processes, files. Other tests may run at the same time, so only what carries a given mark (a directory, an instance's id) is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::tables;

/// All that carried a mark at some moment: each thing as a line that says what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    things: BTreeSet<String>,
}

impl Snapshot {
    /// Looks for things whose name contains one of the marks. A mark that is an absolute path counts the files below it
    /// as well.
    pub fn take(marks: &[&str]) -> Self {
        let mut snapshot = Self::default();
        snapshot.mounts(marks);
        snapshot.names("link", "/sys/class/net", marks);
        snapshot.names("network namespace", "/run/netns", marks);
        // A kernel without nf_tables has none.
        for table in tables::names().unwrap_or_default() {
            snapshot.add("nf_tables table", &table, marks);
        }
        snapshot.cgroups(Path::new("/sys/fs/cgroup"), marks, 0);
        snapshot.processes(marks);
        for mark in marks.iter().filter(|mark| mark.starts_with('/')) {
            snapshot.files(Path::new(mark));
        }
        snapshot
    }

    /// What is here and was not there before.
    pub fn since(&self, before: &Snapshot) -> Vec<String> {
        self.things.difference(&before.things).cloned().collect()
    }

    /// How many things there are of each form: numbers and ids in names are taken out, since what replaces a thing has
    /// others. `ignore` names parts of lines that don't count.
    pub fn tally(&self, ignore: &[&str]) -> BTreeMap<String, usize> {
        let mut tally = BTreeMap::new();
        for line in self
            .lines()
            .filter(|line| !ignore.iter().any(|part| line.contains(part)))
        {
            *tally.entry(form(line)).or_default() += 1;
        }
        tally
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.things.is_empty()
    }

    /// Everything, a line each.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.things.iter().map(String::as_str)
    }

    fn add(&mut self, kind: &str, name: &str, marks: &[&str]) {
        if marks.iter().any(|mark| name.contains(mark)) {
            self.things.insert(format!("{kind} {name}"));
        }
    }

    fn mounts(&mut self, marks: &[&str]) {
        for line in fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines() {
            let place = line.split(' ').nth(4).unwrap_or_default();
            self.add("mount", place, marks);
        }
    }

    fn names(&mut self, kind: &str, dir: &str, marks: &[&str]) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            self.add(kind, &entry.file_name().to_string_lossy(), marks);
        }
    }

    fn cgroups(&mut self, dir: &Path, marks: &[&str], depth: usize) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && depth < 12 {
                self.add("cgroup", &entry.path().to_string_lossy(), marks);
                self.cgroups(&entry.path(), marks, depth + 1);
            }
        }
    }

    /// Processes by their command line, directory, program and cgroups; not this one and those that it came from.
    fn processes(&mut self, marks: &[&str]) {
        let family = ancestors();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            if family.contains(&pid) {
                continue;
            }
            let at = entry.path();
            let command = fs::read(at.join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            let [cwd, exe] = ["cwd", "exe"].map(|link| fs::read_link(at.join(link)).unwrap_or_default());
            let cgroups = fs::read_to_string(at.join("cgroup"))
                .unwrap_or_default()
                .replace('\n', " ");
            self.add(
                "process",
                &format!(
                    "{pid}: {command}in {} from {} of {cgroups}",
                    cwd.display(),
                    exe.display()
                ),
                marks,
            );
        }
    }

    fn files(&mut self, dir: &Path) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            self.things.insert(format!("file {}", entry.path().display()));
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.files(&entry.path());
            }
        }
    }
}

/// A line with `#` for each UUID, each word of eight or more hexadecimal digits, and each other number.
fn form(line: &str) -> String {
    let (mut form, mut rest) = (String::new(), line);
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let is_id = word >= 8 && rest[..word].bytes().all(|byte| byte.is_ascii_hexdigit());
        let taken = match (is_uuid(rest), is_id, digits) {
            (true, ..) => UUID.len(),
            (_, true, _) => word,
            (.., 0) => {
                form.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
            _ => digits,
        };
        form.push('#');
        rest = &rest[taken..];
    }
    form
}

const UUID: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

fn is_uuid(text: &str) -> bool {
    let fits = |(byte, form): (u8, u8)| {
        if form == b'x' {
            byte.is_ascii_hexdigit()
        } else {
            byte == form
        }
    };
    text.len() >= UUID.len() && text.bytes().zip(UUID.bytes()).all(fits)
}

fn ancestors() -> BTreeSet<u32> {
    let (mut family, mut pid) = (BTreeSet::new(), std::process::id());
    while pid != 0 && family.insert(pid) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split(' ').nth(2)?.parse().ok());
        pid = parent.unwrap_or(0);
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn what_replaces_a_thing_has_its_form() {
        let one = form("file /d/sandboxes/s12/ns/0a1b2c3d4e5f of ab");
        assert_eq!(one, "file /d/sandboxes/s#/ns/# of ab");
        assert_eq!(one, form("file /d/sandboxes/s7/ns/ffeeddccbbaa9988 of ab"));
        let uid = form("file /pods/6f1c8a52-53f4-4a3c-9d0e-0b9f2f6a7c11/etc");
        assert_eq!(uid, form("file /pods/01c8aa52-0000-4b3c-8d0e-ab9f2f6a7c99/etc"));
    }

    #[test]
    fn a_process_and_a_file_are_found_and_gone_again() {
        let dir = std::env::temp_dir().join(format!("leaks-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let mark = dir.to_str().unwrap();
        let before = Snapshot::take(&[mark]);
        assert!(before.is_empty(), "{before:?}");
        fs::write(dir.join("file"), "").unwrap();
        let mut child = Command::new("sleep").arg("60").current_dir(&dir).spawn().unwrap();
        let left = Snapshot::take(&[mark]).since(&before);
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert!(left.iter().any(|line| line.starts_with("process ")), "{left:?}");
        assert!(
            left.contains(&format!("file {}", dir.join("file").display())),
            "{left:?}"
        );
        assert!(Snapshot::take(&[mark]).is_empty());
    }
}
