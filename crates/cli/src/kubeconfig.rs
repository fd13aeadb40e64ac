//! The user's kubeconfig: one context more, everything else as it was.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use crate::instance::{Instance, write_whole};

/// The name of the context, unless another instance has it.
const NAME: &str = "gantry";

/// The file that kubectl would write to.
pub fn user_file() -> Option<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty()) {
        let files: Vec<PathBuf> = std::env::split_paths(&list)
            .filter(|path| !path.as_os_str().is_empty())
            .collect();
        let existing = files.iter().find(|path| path.exists());
        return existing.or(files.last()).cloned();
    }
    std::env::home_dir().map(|home| home.join(".kube/config"))
}

/// Adds the instance's context to the user's file and returns its name.
pub fn add(instance: &Instance, file: &Path) -> anyhow::Result<String> {
    let own = read(&instance.admin_kubeconfig())?;
    let mut user = if file.exists() {
        read(file)?
    } else {
        json!({"apiVersion": "v1", "kind": "Config"})
    };
    let name = context_name(instance, &own, &user);
    for (list, part) in [("clusters", "cluster"), ("users", "user")] {
        let value = own[list][0][part].clone();
        upsert(&mut user, list, &name, part, value).with_context(|| format!("in {}", file.display()))?;
    }
    let context = json!({"cluster": name, "user": name});
    upsert(&mut user, "contexts", &name, "context", context).with_context(|| format!("in {}", file.display()))?;
    if user
        .get("current-context")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty()
    {
        user["current-context"] = json!(name);
    }
    write(file, &user)?;
    Ok(name)
}

/// Takes the instance's context away again.
pub fn remove(instance: &Instance, file: &Path) -> anyhow::Result<()> {
    if !file.exists() || !instance.admin_kubeconfig().exists() {
        return Ok(());
    }
    let own = read(&instance.admin_kubeconfig())?;
    let mut user = read(file)?;
    let Some(name) = names(instance).into_iter().find(|name| is_own(&own, &user, name)) else {
        return Ok(());
    };
    for list in ["clusters", "users", "contexts"] {
        if let Some(entries) = user.get_mut(list).and_then(Value::as_array_mut) {
            entries.retain(|entry| entry["name"] != json!(name));
        }
    }
    if user["current-context"] == json!(name) {
        user["current-context"] = json!("");
    }
    write(file, &user)
}

fn names(instance: &Instance) -> [String; 2] {
    [NAME.to_string(), format!("{NAME}-{}", instance.id())]
}

/// `gantry`, or with the instance's id where another one has that name.
fn context_name(instance: &Instance, own: &Value, user: &Value) -> String {
    let [short, long] = names(instance);
    let free = find(user, "clusters", &short).is_none();
    if free || is_own(own, user, &short) { short } else { long }
}

/// Whether the user's cluster of that name is this instance: the same CA, or where the certificate was made anew the
/// same address.
fn is_own(own: &Value, user: &Value, name: &str) -> bool {
    let Some(theirs) = find(user, "clusters", name) else {
        return false;
    };
    let ours = &own["clusters"][0]["cluster"];
    ["certificate-authority-data", "server"]
        .iter()
        .any(|field| theirs["cluster"][field] == ours[field] && !ours[field].is_null())
}

fn find<'a>(config: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    config
        .get(list)?
        .as_array()?
        .iter()
        .find(|entry| entry["name"] == json!(name))
}

fn upsert(config: &mut Value, list: &str, name: &str, part: &str, value: Value) -> anyhow::Result<()> {
    let Some(config) = config.as_object_mut() else {
        bail!("it is not a kubeconfig")
    };
    let entries = config.entry(list).or_insert_with(|| json!([]));
    if entries.is_null() {
        *entries = json!([]);
    }
    let Some(entries) = entries.as_array_mut() else {
        bail!("{list} is not a list")
    };
    let mut entry = Map::new();
    entry.insert("name".to_string(), json!(name));
    entry.insert(part.to_string(), value);
    match entries.iter_mut().find(|entry| entry["name"] == json!(name)) {
        Some(old) => *old = Value::Object(entry),
        None => entries.push(Value::Object(entry)),
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    if text.trim().is_empty() {
        return Ok(json!({"apiVersion": "v1", "kind": "Config"}));
    }
    let value: Value =
        serde_saphyr::from_str(&text).with_context(|| format!("{} is not a kubeconfig", path.display()))?;
    if !value.is_object() {
        bail!("{} is not a kubeconfig", path.display());
    }
    Ok(value)
}

fn write(path: &Path, config: &Value) -> anyhow::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let text = serde_saphyr::to_string(config).context("writing YAML")?;
    // A link stays one: what it leads to is replaced. New files are for their owner alone.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let permissions = fs::metadata(&target).map(|metadata| metadata.permissions()).ok();
    write_whole(&target, text.as_bytes())?;
    if let Some(permissions) = permissions {
        fs::set_permissions(&target, permissions).with_context(|| format!("writing {}", target.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(dir: &Path, ca: &str) -> Instance {
        fs::create_dir_all(dir).unwrap();
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: x\n  cluster:\n    server: https://127.0.0.1:{ca}\n    \
             certificate-authority-data: {ca}\nusers:\n- name: x\n  user:\n    client-key-data: k\n"
        );
        fs::write(dir.join("admin.kubeconfig"), text).unwrap();
        Instance::new(dir).unwrap()
    }

    #[test]
    fn what_is_there_stays_and_ours_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        let before = "apiVersion: v1\nkind: Config\ncurrent-context: work\npreferences:\n  colors: true\nclusters:\n\
                      - name: work\n  cluster:\n    server: https://work\ncontexts: []\nusers: null\n";
        fs::write(&file, before).unwrap();
        let first = instance(&dir.path().join("a"), "1111");
        let second = instance(&dir.path().join("b"), "2222");
        assert_eq!(add(&first, &file).unwrap(), "gantry");
        assert_eq!(add(&first, &file).unwrap(), "gantry");
        let name = add(&second, &file).unwrap();
        assert_eq!(name, format!("gantry-{}", second.id()));
        let both = read(&file).unwrap();
        assert_eq!(both["current-context"], "work");
        assert_eq!(both["preferences"]["colors"], true);
        assert_eq!(both["clusters"].as_array().unwrap().len(), 3);
        remove(&first, &file).unwrap();
        remove(&second, &file).unwrap();
        let after = read(&file).unwrap();
        assert_eq!(
            after["clusters"],
            json!([{"name": "work", "cluster": {"server": "https://work"}}])
        );
        assert_eq!(after["users"], json!([]));
    }

    #[test]
    fn a_new_file_has_our_context_as_the_current_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/config");
        add(&instance(&dir.path().join("a"), "1111"), &file).unwrap();
        assert_eq!(read(&file).unwrap()["current-context"], "gantry");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_kubeconfig_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config");
        fs::write(&file, "just text").unwrap();
        assert!(add(&instance(&dir.path().join("a"), "1111"), &file).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "just text");
    }
}
