//! Worker pools: one MachineDeployment each, with templates of the same name.

use std::collections::BTreeMap;

use capi_api::labels;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::request::ClusterRequest;

/// Name of the default pool.
pub const DEFAULT_POOL: &str = "md-0";
/// Maximum number of pools per cluster.
pub const MAX_POOLS: usize = 50;
/// Maximum number of workers per pool.
pub const MAX_WORKERS: u32 = 999;
/// Suffix that a MachineDeployment adds to machine names.
const SUFFIX: usize = "-xxxxx-xxxxx".len();

/// A pool of identical workers. Unset fields are inherited from the cluster.
// Recorded in an annotation of its MachineDeployment. New fields need a default, since existing
// pools were recorded without them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct Pool {
    /// Name of the pool; its MachineDeployment is named CLUSTER-POOL.
    pub name: String,
    /// Number of workers; the default for a new pool is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 999))]
    pub workers: Option<u32>,
    /// Size of the machines, for example c2-m4 for 2 CPUs and 4 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<String>,
    /// Image of the machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Profiles of the machines, instead of the cluster's profiles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Devices of the machines, as NAME,KEY=VALUE,..., in addition to the cluster's devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Instance configuration of the machines, in addition to the cluster's configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Labels of the nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints of the nodes when they join, as KEY=VALUE:EFFECT or KEY:EFFECT.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<String>,
}

/// The component that sets a label on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labeller {
    /// kubelet, when the node registers.
    Kubelet,
    /// Cluster API, from the Machine: labels that a kubelet may not set on itself.
    Machine,
}

impl Pool {
    /// Creates a pool that inherits everything.
    pub fn plain(name: &str, workers: u32) -> Self {
        Self { name: name.to_owned(), workers: Some(workers), ..Self::default() }
    }

    /// Returns the number of workers.
    pub fn count(&self) -> u32 {
        self.workers.unwrap_or(1)
    }

    /// Returns whether its nodes have labels or taints.
    pub fn marks_nodes(&self) -> bool {
        !self.labels.is_empty() || !self.taints.is_empty()
    }

    /// Returns whether it equals the default pool.
    fn is_default(&self) -> bool {
        *self == Self::plain(DEFAULT_POOL, self.count())
    }

    /// Returns the pool with unset fields taken from `recorded`.
    #[must_use]
    pub fn over(&self, recorded: &Self) -> Self {
        fn list<T: Clone>(given: &[T], recorded: &[T]) -> Vec<T> {
            if given.is_empty() { recorded.to_vec() } else { given.to_vec() }
        }
        type Map = BTreeMap<String, String>;
        let map = |given: &Map, recorded: &Map| {
            if given.is_empty() { recorded.clone() } else { given.clone() }
        };
        Self {
            name: self.name.clone(),
            workers: self.workers.or(recorded.workers),
            flavor: self.flavor.clone().or_else(|| recorded.flavor.clone()),
            image: self.image.clone().or_else(|| recorded.image.clone()),
            profiles: list(&self.profiles, &recorded.profiles),
            devices: list(&self.devices, &recorded.devices),
            config: map(&self.config, &recorded.config),
            labels: map(&self.labels, &recorded.labels),
            taints: list(&self.taints, &recorded.taints),
        }
    }

    /// Validates name, number of workers, labels and taints for a cluster with this name.
    ///
    /// # Errors
    ///
    /// Returns the violated rule.
    pub fn check(&self, cluster: &str) -> Result<(), String> {
        let name = self.name.as_str();
        let is_of_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let longest = 63_usize.saturating_sub(cluster.len() + 1 + SUFFIX);
        let problem = match name {
            "" => "it is empty".to_owned(),
            "control-plane" => "the objects of the control plane have that name".to_owned(),
            _ if name.len() > longest => format!(
                "with cluster `{cluster}` the name can have at most {longest} characters, because instance names are limited to 63"
            ),
            _ if !name.chars().all(is_of_label) || name.starts_with('-') || name.ends_with('-') => {
                "use lowercase letters, digits, and `-` between them".to_owned()
            }
            _ if self.count() > MAX_WORKERS => format!("it can have at most {MAX_WORKERS} workers"),
            _ => {
                for (key, value) in &self.labels {
                    labeller(key)?;
                    label_value(key, value)?;
                }
                return self.taints.iter().try_for_each(|text| taint(text).map(drop));
            }
        };
        Err(format!("`{name}` is not a valid pool: {problem}"))
    }

    /// Labels of its nodes that the given component sets.
    pub(super) fn labels_by(&self, who: Labeller) -> BTreeMap<String, String> {
        let given = self.labels.iter().filter(|(key, _)| labeller(key) == Ok(who));
        given.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Returns its taints, in kubeadm's format.
    pub(super) fn kubeadm_taints(&self) -> Vec<Value> {
        self.taints.iter().filter_map(|text| taint(text).ok()).collect()
    }
}

/// Parses `KEY=VALUE`, where the value may be empty, or `KEY`.
///
/// # Errors
///
/// Returns a message if it is not a valid node label.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    labeller(key)?;
    label_value(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Parses `KEY[=VALUE]:EFFECT`.
///
/// # Errors
///
/// Returns a message if it is not a valid taint.
pub fn taint(text: &str) -> Result<Value, String> {
    let form = || format!("`{text}` is not a taint (expected KEY=VALUE:EFFECT or KEY:EFFECT)");
    let (what, effect) = text.rsplit_once(':').ok_or_else(form)?;
    let (key, value) = what.split_once('=').unwrap_or((what, ""));
    if !is_key(key) || !is_part(value, true) {
        return Err(form());
    }
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        return Err(format!(
            "`{effect}` is not a taint effect; use NoSchedule, PreferNoSchedule or NoExecute"
        ));
    }
    let mut taint = json!({ "key": key, "effect": effect });
    if !value.is_empty() {
        taint["value"] = json!(value);
    }
    Ok(taint)
}

fn label_value(key: &str, value: &str) -> Result<(), String> {
    match is_part(value, true) {
        true => Ok(()),
        false => Err(format!("`{value}` is not a valid value of label `{key}`")),
    }
}

/// Labels in Kubernetes domains that a kubelet may set on itself (NodeRestriction admission).
const OF_KUBELET: [&str; 8] = [
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
];

/// Returns the component that can set a label on a node.
///
/// # Errors
///
/// Returns a message if the key is invalid or no component may set it.
pub fn labeller(key: &str) -> Result<Labeller, String> {
    if !is_key(key) {
        return Err(format!("`{key}` is not a valid label key"));
    }
    let Some((domain, _)) = key.split_once('/') else { return Ok(Labeller::Kubelet) };
    let within = |of: &str| domain == of || domain.ends_with(&format!(".{of}"));
    let by_machine = domain == labels::NODE_ROLE_PREFIX
        || within(labels::NODE_RESTRICTION_DOMAIN)
        || within(labels::MANAGED_NODE_DOMAIN);
    if by_machine {
        return Ok(Labeller::Machine);
    }
    let is_reserved = within("kubernetes.io") || within("k8s.io");
    let is_allowed = within("kubelet.kubernetes.io")
        || within("node.kubernetes.io")
        || OF_KUBELET.contains(&key);
    match is_reserved && !is_allowed {
        true => Err(format!(
            "label `{key}` uses a domain that kubelets may not set; use your own domain, or node-role.kubernetes.io/"
        )),
        false => Ok(Labeller::Kubelet),
    }
}

fn is_key(key: &str) -> bool {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    let is_domain = |domain: &str| {
        let is_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_label = |part: &str| {
            !part.is_empty()
                && part.chars().all(is_char)
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        domain.len() <= 253 && domain.split('.').all(is_label)
    };
    is_part(name, false) && domain.is_none_or(is_domain)
}

/// Returns whether the text is a valid label name, or a valid value, which may be empty.
fn is_part(text: &str, may_be_empty: bool) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let is_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text {
        "" => may_be_empty,
        _ => {
            text.len() <= 63
                && text.chars().all(is_char)
                && is_end(text.chars().next())
                && is_end(text.chars().last())
        }
    }
}

impl ClusterRequest {
    /// Returns the pools of the cluster.
    pub fn pools(&self) -> Vec<Pool> {
        match &self.pools {
            Some(pools) => pools.clone(),
            None => vec![Pool::plain(DEFAULT_POOL, self.workers)],
        }
    }

    /// Returns the request with these pools, sorted by name.
    #[must_use]
    pub fn with_pools(mut self, mut pools: Vec<Pool>) -> Self {
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        for pool in &mut pools {
            pool.workers = Some(pool.count());
        }
        self.workers = pools.iter().fold(0, |sum, pool| sum.saturating_add(pool.count()));
        // Format used by releases before pools existed.
        let is_default = matches!(pools.as_slice(), [only] if only.is_default());
        self.pools = (!is_default).then_some(pools);
        self
    }

    /// Returns the name of a pool's MachineDeployment and of its templates.
    pub fn deployment_name(&self, pool: &str) -> String {
        deployment_name(&self.name, pool)
    }

    /// Returns the request as it applies to the machines of a pool.
    #[must_use]
    pub fn of_pool(&self, pool: &Pool) -> Self {
        let mut request = self.clone();
        request.workers = pool.count();
        request.pools = None;
        request.image = pool.image.clone().or(request.image);
        request.flavor = pool.flavor.clone().or(request.flavor);
        if !pool.profiles.is_empty() {
            request.profiles.clone_from(&pool.profiles);
        }
        request.devices.extend(pool.devices.iter().cloned());
        request.config.extend(pool.config.clone());
        request
    }
}

/// Returns the name of a pool's MachineDeployment and of its templates.
pub fn deployment_name(cluster: &str, pool: &str) -> String {
    format!("{cluster}-{pool}")
}

#[cfg(test)]
mod tests {
    use super::super::request::testing::demo;
    use super::*;

    #[test]
    fn a_cluster_has_one_pool_unless_more_are_named() {
        assert_eq!(demo().pools(), [Pool::plain("md-0", 1)]);
        let three = demo().with_pools(vec![Pool::plain("md-0", 3)]);
        assert_eq!((three.workers, &three.pools), (3, &None));
        let two = demo().with_pools(vec![Pool::plain("md-0", 3), Pool::plain("gpu", 2)]);
        assert_eq!(two.workers, 5);
        let names: Vec<String> = two.pools().into_iter().map(|pool| pool.name).collect();
        assert_eq!(names, ["gpu", "md-0"]);
        assert_eq!(demo().with_pools(Vec::new()).pools(), []);
    }

    #[test]
    fn pool_names_that_yield_invalid_instance_names_are_refused() {
        for (name, is_fine) in [
            ("gpu", true),
            ("0", true),
            ("a-b", true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("A", false),
            ("a.b", false),
            ("control-plane", false),
            (&"a".repeat(46), true),
            (&"a".repeat(47), false),
        ] {
            assert_eq!(Pool::plain(name, 1).check("demo").is_ok(), is_fine, "{name}");
        }
        assert!(Pool::plain("a", 1000).check("demo").is_err());
    }

    #[test]
    fn labels_are_set_by_the_component_that_kubernetes_allows() {
        for (key, expected) in [
            ("gpu", Some(Labeller::Kubelet)),
            ("example.org/gpu", Some(Labeller::Kubelet)),
            ("node.kubernetes.io/instance-type", Some(Labeller::Kubelet)),
            ("topology.kubernetes.io/zone", Some(Labeller::Kubelet)),
            ("node-role.kubernetes.io/gpu", Some(Labeller::Machine)),
            ("a.node-restriction.kubernetes.io/b", Some(Labeller::Machine)),
            ("node.cluster.x-k8s.io/b", Some(Labeller::Machine)),
            ("kubernetes.io/mine", None),
            ("app.k8s.io/mine", None),
            ("a b", None),
            ("/a", None),
            ("", None),
        ] {
            assert_eq!(labeller(key).ok(), expected, "{key}");
        }
        assert_eq!(label("a=b"), Ok(("a".into(), "b".into())));
        assert_eq!(label("a"), Ok(("a".into(), String::new())));
        assert!(label("a=b c").is_err());
    }

    #[test]
    fn taints_use_the_kubectl_syntax() {
        let gpu = json!({ "key": "gpu", "value": "true", "effect": "NoSchedule" });
        assert_eq!(taint("gpu=true:NoSchedule"), Ok(gpu));
        assert_eq!(taint("a/b:NoExecute"), Ok(json!({ "key": "a/b", "effect": "NoExecute" })));
        for text in ["gpu", "gpu=true", "gpu:Never", ":NoSchedule", "a b:NoSchedule"] {
            assert!(taint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pool_inherits_unset_fields_from_the_cluster() {
        let cluster = ClusterRequest {
            flavor: Some("c2-m4".into()),
            profiles: vec!["default".into()],
            devices: vec!["a,type=none".into()],
            config: [("x".to_owned(), "1".to_owned())].into(),
            ..demo()
        };
        let pool = Pool {
            profiles: vec!["gpu".into()],
            devices: vec!["gpu,type=gpu".into()],
            config: [("y".to_owned(), "2".to_owned())].into(),
            ..Pool::plain("gpu", 4)
        };
        let found = cluster.of_pool(&pool);
        assert_eq!(found.flavor.as_deref(), Some("c2-m4"));
        assert_eq!((found.workers, found.profiles), (4, vec!["gpu".to_owned()]));
        assert_eq!(found.devices, ["a,type=none", "gpu,type=gpu"]);
        assert_eq!(found.config.len(), 2);
    }

    #[test]
    fn a_pool_keeps_recorded_values_for_unset_fields() {
        let recorded = Pool { flavor: Some("c2-m4".into()), ..Pool::plain("gpu", 4) };
        let given = Pool { name: "gpu".into(), ..Pool::default() };
        assert_eq!(given.over(&recorded), recorded);
        let given = Pool::plain("gpu", 2);
        assert_eq!(given.over(&recorded).workers, Some(2));
    }
}
