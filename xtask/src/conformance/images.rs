//! The suite's images. None of them is pulled: they are built from Kubernetes' sources and the distribution's packages,
//! under the names that the suite uses, and kept as one archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::programs::{self, Suite};
use super::root;
use crate::clients::tools;

/// Raised when what is below makes other images.
const EDITION: u32 = 2;

/// The beginning of the names of the suite's own.
const OWN: &str = "registry.k8s.io/e2e-test-images";
const BASE: &str = "gantry.local/conformance-base:1";
const PACKAGE: &str = "k8s.io/kubernetes/test/images";

/// An image: its name, the directory whose `rootfs` it gets, and its Dockerfile.
struct Image {
    name: String,
    dir: &'static str,
    dockerfile: String,
}

/// nginx as its own image has it: the pages' place, and its log on the container's output.
const NGINX_CONF: &str = "\
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 512; }
http {
    include /etc/nginx/mime.types;
    access_log /dev/stdout;
    server {
        listen 80;
        location / { root /usr/share/nginx/html; index index.html; }
    }
}
";

/// The archive with all of them.
pub(super) fn archive(cache: &Path, suite: &Suite, bin: &Path) -> anyhow::Result<PathBuf> {
    let archive = cache.join(format!("images-{EDITION}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    println!("building the suite's images");
    let work = cache.join("images");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    }
    fill(cache, suite, &work)?;
    let store = work.join("store");
    let gantry = |arguments: &[&str]| {
        let mut command = Command::new(bin);
        command.arg("--data-dir").arg(&store).args(arguments);
        command
    };
    let images = images();
    for image in &images {
        let context = work.join(image.dir);
        let file = work.join("Dockerfile");
        fs::write(&file, &image.dockerfile).context("writing a Dockerfile")?;
        tools::run(
            gantry(&["image", "build", "-t", &image.name, "-f"])
                .arg(&file)
                .arg(&context),
        )?;
    }
    let part = archive.with_extension("part");
    let names = images
        .iter()
        .map(|image| image.name.as_str())
        .filter(|name| *name != BASE);
    tools::run(gantry(&["image", "export", "-o"]).arg(&part).args(names))?;
    tools::run(&mut gantry(&["down", "--purge"]))?;
    fs::remove_dir_all(&work).with_context(|| format!("removing {}", work.display()))?;
    fs::rename(&part, &archive).with_context(|| format!("naming {}", archive.display()))?;
    Ok(archive)
}

fn images() -> Vec<Image> {
    let image = |name: &str, dir, dockerfile: &str| Image {
        name: name.to_string(),
        dir,
        dockerfile: dockerfile.to_string(),
    };
    let own = |name: &str, dir, dockerfile: &str| image(&format!("{OWN}/{name}"), dir, dockerfile);
    let path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let base = format!("FROM scratch\nCOPY rootfs /\n{path}\nCMD [\"/bin/sh\"]\n");
    let agnhost = format!(
        "FROM {BASE}\nCOPY rootfs /\nEXPOSE 80 8080 8081 9376 5000\nENTRYPOINT [\"/agnhost\"]\nCMD [\"pause\"]\n"
    );
    let nginx = |version| {
        let start = "EXPOSE 80\nSTOPSIGNAL SIGQUIT\nCMD [\"nginx\", \"-g\", \"daemon off;\"]";
        format!("FROM {BASE}\nCOPY rootfs /\nENV NGINX_VERSION={version}\n{start}\n")
    };
    let web = format!("FROM {OWN}/agnhost:2.66.1\nCOPY rootfs /\nCMD [\"test-webserver\"]\n");
    let nonewprivs = format!("FROM {BASE}\nCOPY --chmod=6755 rootfs/nnp /usr/local/bin/nnp\nCMD [\"nnp\"]\n");
    let aggregated = format!("FROM {BASE}\nCOPY rootfs /\nENTRYPOINT [\"/sample-apiserver\"]\n");
    let pause = "FROM scratch\nCOPY rootfs /\nUSER 65535:65535\nENTRYPOINT [\"/pause\"]\n";
    vec![
        image(BASE, "debian", &base),
        own("busybox:1.37.0-2", "busybox", &base.replace("/bin/sh", "sh")),
        own("agnhost:2.66.1", "agnhost", &agnhost),
        own("agnhost:2.55", "agnhost", &agnhost),
        own("nginx:1.27.0-2", "nginx", &nginx("1.27.0")),
        own("nginx:1.28.0-2", "nginx", &nginx("1.28.0")),
        own("kitten:1.8", "kitten", &web),
        own("nautilus:1.8", "nautilus", &web),
        own("nonewprivs:1.4", "nonewprivs", &nonewprivs),
        // What it asks DNS with is in the base.
        own("glibc-dns-testing:2.1.1", "debian", &base),
        own("sample-apiserver:1.29.2", "sample-apiserver", &aggregated),
        image(
            "registry.k8s.io/etcd:3.7.0-0",
            "etcd",
            &base.replace("/bin/sh", "/usr/local/bin/etcd"),
        ),
        image("registry.k8s.io/pause:3.10.2", "pause", pause),
    ]
}

/// Makes the directories that the images are built from.
fn fill(cache: &Path, suite: &Suite, work: &Path) -> anyhow::Result<()> {
    let place = |path: &str| -> anyhow::Result<PathBuf> {
        let path = work.join(path);
        let parent = path.parent().unwrap_or(work);
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        Ok(path)
    };
    let busybox = tools::busybox(&cache.join("clients"))?;
    root::debian(&place("debian/rootfs")?, &busybox)?;
    root::busybox(&place("busybox/rootfs")?, &busybox)?;

    suite.program(&format!("{PACKAGE}/agnhost"), &place("agnhost/rootfs/agnhost")?)?;
    std::os::unix::fs::symlink("agnhost", place("agnhost/rootfs/agnhost-2")?).context("linking agnhost-2")?;
    fs::create_dir_all(place("agnhost/rootfs/uploads")?).context("making uploads")?;
    programs::coredns(cache, &place("agnhost/rootfs/coredns")?)?;
    let images = suite.sources.join("test/images");
    let copy = |from: &str, to: &str| -> anyhow::Result<()> {
        let from = images.join(from);
        let text = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
        fs::write(place(to)?, text).with_context(|| format!("writing {to}"))
    };
    copy("agnhost/porter/localhost.crt", "agnhost/rootfs/localhost.crt")?;
    copy("agnhost/porter/localhost.key", "agnhost/rootfs/localhost.key")?;
    for name in ["kitten", "nautilus"] {
        copy(&format!("{name}/html/{name}.jpg"), &format!("{name}/rootfs/{name}.jpg"))?;
        copy(&format!("{name}/html/data.json"), &format!("{name}/rootfs/data.json"))?;
    }
    fs::write(place("nginx/rootfs/etc/nginx/nginx.conf")?, NGINX_CONF).context("writing nginx.conf")?;
    let welcome = "<!DOCTYPE html>\n<html><head><title>Welcome to nginx!</title></head><body><h1>Welcome to nginx!</h1></body></html>\n";
    fs::write(place("nginx/rootfs/usr/share/nginx/html/index.html")?, welcome).context("writing index.html")?;
    suite.program(&format!("{PACKAGE}/nonewprivs"), &place("nonewprivs/rootfs/nnp")?)?;
    programs::sample_apiserver(cache, &place("sample-apiserver/rootfs/sample-apiserver")?)?;
    programs::etcd(cache, &place("etcd/rootfs/usr/local/bin/etcd")?)?;
    pause(&suite.sources, &place("pause/rootfs/pause")?)
}

/// The one program that is written in C.
fn pause(sources: &Path, to: &Path) -> anyhow::Result<()> {
    let mut compiler = Command::new("cc");
    compiler.args(["-Os", "-static", "-DVERSION=3.10.2", "-o"]).arg(to);
    tools::run(compiler.arg(sources.join("build/pause/linux/pause.c")))
}
