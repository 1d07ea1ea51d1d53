//! What a server tells of itself, asked rarely: whether it is fit for nodes, and its failure
//! domains. Shown in the status of LXCClusters; nothing waits for it.

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
use capn_plan::{devices, domains, launch, network::card::Wire};
use incus_api::Devices;
use tokio::{sync, time::Instant};

use super::observe::References;
use crate::{failure::chain, remote::Remote};

/// How long an answer holds.
const HOLDS: Duration = Duration::from_secs(3600);
/// How long members of a cluster of servers hold.
const MEMBERS_HOLD: Duration = Duration::from_secs(600);
/// How long a failure to ask holds.
const FAILURE_HOLDS: Duration = Duration::from_secs(60);
/// How long the server may take to answer everything.
const DEADLINE: Duration = Duration::from_secs(15);
/// Longest message of a condition, in characters; the API takes 32768 bytes.
const LONGEST: usize = 4000;

/// Status, reason and message of a condition.
pub(crate) type Verdict = (Status, &'static str, String);

/// What new instances of a cluster get: profiles, and devices over theirs.
type Shape = (Vec<String>, Vec<(String, Vec<(String, String)>)>);

/// What a server tells of itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    /// Whether it is fit for nodes; `None` before there is anything to ask for.
    pub(crate) health: Option<Verdict>,
    /// `None` where it could not be asked.
    pub(crate) domains: Option<Vec<FailureDomain>>,
}

/// The answers of the servers. Can be lost at any moment.
#[derive(Default)]
pub(crate) struct Servers(Mutex<HashMap<usize, Entry>>);

struct Entry {
    remote: Weak<Remote>,
    answers: Arc<sync::Mutex<Answers>>,
}

#[derive(Default)]
struct Answers {
    health: HashMap<BTreeSet<Shape>, (Instant, Verdict)>,
    domains: Option<(Instant, Option<Vec<FailureDomain>>)>,
}

impl Servers {
    /// What the server tells, for the instances of one cluster. Asks it once an hour at most
    /// (members of a cluster of servers every ten minutes), and again for instances with other
    /// profiles or devices.
    ///
    /// # Cancellation
    ///
    /// Whoever waits for the same answer asks then.
    pub(crate) async fn ask(
        &self,
        remote: &Arc<Remote>,
        cluster: &LXCCluster,
        found: &References,
    ) -> Told {
        let answers = self.answers(remote);
        let mut answers = answers.lock().await;
        let shapes = shapes(cluster, found);
        let health =
            if shapes.is_empty() { None } else { Some(answers.health(remote, shapes).await) };
        Told { health, domains: answers.domains(remote).await }
    }

    fn answers(&self, remote: &Arc<Remote>) -> Arc<sync::Mutex<Answers>> {
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

impl Answers {
    async fn health(&mut self, remote: &Remote, shapes: BTreeSet<Shape>) -> Verdict {
        let now = Instant::now();
        self.health.retain(|_, (until, _)| *until > now);
        if let Some((_, verdict)) = self.health.get(&shapes) {
            return verdict.clone();
        }
        let asked = tokio::time::timeout(DEADLINE, findings(remote, &shapes)).await;
        let (holds, verdict) = match asked {
            Ok(Ok(findings)) => (HOLDS, verdict(&findings)),
            Ok(Err((holds, message))) => (holds, not_checked(message)),
            Err(_) => (FAILURE_HOLDS, not_checked("the server does not answer".to_owned())),
        };
        self.health.insert(shapes, (Instant::now() + holds, verdict.clone()));
        verdict
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
                tracing::debug!(error = chain(&error), "cannot ask for the members of a cluster");
                (FAILURE_HOLDS, None)
            }
            Err(_) => (FAILURE_HOLDS, None),
        };
        self.domains = Some((Instant::now() + holds, domains.clone()));
        domains
    }
}

/// What the instances of a cluster get, as far as there are any or will be.
fn shapes(cluster: &LXCCluster, found: &References) -> BTreeSet<Shape> {
    // The card that profiles usually have, on the network that the cluster says.
    let network = cluster.status.as_ref().and_then(|status| status.network.as_deref());
    let wire = network.map(|network| Wire::replacing(&Devices::new(), network));
    let balancer = match cluster.spec.load_balancer.kind() {
        Some(LoadBalancerKind::Lxc(wanted) | LoadBalancerKind::Oci(wanted)) => {
            let spec = &wanted.instance_spec;
            let root = (!spec.storage_pool.is_empty()).then(|| {
                let disk = launch::root_disk(&spec.storage_pool);
                (launch::ROOT_DEVICE.to_owned(), disk.into_iter().collect())
            });
            let card = wire.as_ref().map(|it| (it.device.clone(), it.config()));
            let card = card.map(|(name, card)| (name, card.into_iter().collect()));
            Some((spec.profiles.clone(), card.into_iter().chain(root).collect()))
        }
        _ => None,
    };
    let machines = found.machines.iter().map(|machine| {
        // Strings that cannot be understood are the machine's own to report.
        let mut devices = devices::parse(&machine.spec.devices).unwrap_or_default();
        if let Some(wire) = &wire {
            wire.put_into(&mut devices);
        }
        let devices = devices
            .into_iter()
            .map(|(name, device)| (name, device.into_iter().collect()))
            .collect();
        (machine.spec.profiles.clone(), devices)
    });
    balancer.into_iter().chain(machines).collect()
}

/// What is wrong with the server, or why that cannot be said, and for how long.
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
        // How many isolated instances there are matters only beside the host's ranges of ids.
        let facts = ServerFacts::new(&server, instances);
        for finding in rules::server_findings(&facts) {
            if !all.contains(&finding) {
                all.push(finding);
            }
        }
    }
    Ok(all)
}

/// An identity that is restricted to a project may not look at what all projects share, and will
/// not the next time.
fn unknown(error: &FactsError) -> (Duration, String) {
    match error {
        FactsError::Ask { what, source } if is_restricted(source) => {
            let text = source.server_text().unwrap_or("forbidden");
            let means = "what is wrong there shows when an instance is made";
            (HOLDS, format!("the identity may not look at {what} ({text}): {means}"))
        }
        other => (FAILURE_HOLDS, chain(other)),
    }
}

/// Incus 6.0 answers restricted certificates with 500 where there is no permission to ask for.
fn is_restricted(error: &incus_client::Error) -> bool {
    let text = error.server_text().unwrap_or_default();
    error.is_forbidden() || text.contains("Certificate is restricted")
}

fn not_checked(message: String) -> Verdict {
    (Status::Unknown, reasons::SERVER_NOT_CHECKED, message)
}

/// The condition: false when nodes cannot be made or do not work, true with a reason of its own
/// when something is weaker. The message names what was found, what it means, and what mends it,
/// the worst first.
fn verdict(findings: &[Finding]) -> Verdict {
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
    let Finding { severity, found, means, mend, .. } = finding;
    let mut text = format!("{severity}: {found}");
    if !means.is_empty() {
        text = format!("{text} ({means})");
    }
    if !mend.is_empty() {
        text = format!("{text}. To mend it: {}", mend.join(", or "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use capn_api::LXCMachine;
    use serde_json::json;

    fn finding(severity: Severity, found: &str, mend: &[&str]) -> Finding {
        Finding {
            id: "x",
            severity,
            found: found.into(),
            means: "nodes fail".into(),
            mend: mend.iter().map(|mend| (*mend).to_owned()).collect(),
            fix: None,
        }
    }

    #[test]
    fn the_worst_finding_decides_and_each_names_what_mends_it() {
        let fine = Finding { means: String::new(), ..finding(Severity::Ok, "fine", &[]) };
        let weak = finding(Severity::Warning, "old kernel", &["apt upgrade"]);
        let bad = finding(Severity::Problem, "no pool", &["incus storage create a dir", "other"]);
        for (findings, status, reason, message) in [
            (vec![fine.clone()], Status::True, reasons::SERVER_HEALTHY, ""),
            (
                vec![fine, weak.clone()],
                Status::True,
                reasons::SERVER_WARNINGS,
                "warning: old kernel (nodes fail). To mend it: apt upgrade",
            ),
            (
                vec![weak, bad],
                Status::False,
                reasons::SERVER_PROBLEMS,
                "problem: no pool (nodes fail). To mend it: incus storage create a dir, or other; warning: old kernel (nodes fail). To mend it: apt upgrade",
            ),
        ] {
            assert_eq!(verdict(&findings), (status, reason, message.to_owned()));
        }
    }

    #[test]
    fn machines_that_look_alike_are_asked_for_once() {
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
