//! What config map, secret, downward and projected volumes show.

use std::path::{Component, Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Volume};

use super::writer::{File, Files};
use super::{Around, trust};
use crate::bundle::{ConfigError, field, resources};
use crate::objects::{Data, Key, Kind, Objects};
use crate::pod_certificates::Place;

const DEFAULT_MODE: i32 = 0o644;

/// A volume's files, and when they need to be made anew.
pub(super) struct Payload {
    pub(super) files: Files,
    pub(super) refresh_at: Option<Timestamp>,
}

/// The files of a volume; `None` when it is of another kind.
pub(super) async fn of(
    objects: &Objects,
    pod: &Pod,
    volume: &Volume,
    around: Around<'_>,
) -> Result<Option<Payload>, ConfigError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut payload = Payload {
        files: Files::new(),
        refresh_at: None,
    };
    if let Some(source) = &volume.config_map {
        let data = objects.config_map(namespace, &source.name).await?;
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let what = format!("configmap \"{}\"", source.name);
        payload.add(data, &what, source.items.as_deref(), mode, source.optional)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let data = objects.secret(namespace, name).await?;
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        payload.add(
            data,
            &format!("secret \"{name}\""),
            source.items.as_deref(),
            mode,
            source.optional,
        )?;
    } else if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        payload.downward(pod, source.items.as_deref().unwrap_or_default(), mode, around)?;
    } else if let Some(source) = &volume.projected {
        payload.projected(objects, pod, &volume.name, source, around).await?;
    } else {
        return Ok(None);
    }
    Ok(Some(payload))
}

/// The objects that a pod's volumes show.
pub(crate) fn references(pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let mut keys = Vec::new();
    let mut add = |kind, name: &str| {
        let key = Key {
            kind,
            namespace: namespace.clone(),
            name: name.to_string(),
        };
        if !keys.contains(&key) {
            keys.push(key);
        }
    };
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        if let Some(source) = &volume.config_map {
            add(Kind::ConfigMap, &source.name);
        }
        if let Some(name) = volume.secret.as_ref().and_then(|source| source.secret_name.as_deref()) {
            add(Kind::Secret, name);
        }
        for source in volume
            .projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten())
        {
            if let Some(source) = &source.config_map {
                add(Kind::ConfigMap, &source.name);
            }
            if let Some(source) = &source.secret {
                add(Kind::Secret, &source.name);
            }
            if source.cluster_trust_bundle.is_some() {
                add(Kind::TrustBundles, "");
            }
            if source.pod_certificate.is_some() {
                add(Kind::CertificateRequests, "");
            }
        }
    }
    keys
}

/// Without a group to share it, a file such as a token is for the one user who runs the pod.
fn only_for(pod: &Pod, mode: i32) -> Result<(u32, Option<u32>), ConfigError> {
    let security = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    Ok(match security.and_then(|context| context.fs_group) {
        Some(_) => (0o600, None),
        None => match same_user(pod) {
            Some(uid) => (0o600, Some(uid)),
            None => (mode_bits(mode)?, None),
        },
    })
}

impl Payload {
    async fn projected(
        &mut self,
        objects: &Objects,
        pod: &Pod,
        volume: &str,
        projected: &ProjectedVolumeSource,
        around: Around<'_>,
    ) -> Result<(), ConfigError> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
        for (index, source) in projected.sources.iter().flatten().enumerate() {
            if let Some(source) = &source.config_map {
                let data = objects.config_map(namespace, &source.name).await?;
                let what = format!("configmap \"{}\"", source.name);
                self.add(data, &what, source.items.as_deref(), mode, source.optional)?;
            }
            if let Some(source) = &source.secret {
                let data = objects.secret(namespace, &source.name).await?;
                let what = format!("secret \"{}\"", source.name);
                self.add(data, &what, source.items.as_deref(), mode, source.optional)?;
            }
            if let Some(source) = &source.downward_api {
                self.downward(pod, source.items.as_deref().unwrap_or_default(), mode, around)?;
            }
            if let Some(source) = &source.service_account_token {
                let seconds = source.expiration_seconds.unwrap_or(3600);
                let audience = source.audience.as_deref().filter(|audience| !audience.is_empty());
                let token = objects.token(pod, audience, seconds).await?;
                // Renewed when a fifth of its life is left, as the API documentation says.
                let life = token.expires.duration_since(Timestamp::now());
                self.refresh(Timestamp::now() + SignedDuration::from_secs(life.as_secs() * 4 / 5));
                let (mode, uid) = only_for(pod, mode)?;
                self.put(
                    &source.path,
                    File {
                        content: token.token.into_bytes(),
                        mode,
                        uid,
                    },
                )?;
            }
            if let Some(source) = &source.cluster_trust_bundle {
                let content = trust::anchors(objects, source).await?;
                let (mode, uid) = only_for(pod, mode)?;
                self.put(&source.path, File { content, mode, uid })?;
            }
            if let Some(source) = &source.pod_certificate {
                let place = Place {
                    pod: pod.metadata.uid.clone().unwrap_or_default(),
                    volume: volume.to_owned(),
                    source: index,
                };
                let bundle = objects.certificates.bundle(pod, place, source).await?;
                self.refresh(bundle.refresh_at);
                let (mode, uid) = only_for(pod, mode)?;
                let both = [&bundle.key[..], &bundle.chain].concat();
                for (path, content) in [
                    (&source.credential_bundle_path, both),
                    (&source.key_path, bundle.key),
                    (&source.certificate_chain_path, bundle.chain),
                ] {
                    if let Some(path) = path.as_deref().filter(|path| !path.is_empty()) {
                        self.put(path, File { content, mode, uid })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes that the files are good until then only.
    fn refresh(&mut self, at: Timestamp) {
        self.refresh_at = Some(self.refresh_at.map_or(at, |earlier| earlier.min(at)));
    }

    fn add(
        &mut self,
        data: Option<Data>,
        what: &str,
        items: Option<&[KeyToPath]>,
        mode: i32,
        optional: Option<bool>,
    ) -> Result<(), ConfigError> {
        let optional = optional.unwrap_or(false);
        let Some(data) = data else {
            return if optional {
                Ok(())
            } else {
                Err(ConfigError(format!("{what} not found")))
            };
        };
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            for (key, content) in data.iter() {
                self.put(
                    key,
                    File {
                        content: content.clone(),
                        mode: mode_bits(mode)?,
                        uid: None,
                    },
                )?;
            }
            return Ok(());
        };
        for item in items {
            match data.get(&item.key) {
                Some(content) => {
                    let mode = mode_bits(item.mode.unwrap_or(mode))?;
                    self.put(
                        &item.path,
                        File {
                            content: content.clone(),
                            mode,
                            uid: None,
                        },
                    )?;
                }
                None if optional => {}
                None => return Err(ConfigError(format!("{what} references non-existent key: {}", item.key))),
            }
        }
        Ok(())
    }

    fn downward(
        &mut self,
        pod: &Pod,
        items: &[DownwardAPIVolumeFile],
        mode: i32,
        around: Around<'_>,
    ) -> Result<(), ConfigError> {
        for item in items {
            let content = if let Some(field_ref) = &item.field_ref {
                let path = &field_ref.field_path;
                field::of_pod(pod, path, Some((around.host_ip, around.pod_ips)))
                    .ok_or_else(|| ConfigError(format!("unsupported fieldPath: {path}")))?
            } else if let Some(selector) = &item.resource_field_ref {
                resources::field(pod, &Default::default(), selector).map_err(ConfigError)?
            } else {
                continue;
            };
            let mode = mode_bits(item.mode.unwrap_or(mode))?;
            self.put(
                &item.path,
                File {
                    content: content.into_bytes(),
                    mode,
                    uid: None,
                },
            )?;
        }
        Ok(())
    }

    fn put(&mut self, path: &str, file: File) -> Result<(), ConfigError> {
        let inside = Path::new(path)
            .components()
            .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if path.is_empty() || !inside {
            return Err(ConfigError(format!("invalid path in a volume: {path:?}")));
        }
        self.files.insert(PathBuf::from(path), file);
        Ok(())
    }
}

/// The user that all containers of a pod run as, if its specification says so.
fn same_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let pod_user = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|container| {
            container
                .security_context
                .as_ref()
                .and_then(|context| context.run_as_user)
                .or(pod_user)
        });
    let first = users.next()??;
    users
        .all(|user| user == Some(first))
        .then(|| u32::try_from(first).ok())?
}

fn mode_bits(mode: i32) -> Result<u32, ConfigError> {
    u32::try_from(mode).map_err(|_| ConfigError(format!("invalid file mode {mode}")))
}
