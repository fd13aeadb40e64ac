//! A disk that fills up under a running instance: writes are refused with the reason, everything else goes on, and with
//! space comes back what was refused. Nothing that was acknowledged is lost.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt as _};
use testkit::cluster::output;

use crate::stage::{self, until};

/// How long a write is tried.
const REFUSAL: Duration = Duration::from_secs(5);

/// A file system of a few MB in memory, gone with the value. Declare it before the instance that lies on it.
pub(crate) struct SmallDisk(PathBuf);

static NEXT: AtomicU32 = AtomicU32::new(0);

impl SmallDisk {
    /// With options of tmpfs(5).
    pub(crate) fn mount(options: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let at = std::env::temp_dir().join(format!("gantry-test-disk-{}-{number}", std::process::id()));
        fs::create_dir_all(&at).unwrap();
        let mut mount = Command::new("mount");
        let mounted = output(mount.args(["-t", "tmpfs", "-o", options, "gantry-test"]).arg(&at));
        assert!(mounted.status.success(), "{mounted:?}");
        Self(at)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes until nothing more goes onto it.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 4096] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        output(Command::new("umount").arg("--lazy").arg(&self.0));
        let _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up() {
    let disk = SmallDisk::mount("size=160m");
    let cluster = stage::cluster().with_data(disk.path().join("data"));
    cluster.up();
    let client = stage::client(&cluster).await;
    let mut acknowledged = Vec::new();
    for number in 0..10 {
        let name = format!("before-{number}");
        write(&client, &name).await.unwrap();
        acknowledged.push(name);
    }
    let filler = disk.fill();
    write_until_refused(&client, &mut acknowledged).await;
    acknowledged.sort_unstable();
    assert_eq!(names(&client).await.unwrap(), acknowledged, "reading goes on");
    let before = cluster.status();
    // It can't start as long as there is no space, and its supervisor can't even say so.
    stage::kill(&before, "server");
    tokio::time::sleep(Duration::from_millis(700)).await;
    fs::remove_file(filler).unwrap();
    until("writing goes on", async || write(&client, "after").await).await;
    acknowledged.insert(0, "after".to_owned());
    assert_eq!(names(&client).await.unwrap(), acknowledged);
    let after = cluster.status();
    for process in ["node", "supervisor"] {
        assert_eq!(before[process]["pid"], after[process]["pid"], "{process}");
    }
}

/// Writes an object of 100 KB.
async fn write(client: &Client, name: &str) -> Result<(), String> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let map = ConfigMap {
        metadata: stage::named(name),
        data: Some([("content".to_owned(), "x".repeat(100_000))].into()),
        ..ConfigMap::default()
    };
    // The client asks again for a while when it is told that the server can't just now.
    match tokio::time::timeout(REFUSAL, maps.create(&PostParams::default(), &map)).await {
        Ok(Ok(_)) => Ok(()),
        // One that was told "not now" may have been taken by a later try.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("not within {REFUSAL:?}")),
    }
}

async fn write_until_refused(client: &Client, acknowledged: &mut Vec<String>) {
    for number in 0..2000 {
        let name = format!("full-{number}");
        match write(client, &name).await {
            Ok(()) => acknowledged.push(name),
            Err(why) => return println!("{name}: {why}"),
        }
    }
    panic!("a full disk takes everything");
}

/// The names of what was written here, in the API's order.
async fn names(client: &Client) -> Result<Vec<String>, kube::Error> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let list = maps.list(&ListParams::default().labels("app")).await?;
    Ok(list.iter().map(|map| map.name_any()).collect())
}
