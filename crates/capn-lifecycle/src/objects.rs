//! Helpers for objects that all controllers use.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use capi_api::{Cluster, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::api::ObjectMeta;
use kube::core::Selector;
use kube::{Resource, ResourceExt as _};
use rand::seq::IndexedRandom as _;
use semver::Version;
use sha2::{Digest as _, Sha256};

/// Alphabet of generated names: without vowels, so that no words appear, and without 0, 1 and 3.
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of the random suffix of generated names.
const RANDOM_LENGTH: usize = 5;
/// Maximum length of a machine name: it becomes a host name and a label value.
const LONGEST_NAME: usize = 63;

/// Returns whether the object or its cluster is paused.
pub(crate) fn is_paused(cluster: Option<&Cluster>, meta: &ObjectMeta) -> bool {
    cluster.is_some_and(|cluster| cluster.spec.paused == Some(true))
        || annotation(meta, labels::PAUSED).is_some()
}

/// Returns the value of a label.
pub(crate) fn label<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(key).map(String::as_str)
}

/// Returns the value of an annotation.
pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Returns whether the object has a finalizer.
pub(crate) fn has_finalizer(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.as_ref().is_some_and(|list| list.iter().any(|f| f == finalizer))
}

/// Returns whether the object is being deleted.
pub(crate) fn is_deleting(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

/// Returns a label selector for the objects of a cluster.
pub(crate) fn of_cluster(cluster: &str) -> String {
    format!("{}={cluster}", labels::CLUSTER_NAME)
}

/// Returns the owner reference of a controller.
pub(crate) fn controller_of<K: Resource<DynamicType = ()>>(owner: &K) -> Option<OwnerReference> {
    owner.controller_owner_ref(&())
}

/// Returns an owner reference that only prevents garbage collection. `controller` is explicitly
/// false, like upstream does for objects of a cluster.
pub(crate) fn plain_owner<K: Resource<DynamicType = ()>>(owner: &K) -> Option<OwnerReference> {
    let reference = owner.owner_ref(&())?;
    Some(OwnerReference { controller: Some(false), ..reference })
}

/// Maximum size of a selector's keys and values, in bytes. It becomes part of a request path, which
/// servers limit to 8 KiB, and is evaluated for each event of each candidate object.
const LONGEST_SELECTOR: usize = 4096;

/// Returns whether a selector matches the labels of an object. An invalid, empty or too long
/// selector matches nothing.
///
/// The selector is evaluated directly: a [`Selector`] would copy all its values for each event.
pub(crate) fn selects(selector: &LabelSelector, meta: &ObjectMeta) -> bool {
    let labels = meta.labels.as_ref();
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let equal = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.iter().flatten();
    let is_empty = equal.clone().next().is_none() && expressions.clone().next().is_none();
    !is_empty
        && !is_too_long(selector)
        && equal.clone().all(|(key, wanted)| value(key) == Some(wanted))
        && expressions.clone().all(|expression| {
            let found = value(&expression.key);
            let is_listed = || {
                let values = expression.values.iter().flatten();
                found.is_some_and(|found| values.clone().any(|value| value == found))
            };
            match expression.operator.as_str() {
                "In" => is_listed(),
                "NotIn" => !is_listed(),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// Returns whether a selector exceeds the size limit.
fn is_too_long(selector: &LabelSelector) -> bool {
    length(selector) > LONGEST_SELECTOR
}

/// Returns the size of the keys and values in bytes, plus one separator each.
fn length(selector: &LabelSelector) -> usize {
    let equal = selector.match_labels.iter().flatten();
    let equal = equal.map(|(key, value)| key.len() + value.len() + 2);
    let expressions = selector.match_expressions.iter().flatten().map(|expression| {
        let values = expression.values.iter().flatten();
        expression.key.len() + 1 + values.map(|value| value.len() + 1).sum::<usize>()
    });
    equal.chain(expressions).sum()
}

/// Checks the size of a selector.
///
/// # Errors
///
/// A message if it is too long.
pub(crate) fn check_length(selector: &LabelSelector) -> Result<(), String> {
    match length(selector) {
        length if length > LONGEST_SELECTOR => {
            Err(format!("has {length} bytes of keys and values; the limit is {LONGEST_SELECTOR}"))
        }
        _ => Ok(()),
    }
}

/// Validates a selector that must not be empty.
///
/// # Errors
///
/// A message with the problem.
pub(crate) fn check_selector(selector: &LabelSelector) -> Result<(), String> {
    check_length(selector)?;
    match Selector::try_from(selector.clone()) {
        Err(error) => Err(format!("is invalid: {error}")),
        Ok(selector) if selector.selects_all() => Err("must not be empty".to_owned()),
        Ok(_) => Ok(()),
    }
}

/// Formats a selector for the scale subresource and for lists. `None` if it is invalid, empty or
/// too long.
pub(crate) fn selector_text(selector: &LabelSelector) -> Option<String> {
    if is_too_long(selector) {
        return None;
    }
    let text = Selector::try_from(selector.clone()).ok()?.to_string();
    (!text.is_empty()).then_some(text)
}

/// Parses a Kubernetes version, with or without the leading `v`.
pub(crate) fn version(text: &str) -> Option<Version> {
    Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()
}

/// Returns five random characters.
pub(crate) fn random() -> String {
    let mut rng = rand::rng();
    (0..RANDOM_LENGTH)
        .filter_map(|_| NAME_ALPHABET.choose(&mut rng))
        .map(|b| char::from(*b))
        .collect()
}

/// Returns a name as a label value: unchanged, or a hash if it is too long.
pub(crate) fn label_value(name: &str) -> String {
    if name.len() <= LONGEST_NAME {
        return name.to_owned();
    }
    let digest = hex::encode(Sha256::digest(name.as_bytes()));
    format!("hash_{}_z", digest.get(..8).unwrap_or_default())
}

/// Renders a naming template: `{{ .cluster.name }}`, `{{ .machineSet.name }}` and `{{ .random }}`.
/// A name that is too long is truncated to 58 characters and gets `random` appended, so that it
/// stays unique.
///
/// # Errors
///
/// A message if the template is invalid.
pub(crate) fn machine_name(
    template: &str,
    cluster: &str,
    set: &str,
    random: &str,
) -> Result<String, String> {
    let mut name = String::new();
    let mut uses_random = false;
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (variable, after) =
            after.split_once("}}").ok_or_else(|| "a {{ without }}".to_owned())?;
        name.push_str(before);
        match variable.trim() {
            ".cluster.name" => name.push_str(cluster),
            ".machineSet.name" => name.push_str(set),
            ".random" => {
                uses_random = true;
                name.push_str(random);
            }
            other => return Err(format!("the naming template must not use {{{{ {other} }}}}")),
        }
        rest = after;
    }
    name.push_str(rest);
    if !uses_random {
        return Err("the naming template must use {{ .random }}".to_owned());
    }
    if name.len() > LONGEST_NAME {
        let kept: String = name.chars().take(LONGEST_NAME - RANDOM_LENGTH).collect();
        name = format!("{kept}{random}");
    }
    Ok(name)
}

/// Returns a hash that changes with the spec of an object.
pub(crate) fn generation<K: Resource>(object: &K) -> Option<u64> {
    object.meta().generation.map(i64::cast_unsigned)
}

pub(crate) fn cluster_essence(cluster: &Cluster) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    cluster.meta().generation.hash(&mut hasher);
    cluster.meta().deletion_timestamp.is_some().hash(&mut hasher);
    cluster.annotations().hash(&mut hasher);
    cluster.labels().hash(&mut hasher);
    cluster.infrastructure_provisioned().hash(&mut hasher);
    cluster.control_plane_initialized().hash(&mut hasher);
    // An upgrade of the control plane blocks workers.
    let control_plane = cluster.status.as_ref().and_then(|status| status.control_plane.as_ref());
    for version in control_plane.and_then(|counts| counts.versions.as_ref()).into_iter().flatten() {
        version.version.hash(&mut hasher);
    }
    let conditions = cluster.status.as_ref().and_then(|status| status.conditions.as_ref());
    for kind in [
        capi_api::conditions::INFRASTRUCTURE_READY,
        capi_api::conditions::CONTROL_PLANE_INITIALIZED,
        capi_api::conditions::CONTROL_PLANE_AVAILABLE,
        capi_api::conditions::REMOTE_CONNECTION_PROBE,
    ] {
        capi_api::conditions::status(conditions, kind).hash(&mut hasher);
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
    use kube::core::SelectorExt as _;

    use super::*;

    #[test]
    fn names_follow_the_template_and_stay_unique_when_cut() {
        let long = "s".repeat(70);
        for (template, set, expected) in [
            ("{{ .machineSet.name }}-{{ .random }}", "md-x", Ok("md-x-abcde".to_owned())),
            ("{{.cluster.name}}-{{.random}}", "md-x", Ok("c-abcde".to_owned())),
            (
                "{{ .machineSet.name }}-{{ .random }}",
                long.as_str(),
                Ok(format!("{}abcde", "s".repeat(58))),
            ),
        ] {
            assert_eq!(machine_name(template, "c", set, "abcde"), expected, "{template}");
        }
        for template in ["{{ .machineSet.name }}", "{{ .random", "{{ .random }}-{{ upper .x }}"] {
            assert!(machine_name(template, "c", "s", "abcde").is_err(), "{template}");
        }
    }

    #[test]
    fn random_parts_have_five_characters_of_the_alphabet() {
        for _ in 0..100 {
            let part = random();
            assert_eq!(part.len(), 5);
            assert!(part.bytes().all(|b| NAME_ALPHABET.contains(&b)), "{part}");
        }
    }

    #[test]
    fn long_names_are_hashed_for_labels() {
        assert_eq!(label_value("short"), "short");
        let value = label_value(&"x".repeat(64));
        assert!(value.starts_with("hash_") && value.ends_with("_z") && value.len() < 63, "{value}");
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        let meta = ObjectMeta {
            labels: Some(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
            ..ObjectMeta::default()
        };
        let selector = |value: &str| LabelSelector {
            match_labels: Some(BTreeMap::from([("a".to_owned(), value.to_owned())])),
            ..LabelSelector::default()
        };
        assert!(!selects(&LabelSelector::default(), &meta));
        assert!(selects(&selector("b"), &meta));
        assert!(!selects(&selector("c"), &meta));
        assert_eq!(selector_text(&selector("b")).as_deref(), Some("a=b"));
    }

    #[test]
    fn a_selector_matches_as_that_of_kube_does() {
        use serde_json::json;
        let of = |selector: serde_json::Value| -> LabelSelector {
            serde_json::from_value(selector).unwrap()
        };
        let expression = |key: &str, operator: &str, values: &[&str]| json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] });
        let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        for selector in [
            json!({ "matchLabels": { "a": "b" } }),
            json!({ "matchLabels": { "a": "b", "c": "" } }),
            expression("a", "In", &["b", "c"]),
            expression("a", "NotIn", &["b", "c"]),
            expression("a", "Exists", &[]),
            expression("a", "DoesNotExist", &[]),
            json!({ "matchLabels": { "c": "" }, "matchExpressions": [
                { "key": "a", "operator": "NotIn", "values": ["x"] }, { "key": "c", "operator": "Exists" },
            ]}),
        ] {
            let selector = of(selector);
            let by_kube = Selector::try_from(selector.clone()).unwrap();
            for have in [
                labels(&[]),
                labels(&[("a", "b")]),
                labels(&[("a", "x")]),
                labels(&[("c", "")]),
                labels(&[("a", "b"), ("c", "")]),
                labels(&[("a", "c"), ("c", "d")]),
            ] {
                let meta = ObjectMeta { labels: Some(have.clone()), ..ObjectMeta::default() };
                let expected = by_kube.matches(&have);
                assert_eq!(selects(&selector, &meta), expected, "{selector:?} {have:?}");
            }
        }
        let odd = of(json!({ "matchExpressions": [{ "key": "a", "operator": "Near" }] }));
        assert!(!selects(&odd, &ObjectMeta::default()));
    }

    #[test]
    fn a_selector_that_is_too_long_selects_nothing_and_is_refused() {
        let of = |count: usize| LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "a".into(),
                operator: "NotIn".into(),
                values: Some((0..count).map(|at| format!("{at:09}")).collect()),
            }]),
            ..LabelSelector::default()
        };
        let meta = ObjectMeta::default();
        let (fits, too_long) = (of(409), of(410));
        assert!(selects(&fits, &meta) && check_selector(&fits).is_ok());
        assert!(selector_text(&fits).is_some_and(|text| text.len() <= LONGEST_SELECTOR + 10));
        assert!(!selects(&too_long, &meta) && selector_text(&too_long).is_none());
        assert_eq!(
            check_selector(&too_long),
            Err("has 4102 bytes of keys and values; the limit is 4096".into())
        );
    }
}
