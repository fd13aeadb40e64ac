//! The store, imports and builds, over real archives made here.
#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use image::{Error, InUse, Reference, RunConfig, Store};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("images")).unwrap();
    (dir, store)
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

/// A docker-save archive of one image with the given layer.
fn saved(layer: &[u8], tags: &[&str]) -> Vec<u8> {
    use sha2::Digest as _;
    let diff_id = format!("sha256:{}", hex::encode(sha2::Sha256::digest(layer)));
    let config = serde_json::json!({"architecture": "amd64", "os": "linux", "config": {"Env": null, "Cmd": ["/x"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]}});
    let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": tags, "Layers": ["l/layer.tar"]}]);
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in [
        ("c.json", config.to_string().into_bytes()),
        ("l/layer.tar", layer.to_vec()),
        ("manifest.json", manifest.to_string().into_bytes()),
    ] {
        append(&mut tar, path, tar::EntryType::Regular, &bytes, None);
    }
    tar.into_inner().unwrap()
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, bytes: &[u8], link: Option<&str>) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o4755);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(1_000_000_000);
    header.set_size(bytes.len() as u64);
    // Written into the raw field, because the library refuses the paths that an attacker would use.
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    if let Some(link) = link {
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    }
    header.set_cksum();
    tar.append(&header, bytes).unwrap();
}

#[test]
fn a_saved_archive_comes_in_with_every_attribute() {
    let (_dir, store) = store();
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "bin/tool", tar::EntryType::Regular, b"content", None);
    append(&mut layer, "bin/hard", tar::EntryType::Link, b"", Some("bin/tool"));
    append(&mut layer, "bin/soft", tar::EntryType::Symlink, b"", Some("/bin/tool"));
    append(&mut layer, "old/.wh.gone", tar::EntryType::Regular, b"", None);
    append(&mut layer, "old/.wh..wh..opq", tar::EntryType::Regular, b"", None);
    let archive = saved(&layer.into_inner().unwrap(), &["app:v1", "app:latest"]);
    let imported = store.import_stream(archive.as_slice(), None).unwrap();
    assert_eq!(imported.len(), 2);
    let image = store.resolve("app").unwrap().unwrap();
    assert_eq!(image.config.config.cmd, ["/x"]);
    let root = &image.layers[0];
    let tool = fs::metadata(root.join("bin/tool")).unwrap();
    assert_eq!(
        (tool.mode() & 0o7777, tool.uid(), tool.gid(), tool.mtime()),
        (0o4755, 7, 8, 1_000_000_000)
    );
    assert_eq!(tool.nlink(), 2);
    assert_eq!(fs::read_link(root.join("bin/soft")).unwrap(), Path::new("/bin/tool"));
    let gone = fs::symlink_metadata(root.join("old/gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    let mut value = [0; 1];
    assert_eq!(
        rustix::fs::getxattr(root.join("old"), "trusted.overlay.opaque", &mut value[..]),
        Ok(1)
    );
    let by_id = store.resolve(&image.id).unwrap().unwrap();
    assert_eq!(by_id.digest, image.digest);
    let pinned = format!("app@{}", image.digest);
    assert_eq!(store.resolve(&pinned).unwrap().unwrap().id, image.id);
}

#[test]
fn hostile_layers_write_nothing_outside() {
    let (dir, store) = store();
    let outside = dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("keep"), "kept").unwrap();
    let target = outside.to_str().unwrap();
    let attacks: &[&[(&str, tar::EntryType, Option<&str>)]] = &[
        &[("../../../../outside/a", tar::EntryType::Regular, None)],
        &[
            ("link", tar::EntryType::Symlink, Some(target)),
            ("link/b", tar::EntryType::Regular, None),
        ],
        &[
            ("up", tar::EntryType::Symlink, Some("../../../../../..")),
            ("up/tmp/c", tar::EntryType::Regular, None),
        ],
        &[("d", tar::EntryType::Link, Some("/etc/hostname"))],
        &[("disk", tar::EntryType::Block, None)],
        &[("etc/disk", tar::EntryType::Char, None)],
        // A link to a link, and back in through it.
        &[
            ("a", tar::EntryType::Symlink, Some("b")),
            ("b", tar::EntryType::Symlink, Some(target)),
            ("a/e", tar::EntryType::Regular, None),
        ],
        // A directory that becomes a link between two entries.
        &[
            ("dir/f", tar::EntryType::Regular, None),
            ("dir/link", tar::EntryType::Symlink, Some(target)),
            ("dir/link/g", tar::EntryType::Regular, None),
        ],
        // A hard link to a symbolic link that leads out, and writing through it.
        &[
            ("s", tar::EntryType::Symlink, Some(target)),
            ("h", tar::EntryType::Link, Some("s")),
            ("h/i", tar::EntryType::Regular, None),
        ],
        // Whiteouts that would hide the directory itself, the one above, or nothing.
        &[(".wh..", tar::EntryType::Regular, None)],
        &[("x/.wh...", tar::EntryType::Regular, None)],
        &[(".wh.", tar::EntryType::Regular, None)],
        &[
            ("w", tar::EntryType::Symlink, Some(target)),
            ("w/.wh.keep", tar::EntryType::Regular, None),
        ],
        &[
            ("o", tar::EntryType::Symlink, Some(target)),
            ("o/.wh..wh..opq", tar::EntryType::Regular, None),
        ],
    ];
    for attack in attacks {
        let mut layer = tar::Builder::new(Vec::new());
        for (path, kind, link) in *attack {
            append(&mut layer, path, *kind, b"", *link);
        }
        // Either refused, or kept inside.
        let _ = store.import_stream(saved(&layer.into_inner().unwrap(), &["evil"]).as_slice(), None);
        let found: Vec<_> = fs::read_dir(&outside)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(found, ["keep"], "{attack:?}");
        assert_eq!(fs::read_to_string(outside.join("keep")).unwrap(), "kept", "{attack:?}");
        assert_eq!(fs::metadata(outside.join("keep")).unwrap().nlink(), 1, "{attack:?}");
    }
}

#[test]
fn a_damaged_layer_is_refused_and_leaves_nothing() {
    let (dir, store) = store();
    let mut archive = saved(b"not a tar, but long enough to be read as one", &["x"]);
    let at = archive.windows(9).position(|w| w == b"not a tar").unwrap();
    archive[at] = b'N';
    assert!(store.import_stream(archive.as_slice(), None).is_err());
    assert!(store.list().unwrap().is_empty());
    assert_eq!(fs::read_dir(dir.path().join("images/tmp")).unwrap().count(), 0);
}

#[test]
fn removal_keeps_what_others_need() {
    let (_dir, store) = store();
    let layer = |path: &str| {
        let mut layer = store.new_layer().unwrap();
        layer.file(path, 0o644, b"x").unwrap();
        layer.finish().unwrap()
    };
    let lower = layer("/a");
    store
        .assemble(&name("base"), vec![lower.clone()], RunConfig::default())
        .unwrap();
    store
        .assemble(&name("child"), vec![lower, layer("/b")], RunConfig::default())
        .unwrap();
    let child = store.resolve("child").unwrap().unwrap();
    store.remove("base", &InUse::default(), false).unwrap();
    assert!(child.layers.iter().all(|layer| layer.exists()));
    assert!(matches!(
        store.remove("base", &InUse::default(), false),
        Err(Error::NotFound(_))
    ));
    store
        .remove("child", &InUse::new(vec![vec![child.layers[0].clone()]]), true)
        .unwrap();
    assert!(child.layers[0].exists(), "a running container's layer stays");
    assert!(!child.layers[1].exists());
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn an_image_of_the_program_itself() {
    let (_dir, store) = store();
    let mut layer = store.new_layer().unwrap();
    layer.directory("bin", 0o755).unwrap();
    layer.file("/bin/hello", 0o755, b"elf").unwrap();
    let layer = layer.finish().unwrap();
    let run = RunConfig {
        entrypoint: vec!["/bin/hello".to_string()],
        ..RunConfig::default()
    };
    store.assemble(&name("gantry.local/hello"), vec![layer], run).unwrap();
    let listed = store.list().unwrap();
    assert_eq!(listed[0].name, "gantry.local/hello:latest");
    assert!(listed[0].size > 0);
}
