//! The image: layers of many files of many sizes, some that compress well and some that don't, and a program that waits.

use std::io::Write as _;

use anyhow::Context as _;
use image::{Repository, Store};
use serde_json::json;
use sha2::{Digest as _, Sha256};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Pushes an image with the tag 1; returns the bytes of its layers as the registry has them.
pub(super) fn push(store: &Store, name: &str, layers: u32, megabytes: u32, seed: u64) -> anyhow::Result<u64> {
    let repository = store.repository("bench", name)?;
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let each = u64::from(megabytes) * 1_000_000 / u64::from(layers.max(1));
    let (mut listed, mut diff_ids, mut total) = (Vec::new(), Vec::new(), 0);
    for number in 0..layers {
        let tar = layer(number, each, &mut random)?;
        diff_ids.push(digest(&tar));
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(&tar)?;
        let stored = encoder.finish()?;
        total += stored.len() as u64;
        listed.push(json!({"mediaType": LAYER, "size": stored.len(), "digest": put(store, &repository, &stored)?}));
    }
    let config = json!({"architecture": image::host_platform().architecture, "os": "linux",
        "config": {"Entrypoint": ["/wait"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = config.to_string().into_bytes();
    let digest = put(store, &repository, &config)?;
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": listed,
        "config": {"mediaType": CONFIG, "size": config.len(), "digest": digest}});
    repository
        .put_manifest("1", &[], MANIFEST, manifest.to_string().as_bytes())
        .context("pushing the manifest")?;
    Ok(total)
}

fn put(store: &Store, repository: &Repository, bytes: &[u8]) -> anyhow::Result<String> {
    let digest = digest(bytes);
    let mut upload = store.new_upload(&format!("bench-{}", &digest[7..]))?;
    upload.write(bytes)?;
    upload.commit(repository, &digest)?;
    Ok(digest)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn layer(number: u32, size: u64, random: &mut Random) -> anyhow::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    if number == 0 {
        append(&mut tar, "wait", 0o755, &program())?;
    }
    let (mut left, mut file) = (size, 0);
    while left > 0 {
        // From 2 kB to 2 MB, small ones more often: as in a distribution's packages.
        let length = (2_000u64 << (random.next() % 11)).min(left);
        let bytes = if random.next().is_multiple_of(4) {
            random.bytes(length)
        } else {
            random.text(length)
        };
        append(
            &mut tar,
            &format!("data/layer-{number}/{}/{file}", file % 16),
            0o644,
            &bytes,
        )?;
        left -= length;
        file += 1;
    }
    Ok(tar.into_inner()?)
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) -> anyhow::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(bytes.len() as u64);
    Ok(tar.append_data(&mut header, path, bytes)?)
}

/// xorshift: the same bytes for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| (self.next() & 0xff) as u8).collect()
    }

    /// Words out of a small vocabulary: compresses about as programs and texts do.
    fn text(&mut self, length: u64) -> Vec<u8> {
        let length = usize::try_from(length).unwrap_or(0);
        let mut out = Vec::with_capacity(length + 16);
        while out.len() < length {
            let word = self.next() % 4096;
            out.extend_from_slice(format!("{:x}{:o}", word * 2_654_435_761 % 0xffff_ffff, word).as_bytes());
            out.push(if word.is_multiple_of(11) { b'\n' } else { b' ' });
        }
        out.truncate(length);
        out
    }
}

/// A static program of a few instructions that waits for ever, so that the image needs nothing of the host.
fn program() -> Vec<u8> {
    let (machine, code): (u16, &[u8]) = if cfg!(target_arch = "aarch64") {
        // ppoll(0, 0, 0, 0), again and again.
        let code: &[u8] = &[
            0x00, 0x00, 0x80, 0xd2, 0x01, 0x00, 0x80, 0xd2, 0x02, 0x00, 0x80, 0xd2, 0x03, 0x00, 0x80, 0xd2, 0x28, 0x09,
            0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4, 0xfa, 0xff, 0xff, 0x17,
        ];
        (183, code)
    } else {
        // pause(), again and again.
        (62, &[0xb8, 0x22, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xeb, 0xf7])
    };
    const BASE: u64 = 0x40_0000;
    let length = 120 + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    for half in [2u16, machine] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1u32.to_le_bytes());
    for word in [BASE + 120, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    // One segment: read and execute, all of the file.
    elf.extend(1u32.to_le_bytes());
    elf.extend(5u32.to_le_bytes());
    for word in [0, BASE, BASE, length, length, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend_from_slice(code);
    elf
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_an_executable() {
        let elf = program();
        assert_eq!(&elf[..4], b"\x7fELF");
        assert_eq!(u64::from_le_bytes(elf[24..32].try_into().expect("8 bytes")), 0x40_0078);
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("wait");
        std::fs::write(&path, &elf).expect("writing");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
        let mut child = std::process::Command::new(&path).spawn().expect("it starts");
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(child.try_wait().expect("waiting").is_none(), "it doesn't wait");
        child.kill().expect("killing");
        child.wait().expect("waiting");
    }
}
