//! Differences between an existing cluster and a request.

use camino::Utf8PathBuf;
use serde::Serialize;
use serde_json::Value;

use super::request::ClusterRequest;

/// An option whose value differs from the existing cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Name of the option, such as `--workers`.
    pub option: String,
    /// Current value.
    pub is: String,
    /// Requested value.
    pub asked: String,
}

/// Returns all differences, sorted by option. Omits numbers of machines and new pools, since those
/// can be changed.
pub fn differences(is: &ClusterRequest, asked: &ClusterRequest) -> Vec<Difference> {
    // Where credentials are read from is not a property of the cluster.
    let (is, asked) = (&without_places(is), &without_places(asked));
    let mut found = of_fields(is, asked, &["imageFacts", "controlPlanes", "workers", "pools"]);
    for pool in asked.pools() {
        let Some(before) = is.pools().into_iter().find(|before| before.name == pool.name) else {
            continue;
        };
        let of_pool = of_fields(&before, &pool, &["workers"]).into_iter().map(|difference| {
            let option = difference.option.trim_start_matches('-');
            Difference { option: format!("{option} of pool `{}`", pool.name), ..difference }
        });
        found.extend(of_pool);
    }
    found
}

fn without_places(request: &ClusterRequest) -> ClusterRequest {
    let mut request = request.clone();
    for registry in &mut request.settings.registries {
        registry.credentials_file = registry.credentials_file.take().map(|_| Utf8PathBuf::new());
    }
    request
}

/// Differences between the fields of two values, except for some fields.
fn of_fields<T: Serialize>(is: &T, asked: &T, without: &[&str]) -> Vec<Difference> {
    let fields = |value: &T| match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (is, asked) = (fields(is), fields(asked));
    let mut names: Vec<&String> = is.keys().chain(asked.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| !without.contains(&name.as_str()) && is.get(*name) != asked.get(*name))
        .map(|name| match OF_FILES.contains(&name.as_str()) {
            // Possibly long, and only relevant to the nodes.
            true => Difference {
                option: name.clone(),
                is: "unchanged".to_owned(),
                asked: "as in the file".to_owned(),
            },
            false => Difference {
                option: option(name),
                is: shown(is.get(name)),
                asked: shown(asked.get(name)),
            },
        })
        .collect()
}

/// Fields that only a configuration file can set.
const OF_FILES: [&str; 8] = [
    "kubelet",
    "apiServer",
    "containerd",
    "registries",
    "proxy",
    "files",
    "preKubeadmCommands",
    "postKubeadmCommands",
];

/// Returns the option name of a field: `controlPlanes` is set with `--control-planes`.
fn option(field: &str) -> String {
    let field = match field {
        "profiles" => "profile",
        "devices" => "device",
        "imageServers" => "imageServer",
        "loadBalancerProfiles" => "loadBalancerProfile",
        "loadBalancerRanges" => "loadBalancerRange",
        other => other,
    };
    let mut option = String::from("--");
    for character in field.chars() {
        if character.is_ascii_uppercase() {
            option.push('-');
        }
        option.push(character.to_ascii_lowercase());
    }
    option
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "unset".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::testing::demo;
    use super::*;

    #[test]
    fn a_request_does_not_differ_from_itself() {
        assert_eq!(differences(&demo(), &demo()), []);
    }

    #[test]
    fn file_settings_are_named_without_their_values() {
        let with = |path: &str, content: &str| {
            let settings = serde_json::json!({
                "registries": [{ "host": "a", "mirrors": ["http://b"], "credentialsFile": path }],
                "files": [{ "path": "/a", "content": content }],
            });
            ClusterRequest { settings: serde_json::from_value(settings).unwrap(), ..demo() }
        };
        assert_eq!(differences(&with("/a", "x"), &with("/b", "x")), []);
        let found = differences(&with("/a", "secret"), &with("/a", "other"));
        let said: Vec<String> = found
            .iter()
            .map(|found| format!("{} is {}, not {}", found.option, found.is, found.asked))
            .collect();
        assert_eq!(said, ["files is unchanged, not as in the file"]);
    }

    #[test]
    fn differences_are_named_by_option() {
        let asked = ClusterRequest {
            control_planes: 3,
            kubernetes_version: Some("v1.37.0".into()),
            image: Some("mine".into()),
            profiles: vec!["a".into()],
            ..demo()
        };
        let found: Vec<String> = differences(&demo(), &asked)
            .into_iter()
            .map(|d| format!("{} {} {}", d.option, d.is, d.asked))
            .collect();
        assert_eq!(
            found,
            [
                "--image unset mine",
                "--kubernetes-version v1.36.0 v1.37.0",
                "--profile unset [\"a\"]",
            ]
        );
    }
}
