//! What differs between a cluster as it was made and as it is asked for now.

use serde_json::Value;

use super::request::ClusterRequest;

/// One option whose value is not what the cluster was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The option, as `--workers`.
    pub option: String,
    /// The value the cluster has.
    pub is: String,
    /// The value that is asked for.
    pub asked: String,
}

/// All differences, by name of the option.
pub fn differences(is: &ClusterRequest, asked: &ClusterRequest) -> Vec<Difference> {
    let fields = |request: &ClusterRequest| match serde_json::to_value(request) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (is, asked) = (fields(is), fields(asked));
    let mut names: Vec<&String> = is.keys().chain(asked.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        // Facts of an image are found out, not asked for.
        .filter(|name| *name != "imageFacts" && is.get(*name) != asked.get(*name))
        .map(|name| Difference {
            option: option(name),
            is: shown(is.get(name)),
            asked: shown(asked.get(name)),
        })
        .collect()
}

/// `controlPlanes` is set with `--control-planes`.
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
    fn differences_are_named_by_their_options() {
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
                "--control-planes 1 3",
                "--image unset mine",
                "--kubernetes-version v1.36.0 v1.37.0",
                "--profile unset [\"a\"]",
            ]
        );
    }
}
