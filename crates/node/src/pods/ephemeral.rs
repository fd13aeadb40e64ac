//! Ephemeral containers: they come into a pod that runs already, once each, and may look into another container's
//! processes.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, PodSpec};

use super::observed::World;
use crate::bundle::ConfigError;

/// A container of any sort by its name.
pub(crate) fn find_in<'a>(spec: &'a PodSpec, name: &str) -> Option<Cow<'a, Container>> {
    let mut usual = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    match usual.find(|container| container.name == name) {
        Some(container) => Some(Cow::Borrowed(container)),
        None => of(spec, name).map(as_container).map(Cow::Owned),
    }
}

/// The pod's ephemeral containers, as far as they are containers like others.
pub(super) fn containers(spec: &PodSpec) -> impl Iterator<Item = Container> + '_ {
    spec.ephemeral_containers.iter().flatten().map(as_container)
}

/// The process namespace that a container joins: its target's, if it names one.
pub(super) fn joined_pid(spec: &PodSpec, name: &str, world: &World) -> Result<Option<String>, ConfigError> {
    let target = of(spec, name).and_then(|container| container.target_container_name.as_deref());
    let Some(target) = target.filter(|target| !target.is_empty()) else {
        return Ok(None);
    };
    match world.get(target).and_then(|observed| observed.running()) {
        Some(running) => Ok(Some(format!("/proc/{}/ns/pid", running.pid))),
        None => Err(ConfigError(format!("unable to find target container {target:?}"))),
    }
}

fn of<'a>(spec: &'a PodSpec, name: &str) -> Option<&'a EphemeralContainer> {
    let mut ephemeral = spec.ephemeral_containers.iter().flatten();
    ephemeral.find(|container| container.name == name)
}

fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let EphemeralContainer {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        lifecycle,
        name,
        resources,
        security_context,
        stdin,
        stdin_once,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
        ..
    } = ephemeral.clone();
    Container {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        lifecycle,
        name,
        resources,
        security_context,
        stdin,
        stdin_once,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
        ..Container::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::observed::tests::running;
    use super::*;

    #[test]
    fn a_target_must_run() {
        let debugger = EphemeralContainer {
            name: "debug".into(),
            target_container_name: Some("app".into()),
            tty: Some(true),
            ..EphemeralContainer::default()
        };
        let spec = PodSpec {
            ephemeral_containers: Some(vec![debugger]),
            ..PodSpec::default()
        };
        assert_eq!(find_in(&spec, "debug").and_then(|container| container.tty), Some(true));
        let mut world = World::default();
        assert!(joined_pid(&spec, "debug", &world).is_err());
        world.insert("app".into(), running(0, 0));
        assert_eq!(
            joined_pid(&spec, "debug", &world).unwrap().as_deref(),
            Some("/proc/1/ns/pid")
        );
        assert_eq!(joined_pid(&spec, "app", &world).unwrap(), None);
    }
}
