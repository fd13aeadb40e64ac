//! Writing a volume's files so that a reader sees the old set or the new one, never a mixture.
//!
//! The layout is the one that programs in containers know: the files are links into `..data`, itself a link that is
//! replaced by rename.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: Option<u32>,
}

/// The files by their relative path.
pub(crate) type Files = BTreeMap<PathBuf, File>;

const DATA: &str = "..data";

/// Makes `dir` show exactly `files`; what is right already stays, and what an earlier life began is finished.
pub(crate) fn write(dir: &Path, files: &Files, group: Option<i64>) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    let group = group.and_then(|group| u32::try_from(group).ok());
    let data = dir.join(DATA);
    if !read(&data).is_some_and(|old| same(&old, files)) {
        replace(dir, &data, files, group)?;
    }
    link_visible(dir, files)?;
    sweep(dir, &fs::read_link(&data)?)
}

fn replace(dir: &Path, data: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    let fresh = fresh_name(dir);
    fill(&dir.join(&fresh), files, group)?;
    meta::failpoint::hit("node.volume.filled");
    let link = dir.join("..data_tmp");
    let _ = fs::remove_file(&link);
    symlink(&fresh, &link)?;
    fs::rename(&link, data)?;
    meta::failpoint::hit("node.volume.switched");
    Ok(())
}

/// Removes sets of files that aren't shown: the one before, and those that were never finished.
fn sweep(dir: &Path, shown: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_set = entry.file_name().to_string_lossy().starts_with("..") && entry.file_type()?.is_dir();
        if is_set && entry.file_name() != shown.as_os_str() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn fill(dir: &Path, files: &Files, group: Option<u32>) -> io::Result<()> {
    fs::create_dir(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        let full = dir.join(path);
        if let Some(parent) = full.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&full, &file.content)?;
        // A group that the pod's processes are in must be able to read what is for them.
        let mode = if group.is_some() {
            file.mode | 0o040 | ((file.mode & 0o100) >> 3)
        } else {
            file.mode
        };
        chown(&full, file.uid, group)?;
        fs::set_permissions(&full, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// The first parts of the paths are links; those of files that are gone go too.
fn link_visible(dir: &Path, files: &Files) -> io::Result<()> {
    let wanted: BTreeSet<PathBuf> = files
        .keys()
        .filter_map(|path| path.components().next())
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect();
    for name in &wanted {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if !name.to_string_lossy().starts_with("..") && !wanted.contains(Path::new(&name)) {
            fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}

fn fresh_name(dir: &Path) -> String {
    let now = jiff::Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S").to_string();
    (0u32..)
        .map(|n| format!("..{now}.{n:09}"))
        .find(|name| !dir.join(name).exists())
        .unwrap_or_default()
}

fn read(dir: &Path) -> Option<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(relative) = pending.pop() {
        for entry in fs::read_dir(dir.join(&relative)).ok()? {
            let path = relative.join(entry.ok()?.file_name());
            if dir.join(&path).is_dir() {
                pending.push(path);
            } else {
                let content = fs::read(dir.join(&path)).ok()?;
                found.insert(path, content);
            }
        }
    }
    Some(found)
}

fn same(old: &BTreeMap<PathBuf, Vec<u8>>, new: &Files) -> bool {
    old.len() == new.len() && new.iter().all(|(path, file)| old.get(path) == Some(&file.content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(pairs: &[(&str, &str)]) -> Files {
        let file = |content: &str| File {
            content: content.as_bytes().to_vec(),
            mode: 0o644,
            uid: None,
        };
        pairs
            .iter()
            .map(|(path, content)| (PathBuf::from(path), file(content)))
            .collect()
    }

    #[test]
    fn what_an_earlier_life_began_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let files = files(&[("a", "1")]);
        write(dir, &files, None).unwrap();
        // Killed after the switch and before the links; and another time before the switch.
        fs::remove_file(dir.join("a")).unwrap();
        fs::create_dir(dir.join("..2026_01_01_00_00_00.000000000")).unwrap();
        write(dir, &files, None).unwrap();
        assert_eq!(fs::read(dir.join("a")).unwrap(), b"1");
        let sets = fs::read_dir(dir).unwrap().flatten();
        let sets = sets.filter(|entry| entry.file_type().unwrap().is_dir()).count();
        assert_eq!(sets, 1, "the unfinished set goes");
    }

    #[test]
    fn a_reader_sees_one_set_or_the_other() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("volume");
        write(&dir, &files(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "1");
        assert_eq!(fs::read_to_string(dir.join("sub/b")).unwrap(), "2");
        let first = fs::read_link(dir.join(DATA)).unwrap();
        write(&dir, &files(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        assert_eq!(
            fs::read_link(dir.join(DATA)).unwrap(),
            first,
            "an unchanged volume is not touched"
        );
        write(&dir, &files(&[("a", "3")]), None).unwrap();
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(!dir.join("sub").exists());
        assert!(!dir.join(first).exists());
    }
}
