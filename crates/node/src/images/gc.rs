//! Image garbage collection as kubelet has it: when the disk is fuller than the high threshold, unused images go, those
//! that were used longest ago first, until it is as empty as the low one.
//!
//! Images that were made in this cluster never go: no registry could give them back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use image::{InUse, Origin, Summary};

use crate::pods::start::label;
use crate::pods::{Context, events};

/// How often it is looked (kubelet's `ImageGCPeriod`).
const PERIOD: Duration = Duration::from_secs(300);
/// An image that has just come is about to be used (`imageMinimumGCAge`).
const MIN_AGE: Duration = Duration::from_secs(120);
/// Percent of the disk (`imageGCHighThresholdPercent`, `imageGCLowThresholdPercent`).
const HIGH: u64 = 85;
const LOW: u64 = 80;

/// What is known of an image.
#[derive(Clone, Copy, Debug)]
struct Seen {
    first: Instant,
    used: Option<Instant>,
}

/// How full a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Disk {
    capacity: u64,
    available: u64,
}

/// Watches over the disk until cancelled.
pub(crate) async fn run(ctx: Arc<Context>) {
    let mut seen: HashMap<String, Seen> = HashMap::new();
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Else the images of pods that are about to be known would look unused.
    ctx.pods.listed().await;
    loop {
        ticks.tick().await;
        let store = ctx.images.clone();
        let Ok(Ok(listed)) = tokio::task::spawn_blocking(move || store.list()).await else {
            continue;
        };
        let used = used_images(&ctx);
        note(&mut seen, &listed, &used, Instant::now());
        if let Some(goal) = disk(&ctx).and_then(excess) {
            let order = plan(&listed, &used, &seen, Instant::now());
            collect(&ctx, order, goal).await;
        }
    }
}

/// Names and ids of the images of all containers that there are, and of all pods that are to be.
fn used_images(ctx: &Context) -> HashSet<String> {
    let mut used = HashSet::new();
    for container in ctx.engine.containers() {
        let labels = container.labels.iter();
        let images = labels.filter(|(key, _)| key == label::IMAGE || key == label::IMAGE_ID);
        used.extend(images.map(|(_, value)| value.clone()));
    }
    for image in ctx.pods.images() {
        used.extend(image.parse::<image::Reference>().map(|name| name.to_string()));
    }
    used
}

fn disk(ctx: &Context) -> Option<Disk> {
    let stat = rustix::fs::statvfs(ctx.images.root()).ok()?;
    Some(Disk {
        capacity: stat.f_blocks.saturating_mul(stat.f_frsize),
        available: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}

/// How many bytes must become free, when the disk is too full.
fn excess(disk: Disk) -> Option<u64> {
    if disk.capacity == 0 {
        return None;
    }
    let usage = 100 - disk.available.saturating_mul(100) / disk.capacity;
    let wanted = disk.capacity / 100 * (100 - LOW);
    (usage >= HIGH).then(|| wanted.saturating_sub(disk.available))
}

fn note(seen: &mut HashMap<String, Seen>, listed: &[Summary], used: &HashSet<String>, now: Instant) {
    seen.retain(|name, _| listed.iter().any(|image| image.name == *name));
    for image in listed {
        let entry = seen
            .entry(image.name.clone())
            .or_insert(Seen { first: now, used: None });
        if is_used(image, used) {
            entry.used = Some(now);
        }
    }
}

fn is_used(image: &Summary, used: &HashSet<String>) -> bool {
    used.contains(&image.name)
        || used.contains(&image.id)
        || used
            .iter()
            .any(|one| one.rsplit_once('@').is_some_and(|(_, digest)| digest == image.digest))
}

/// The names that may go, in order.
fn plan(listed: &[Summary], used: &HashSet<String>, seen: &HashMap<String, Seen>, now: Instant) -> Vec<String> {
    let mut candidates: Vec<(&Summary, Seen)> = listed
        .iter()
        .filter(|image| image.origin == Origin::Pulled && !is_used(image, used))
        .filter_map(|image| Some((image, *seen.get(&image.name)?)))
        .filter(|(_, seen)| now.duration_since(seen.first) >= MIN_AGE)
        .collect();
    // Never used is longest ago.
    candidates.sort_by_key(|(image, seen)| (seen.used, seen.first, image.name.clone()));
    candidates.into_iter().map(|(image, _)| image.name.clone()).collect()
}

async fn collect(ctx: &Context, order: Vec<String>, goal: u64) {
    let before = disk(ctx).map_or(0, |disk| disk.available);
    let freed = || disk(ctx).map_or(0, |disk| disk.available.saturating_sub(before));
    for name in order {
        if freed() >= goal {
            break;
        }
        let (store, wanted) = (ctx.images.clone(), name.clone());
        let removed =
            tokio::task::spawn_blocking(move || store.remove(&wanted, &InUse::of_mounts(&store), false)).await;
        match removed {
            Ok(Ok(removed)) => tracing::info!(image = name, removed.freed, "removed an image to make room"),
            Ok(Err(error)) => tracing::warn!(image = name, %error, "removing an image to make room"),
            Err(error) => tracing::warn!(image = name, %error, "removing an image to make room"),
        }
    }
    let freed = freed();
    if freed < goal {
        let text = format!(
            "Failed to garbage collect required amount of images. Attempted to free {goal} bytes, but only found {freed} bytes eligible to free."
        );
        tracing::warn!("{text}");
        ctx.events
            .warning(&events::about_node(&ctx.node_name), "FreeDiskSpaceFailed", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(name: &str, origin: Origin) -> Summary {
        Summary {
            name: name.to_string(),
            digest: format!("sha256:{name}"),
            id: format!("sha256:id-{name}"),
            size: 1,
            created: None,
            origin,
        }
    }

    #[test]
    fn the_thresholds_are_kubelet_s() {
        let at = |available| {
            excess(Disk {
                capacity: 1000,
                available,
            })
        };
        assert_eq!(at(160), None, "84% full");
        assert_eq!(at(150), Some(50), "85% full, down to 80%");
        assert_eq!(at(0), Some(200));
    }

    #[test]
    fn the_longest_unused_goes_first_and_what_is_used_or_ours_stays() {
        let start = Instant::now();
        let now = start + Duration::from_secs(1000);
        let listed = [
            summary("recent", Origin::Pulled),
            summary("old", Origin::Pulled),
            summary("never", Origin::Pulled),
            summary("used", Origin::Pulled),
            summary("by-digest", Origin::Pulled),
            summary("ours", Origin::Local),
            summary("young", Origin::Pulled),
        ];
        let used: HashSet<String> = ["sha256:id-used".to_string(), "r/x@sha256:by-digest".to_string()].into();
        let mut seen = HashMap::new();
        for image in &listed {
            let first = if image.name == "young" {
                now - Duration::from_secs(60)
            } else {
                start
            };
            let used = match image.name.as_str() {
                "recent" => Some(start + Duration::from_secs(500)),
                "old" => Some(start + Duration::from_secs(100)),
                _ => None,
            };
            seen.insert(image.name.clone(), Seen { first, used });
        }
        assert_eq!(plan(&listed, &used, &seen, now), ["never", "old", "recent"]);
    }

    #[test]
    fn use_is_noted() {
        let now = Instant::now();
        let mut seen = HashMap::new();
        let listed = [summary("a", Origin::Pulled), summary("b", Origin::Pulled)];
        note(&mut seen, &listed, &["a".to_string()].into(), now);
        assert!(seen["a"].used.is_some() && seen["b"].used.is_none());
        note(&mut seen, &listed[1..], &HashSet::new(), now);
        assert!(!seen.contains_key("a"));
    }
}
