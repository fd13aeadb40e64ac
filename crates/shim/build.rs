//! Compiles the static programs that the crate carries. They need nothing but `core`, so the toolchain that builds the
//! crate builds them too, whatever the profile.

use std::env;
use std::path::Path;
use std::process::Command;

const PROGRAMS: [&str; 4] = ["shim", "hello", "pause", "report"];

fn main() {
    println!("cargo::rerun-if-changed=programs");
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=build.rs");
    let var = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let (out, target) = (var("OUT_DIR"), var("TARGET"));
    for program in PROGRAMS {
        let to = Path::new(&out).join(program);
        let mut rustc = Command::new(var("RUSTC"));
        rustc.args([
            "--edition",
            "2024",
            "--crate-type",
            "bin",
            "--crate-name",
            program,
            "--target",
            &target,
        ]);
        for option in [
            "panic=abort",
            "opt-level=s",
            "lto=fat",
            "codegen-units=1",
            "debuginfo=0",
            "strip=symbols",
            "overflow-checks=off",
            "relocation-model=static",
            "target-feature=+crt-static",
            "link-arg=-nostartfiles",
            "link-arg=-nostdlib",
            "link-arg=-static",
            "link-arg=-Wl,--gc-sections,--build-id=none,-z,noseparate-code,-z,norelro",
        ] {
            rustc.args(["-C", option]);
        }
        rustc.arg(format!("programs/{program}.rs")).arg("-o").arg(&to);
        let linker = env::var("RUSTC_LINKER").ok().filter(|linker| !linker.is_empty());
        if let Some(linker) = linker {
            rustc.arg("-C").arg(format!("linker={linker}"));
        }
        let status = rustc
            .status()
            .unwrap_or_else(|error| panic!("cannot run {rustc:?}: {error}"));
        assert!(status.success(), "{rustc:?} failed");
    }
}
