//! Changes of the node configuration between versions. Pure functions.
//!
//! Some generated settings depend on the version, such as a kubelet feature gate or a script.
//! Settings generated for the old version are replaced by those for the new one; settings changed
//! by a user are kept.

use serde_json::{Map, Value, json};

/// Path of the etcd tag in a `kubeadmConfigSpec`.
const ETCD_TAG: [&str; 4] = ["clusterConfiguration", "etcd", "local", "imageTag"];

/// Applies the differences from `old` to `new` to `live`, wherever `live` still equals `old`.
pub(super) fn carried(live: &Value, old: &Value, new: &Value) -> Value {
    if live == old {
        return new.clone();
    }
    match (live, old, new) {
        (Value::Object(live), Value::Object(old), Value::Object(new)) => {
            Value::Object(carried_fields(live, old, new))
        }
        (Value::Array(live), Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            let mut list = live.clone();
            for (old, new) in old.iter().zip(new).filter(|(old, new)| old != new) {
                for item in list.iter_mut().filter(|item| *item == old) {
                    *item = new.clone();
                }
            }
            Value::Array(list)
        }
        _ => live.clone(),
    }
}

fn carried_fields(
    live: &Map<String, Value>,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
) -> Map<String, Value> {
    let mut fields = live.clone();
    for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
        match (live.get(key), old.get(key), new.get(key)) {
            (Some(live), Some(old), Some(new)) => {
                fields.insert(key.clone(), carried(live, old, new));
            }
            (live, old, None) if live == old => {
                fields.remove(key);
            }
            (None, None, Some(new)) => {
                fields.insert(key.clone(), new.clone());
            }
            _ => {}
        }
    }
    fields
}

/// Sets the etcd tag in a `kubeadmConfigSpec`, or removes it to use kubeadm's default. External
/// etcd has none.
pub(super) fn set_etcd_tag(config: &mut Value, tag: Option<&str>) {
    if config.pointer("/clusterConfiguration/etcd/external").is_some_and(|found| !found.is_null()) {
        return;
    }
    match tag {
        Some(tag) => {
            let mut at = config;
            for key in ETCD_TAG {
                if !at.is_object() {
                    *at = json!({});
                }
                at = &mut at[key];
            }
            *at = json!(tag);
        }
        None => remove(config, &ETCD_TAG),
    }
}

/// Returns the etcd tag in a `kubeadmConfigSpec`.
pub(super) fn etcd_tag(config: &Value) -> Option<&str> {
    ETCD_TAG.iter().try_fold(config, |at, key| at.get(key))?.as_str()
}

/// Removes a field and empty parents.
fn remove(value: &mut Value, path: &[&str]) {
    let ([key, rest @ ..], Some(fields)) = (path, value.as_object_mut()) else { return };
    if let Some(field) = fields.get_mut(*key)
        && !rest.is_empty()
    {
        remove(field, rest);
    }
    let is_empty = fields.get(*key).and_then(Value::as_object).is_some_and(Map::is_empty);
    if rest.is_empty() || is_empty {
        fields.remove(*key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_the_version_follows_and_what_somebody_changed_stays() {
        let file = |path: &str, content: &str| json!({ "path": path, "content": content });
        let old = json!({ "files": [file("a", "1"), file("b", "x")], "run": "v1", "gone": 1 });
        let new = json!({ "files": [file("a", "2"), file("b", "x")], "run": "v2", "come": 1 });
        for (live, wanted) in [
            (old.clone(), new.clone()),
            (
                json!({ "files": [file("own", ""), file("a", "1")], "run": "v1", "gone": 1 }),
                json!({ "files": [file("own", ""), file("a", "2")], "run": "v2", "come": 1 }),
            ),
            (
                json!({ "files": [file("a", "mine")], "run": "mine", "gone": 2 }),
                json!({ "files": [file("a", "mine")], "run": "mine", "gone": 2, "come": 1 }),
            ),
            (json!("mine"), json!("mine")),
        ] {
            assert_eq!(carried(&live, &old, &new), wanted, "{live}");
        }
        assert_eq!(carried(&old, &old, &old), old);
    }

    #[test]
    fn the_tag_of_etcd_is_that_of_the_image() {
        let with = |tag: &str| json!({ "clusterConfiguration": { "etcd": { "local": { "imageTag": tag } } } });
        let external =
            json!({ "clusterConfiguration": { "etcd": { "external": { "endpoints": [] } } } });
        let more = json!({ "clusterConfiguration": { "etcd": { "local": { "imageTag": "a", "dataDir": "/e" } } } });
        let rest = json!({ "clusterConfiguration": { "etcd": { "local": { "dataDir": "/e" } } } });
        for (before, tag, after) in [
            (json!({}), Some("3.6.8-0"), with("3.6.8-0")),
            (with("3.5.1-0"), Some("3.6.8-0"), with("3.6.8-0")),
            (with("3.5.1-0"), None, json!({})),
            (more, None, rest),
            (json!({}), None, json!({})),
            (external.clone(), Some("3.6.8-0"), external),
        ] {
            let mut config = before.clone();
            set_etcd_tag(&mut config, tag);
            assert_eq!(config, after, "{before} {tag:?}");
        }
    }
}
