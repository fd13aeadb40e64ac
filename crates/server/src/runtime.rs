//! Which versions and resources are served: what is on by default, and what `--runtime-config` says beside that.

use std::collections::BTreeMap;

use api::resource::{Catalog, Resource};

/// The keys that are about all groups, in the order in which they count.
const KEYS: [&str; 4] = ["api/all", "api/ga", "api/beta", "api/alpha"];
/// What Kubernetes serves through an aggregated server isn't a matter of this.
const AGGREGATED: &str = "metrics.k8s.io";

/// What is switched on or off beside the defaults.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig(BTreeMap<String, bool>);

impl RuntimeConfig {
    /// Reads `KEY[=true|false]`: `api/all`, `api/ga`, `api/beta`, `api/alpha`, `GROUP/VERSION` or
    /// `GROUP/VERSION/RESOURCE`. Groups that nobody knows are left out, as Kubernetes does.
    ///
    /// # Errors
    /// Which setting can't be read, and why.
    pub fn parse<'a>(settings: impl IntoIterator<Item = &'a str>) -> Result<RuntimeConfig, String> {
        let mut found = BTreeMap::new();
        for setting in settings
            .into_iter()
            .map(str::trim)
            .filter(|setting| !setting.is_empty())
        {
            let (key, value) = setting.split_once('=').unwrap_or((setting, "true"));
            let value = match value {
                "true" | "" => true,
                "false" => false,
                other => return Err(format!("invalid value {key}={other}: it must be true or false")),
            };
            check(key)?;
            found.insert(key.to_owned(), value);
        }
        Ok(RuntimeConfig(found))
    }

    /// Whether a built-in resource is served.
    pub(crate) fn serves(&self, resource: &Resource) -> bool {
        if resource.group == AGGREGATED {
            return true;
        }
        let of_kind = |key: &str| match key {
            "api/ga" => stage(&resource.version) == "ga",
            "api/beta" => stage(&resource.version) == "beta",
            "api/alpha" => stage(&resource.version) == "alpha",
            _ => true,
        };
        let mut served = !resource.off;
        for key in KEYS.into_iter().filter(|key| of_kind(key)) {
            served = self.0.get(key).copied().unwrap_or(served);
        }
        let version = format!("{}/{}", resource.group, resource.version);
        served = self.0.get(&version).copied().unwrap_or(served);
        let own = format!("{version}/{}", resource.plural);
        self.0.get(&own).copied().unwrap_or(served)
    }
}

fn check(key: &str) -> Result<(), String> {
    if KEYS.contains(&key) {
        return Ok(());
    }
    let tokens: Vec<&str> = key.split('/').collect();
    let [group, version, ref resource @ ..] = tokens[..] else {
        return Ok(());
    };
    let groups = Catalog::builtin().groups();
    let Some((_, versions)) = groups.iter().find(|(known, _)| *known == group) else {
        return Ok(());
    };
    if !versions.contains(&version) {
        return Err(format!("group version {group}/{version} that has not been registered"));
    }
    if resource.iter().any(|name| name.to_lowercase() != **name) {
        let name = resource.join("/");
        return Err(format!(
            "invalid key {key}: group/version/resource and resource is always lowercase plural, not {name:?}"
        ));
    }
    Ok(())
}

/// How mature a version says it is.
fn stage(version: &str) -> &'static str {
    if version.contains("alpha") {
        "alpha"
    } else if version.contains("beta") {
        "beta"
    } else {
        "ga"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serves(settings: &[&str], group: &str, version: &str, plural: &str) -> bool {
        let config = RuntimeConfig::parse(settings.iter().copied()).unwrap();
        config.serves(Catalog::builtin().resource(group, version, plural).unwrap())
    }

    #[test]
    fn the_closer_key_counts() {
        let bundles = |settings: &[&str]| serves(settings, "certificates.k8s.io", "v1beta1", "clustertrustbundles");
        assert!(!bundles(&[]));
        assert!(bundles(&["api/beta=true"]) && bundles(&["api/all"]));
        assert!(!bundles(&["api/all=true", "api/beta=false"]));
        assert!(bundles(&["api/beta=false", "certificates.k8s.io/v1beta1=true"]));
        let one = "certificates.k8s.io/v1beta1/clustertrustbundles=false";
        assert!(!bundles(&["certificates.k8s.io/v1beta1", one]));
        assert!(serves(&["api/beta=true"], "apps", "v1", "deployments"));
        assert!(!serves(&["batch/v1/cronjobs=false"], "batch", "v1", "cronjobs"));
        assert!(serves(&["batch/v1/cronjobs=false"], "batch", "v1", "jobs"));
        assert!(serves(&["api/beta=false"], "metrics.k8s.io", "v1beta1", "pods"));
    }

    #[test]
    fn what_nobody_knows_is_refused_or_left_out() {
        let wrong = |text: &str| RuntimeConfig::parse([text]).unwrap_err();
        assert!(wrong("api/all=maybe").contains("true or false"));
        assert!(wrong("batch/v7=true").contains("has not been registered"));
        assert!(wrong("batch/v1/Jobs=true").contains("lowercase"));
        assert!(RuntimeConfig::parse(["no.such.group/v1=true"]).is_ok());
    }
}
