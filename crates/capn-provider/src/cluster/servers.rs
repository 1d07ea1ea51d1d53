//! Properties of a server, queried rarely: whether it is suitable for nodes, and its failure
//! domains. They are shown in the status of LXCClusters and block nothing.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use capi_api::conditions::Status;
use capn_api::{FailureDomain, LXCCluster, LoadBalancerKind, conditions::reasons};
use capn_doctor::{
    Finding, Severity,
    facts::{FactsError, InstanceFacts, ServerFacts},
    rules,
};
use capn_plan::{devices, domains, launch, network::nic::ClusterNic};
use incus_api::Devices;
use tokio::{sync, time::Instant};

use super::observe::References;
use crate::{failure::chain, remote::Remote};

/// How long an answer is cached.
const HOLDS: Duration = Duration::from_secs(3600);
/// How long the members of a cluster of servers are cached.
const MEMBERS_HOLD: Duration = Duration::from_secs(600);
/// How long a failed query is cached.
const FAILURE_HOLDS: Duration = Duration::from_secs(60);
/// Maximum number of cached answers per server. Its users may write any number of specs.
const MAX_ANSWERS: usize = 64;
/// Deadline for all queries.
const DEADLINE: Duration = Duration::from_secs(15);
/// Maximum length of a condition message, in characters. The API accepts 32768 bytes.
const LONGEST: usize = 4000;

/// Status, reason and message of a condition.
pub(crate) type ConditionValue = (Status, &'static str, String);

/// What new instances of a cluster get: profiles, and devices that override those of the profiles.
type Shape = (Vec<String>, Vec<(String, Vec<(String, String)>)>);

/// Properties of a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServerInfo {
    /// Whether it is suitable for nodes. `None` until there is something to check.
    pub(crate) health: Option<ConditionValue>,
    /// Failure domains. `None` if the server could not be queried.
    pub(crate) domains: Option<Vec<FailureDomain>>,
}

/// Cached answers of the servers. They can be lost at any time.
#[derive(Default)]
pub(crate) struct Servers(Mutex<HashMap<usize, Entry>>);

struct Entry {
    remote: Weak<Remote>,
    answers: Arc<sync::Mutex<CachedAnswers>>,
}

#[derive(Default)]
struct CachedAnswers {
    health: HashMap<BTreeSet<Shape>, (Instant, ConditionValue)>,
    domains: Option<(Instant, Option<Vec<FailureDomain>>)>,
}

impl Servers {
    /// Returns the properties of the server for the instances of one cluster. Queries the server at
    /// most once an hour (members of a cluster of servers every ten minutes), and again for
    /// instances with other profiles or devices.
    ///
    /// # Cancellation
    ///
    /// Another task that waits for the same answer takes over the query.
    pub(crate) async fn query(
        &self,
        remote: &Arc<Remote>,
        cluster: &LXCCluster,
        found: &References,
    ) -> ServerInfo {
        let answers = self.answers(remote);
        let mut answers = answers.lock().await;
        let shapes = shapes(cluster, found);
        let health =
            if shapes.is_empty() { None } else { Some(answers.health(remote, shapes).await) };
        ServerInfo { health, domains: answers.domains(remote).await }
    }

    fn answers(&self, remote: &Arc<Remote>) -> Arc<sync::Mutex<CachedAnswers>> {
        // A new connection, after a Secret changed, may lead to another server.
        let key = Arc::as_ptr(remote) as usize;
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| entry.remote.strong_count() > 0);
        let entry = entries
            .entry(key)
            .or_insert_with(|| Entry { remote: Arc::downgrade(remote), answers: Arc::default() });
        entry.answers.clone()
    }
}

impl CachedAnswers {
    async fn health(&mut self, remote: &Remote, shapes: BTreeSet<Shape>) -> ConditionValue {
        let now = Instant::now();
        self.health.retain(|_, (until, _)| *until > now);
        if let Some((_, condition)) = self.health.get(&shapes) {
            return condition.clone();
        }
        let asked = tokio::time::timeout(DEADLINE, findings(remote, &shapes)).await;
        let (holds, condition) = match asked {
            Ok(Ok(findings)) => (HOLDS, condition(&findings)),
            Ok(Err((holds, message))) => (holds, not_checked(message)),
            Err(_) => (FAILURE_HOLDS, not_checked("the server does not respond".to_owned())),
        };
        if self.health.len() >= MAX_ANSWERS {
            let first = self.health.iter().min_by_key(|(_, (until, _))| *until);
            if let Some(shapes) = first.map(|(shapes, _)| shapes.clone()) {
                self.health.remove(&shapes);
            }
        }
        self.health.insert(shapes, (Instant::now() + holds, condition.clone()));
        condition
    }

    async fn domains(&mut self, remote: &Remote) -> Option<Vec<FailureDomain>> {
        if !remote.facts().clustered {
            return Some(Vec::new());
        }
        if let Some((until, domains)) = &self.domains
            && *until > Instant::now()
        {
            return domains.clone();
        }
        let asked = tokio::time::timeout(DEADLINE, remote.client.cluster_members()).await;
        let (holds, domains) = match asked {
            Ok(Ok(members)) => (MEMBERS_HOLD, Some(domains::of_members(&members))),
            Ok(Err(error)) => {
                tracing::debug!(error = chain(&error), "cannot list the members of a cluster");
                (FAILURE_HOLDS, None)
            }
            Err(_) => (FAILURE_HOLDS, None),
        };
        self.domains = Some((Instant::now() + holds, domains.clone()));
        domains
    }
}

/// Returns what the instances of a cluster get, for current and future instances.
fn shapes(cluster: &LXCCluster, found: &References) -> BTreeSet<Shape> {
    // The NIC that profiles usually have, on the network that the cluster sets.
    let network = cluster.status.as_ref().and_then(|status| status.network.as_deref());
    let cluster_nic = network.map(|network| ClusterNic::replacing(&Devices::new(), network));
    let balancer = match cluster.spec.load_balancer.kind() {
        Some(LoadBalancerKind::Lxc(wanted) | LoadBalancerKind::Oci(wanted)) => {
            let spec = &wanted.instance_spec;
            let root = (!spec.storage_pool.is_empty()).then(|| {
                let disk = launch::root_disk(&spec.storage_pool);
                (launch::ROOT_DEVICE.to_owned(), disk.into_iter().collect())
            });
            let nic = cluster_nic.as_ref().map(|it| (it.device.clone(), it.config()));
            let nic = nic.map(|(name, nic)| (name, nic.into_iter().collect()));
            Some((spec.profiles.clone(), nic.into_iter().chain(root).collect()))
        }
        _ => None,
    };
    let machines = found.machines.iter().map(|machine| {
        // Invalid device strings are reported by the machine itself.
        let mut devices = devices::parse(&machine.spec.devices).unwrap_or_default();
        if let Some(cluster_nic) = &cluster_nic {
            cluster_nic.put_into(&mut devices);
        }
        let devices = devices
            .into_iter()
            .map(|(name, device)| (name, device.into_iter().collect()))
            .collect();
        (machine.spec.profiles.clone(), devices)
    });
    balancer.into_iter().chain(machines).collect()
}

/// Returns the problems of the server, or why it could not be checked, and how long to cache the
/// result.
async fn findings(
    remote: &Remote,
    shapes: &BTreeSet<Shape>,
) -> Result<Vec<Finding>, (Duration, String)> {
    let server = remote.client.server().await.map_err(|error| (FAILURE_HOLDS, chain(&error)))?;
    let mut all: Vec<Finding> = Vec::new();
    for (profiles, devices) in shapes {
        let devices: Devices = devices
            .iter()
            .map(|(name, device)| (name.clone(), device.iter().cloned().collect()))
            .collect();
        let instances = InstanceFacts::read(&remote.client, profiles, &devices)
            .await
            .map_err(|error| unknown(&error))?;
        // The number of isolated instances only matters compared with the ID ranges of the host.
        let facts = ServerFacts::new(&server, instances);
        for finding in rules::server_findings(&facts) {
            if !all.contains(&finding) {
                all.push(finding);
            }
        }
    }
    Ok(all)
}

/// Handles a query that failed. An identity that is restricted to a project cannot read global
/// settings, so retrying is pointless.
fn unknown(error: &FactsError) -> (Duration, String) {
    match error {
        FactsError::Ask { what, source } if is_restricted(source) => {
            let text = source.server_text().unwrap_or("forbidden");
            let means = "problems there only show when an instance is created";
            (HOLDS, format!("the identity has no permission to read {what} ({text}): {means}"))
        }
        other => (FAILURE_HOLDS, chain(other)),
    }
}

/// Incus 6.0 answers restricted certificates with status 500 where no permission exists.
fn is_restricted(error: &incus_client::Error) -> bool {
    let text = error.server_text().unwrap_or_default();
    error.is_forbidden() || text.contains("Certificate is restricted")
}

fn not_checked(message: String) -> ConditionValue {
    (Status::Unknown, reasons::SERVER_NOT_CHECKED, message)
}

/// Returns the condition: false if nodes cannot be created or do not work, true with a separate
/// reason if there are warnings. The message lists each problem, its effect and its fix, worst
/// first.
fn condition(findings: &[Finding]) -> ConditionValue {
    let mut wrong: Vec<_> = findings.iter().filter(|f| f.severity != Severity::Ok).collect();
    wrong.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let (status, reason) = match wrong.first().map(|finding| finding.severity) {
        Some(Severity::Problem) => (Status::False, reasons::SERVER_PROBLEMS),
        Some(_) => (Status::True, reasons::SERVER_WARNINGS),
        None => (Status::True, reasons::SERVER_HEALTHY),
    };
    let texts: Vec<_> = wrong.iter().map(|finding| text(finding)).collect();
    (status, reason, texts.join("; ").chars().take(LONGEST).collect())
}

fn text(finding: &Finding) -> String {
    let Finding { severity, found, means, remedies, .. } = finding;
    let mut text = format!("{severity}: {found}");
    if !means.is_empty() {
        text = format!("{text} ({means})");
    }
    if !remedies.is_empty() {
        text = format!("{text}. To fix it: {}", remedies.join(", or "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use capn_api::LXCMachine;
    use serde_json::json;

    fn finding(severity: Severity, found: &str, fix: &[&str]) -> Finding {
        Finding {
            id: "x",
            severity,
            found: found.into(),
            means: "nodes fail".into(),
            remedies: fix.iter().map(|fix| (*fix).to_owned()).collect(),
            fix: None,
        }
    }

    #[test]
    fn the_worst_finding_decides_and_each_names_its_fix() {
        let fine = Finding { means: String::new(), ..finding(Severity::Ok, "fine", &[]) };
        let weak = finding(Severity::Warning, "old kernel", &["apt upgrade"]);
        let bad = finding(Severity::Problem, "no pool", &["incus storage create a dir", "other"]);
        for (findings, status, reason, message) in [
            (vec![fine.clone()], Status::True, reasons::SERVER_HEALTHY, ""),
            (
                vec![fine, weak.clone()],
                Status::True,
                reasons::SERVER_WARNINGS,
                "warning: old kernel (nodes fail). To fix it: apt upgrade",
            ),
            (
                vec![weak, bad],
                Status::False,
                reasons::SERVER_PROBLEMS,
                "problem: no pool (nodes fail). To fix it: incus storage create a dir, or other; warning: old kernel (nodes fail). To fix it: apt upgrade",
            ),
        ] {
            assert_eq!(condition(&findings), (status, reason, message.to_owned()));
        }
    }

    #[test]
    fn identical_machines_are_checked_once() {
        let cluster = |balancer: serde_json::Value| -> LXCCluster {
            serde_json::from_value(json!({
                "metadata": { "name": "demo" }, "spec": { "loadBalancer": balancer },
            }))
            .unwrap()
        };
        let machine = |profiles: &[&str], devices: &[&str]| -> LXCMachine {
            serde_json::from_value(json!({
                "metadata": { "name": "a" }, "spec": { "profiles": profiles, "devices": devices },
            }))
            .unwrap()
        };
        let found = |machines: Vec<LXCMachine>| References { machines, ..References::default() };
        let lxc = cluster(json!({ "lxc": {} }));
        let external = cluster(json!({ "external": {} }));
        let plain = || machine(&[], &[]);
        let own = || machine(&["k8s"], &["eth0,type=nic,network=n"]);
        assert_eq!(shapes(&external, &found(vec![])).len(), 0, "nothing to ask for yet");
        assert_eq!(shapes(&lxc, &found(vec![])).len(), 1);
        assert_eq!(shapes(&lxc, &found(vec![plain(), plain()])).len(), 1);
        assert_eq!(shapes(&lxc, &found(vec![plain(), own(), own()])).len(), 2);
    }
}
