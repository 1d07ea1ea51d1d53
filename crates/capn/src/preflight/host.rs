//! Host checks for a local server: the rules of `capn doctor` that matter for a cluster.

use camino::Utf8Path;
use capn_doctor::facts::HostFacts;
use capn_doctor::rules::{self, CheckOptions};
use capn_doctor::{Finding, Severity};

use super::findings::refuse;
use crate::error::CommandError;
use crate::manifest::{Bootstrap, ClusterRequest};

/// Checks that the host can run the nodes of a request. Returns notes for the user.
///
/// # Errors
///
/// Returns an error for the first problem.
pub fn host(request: &ClusterRequest) -> Result<Vec<String>, CommandError> {
    judge(request, &HostFacts::read(Utf8Path::new("/")))
}

fn judge(request: &ClusterRequest, facts: &HostFacts) -> Result<Vec<String>, CommandError> {
    let options = CheckOptions { allow_cgroup_v1: request.allow_cgroup_v1 };
    let findings = rules::host_findings(facts, options);
    let of = |ids: &[&str]| -> Vec<_> {
        findings.iter().filter(|finding| ids.contains(&finding.id)).cloned().collect()
    };
    let mut notes = Vec::new();
    if request.isolation.is_unprivileged() {
        refuse(&rules::id_findings(facts))?;
        refuse(&rules::sysctl_findings(facts))?;
        // An escape vector does not prevent nodes from running.
        let doors = of(&["lxcfs-writes"]);
        notes.extend(doors.iter().filter(|finding| finding.is_problem()).map(note));
        if request.bootstrap == Bootstrap::Kubeadm {
            // Small clusters work anyway.
            let found = rules::sysctl_findings(facts);
            let buffer =
                found.iter().filter(|it| it.id == "netlink-buffer" && it.severity != Severity::Ok);
            notes.extend(buffer.map(note));
        }
    }
    if request.bootstrap == Bootstrap::Kubeadm {
        refuse(&of(&["cgroups"]))?;
    }
    Ok(notes)
}

fn note(finding: &Finding) -> String {
    format!("{}: {}; fix it with `sudo capn doctor --fix`", finding.found, finding.means)
}

#[cfg(test)]
mod tests {
    use capn_doctor::facts::{Cgroups, IdRange, Lxcfs};

    use super::*;
    use crate::manifest::Isolation;
    use crate::manifest::request::testing::demo;

    fn refusal(request: &ClusterRequest, facts: &HostFacts) -> String {
        judge(request, facts).unwrap_err().render(|_, text| text.to_owned())
    }

    #[test]
    fn a_host_without_facts_is_accepted() {
        assert_eq!(judge(&demo(), &HostFacts::default()).unwrap(), [""; 0]);
    }

    #[test]
    fn two_ranges_of_root_are_named_with_the_one_to_remove() {
        let range = |line: &str| IdRange { line: line.into(), first: 1, count: 65536 };
        let subuid = vec![range("root:1000000:1000000000"), range("root:1001000000:10000001")];
        let facts = HostFacts { subuid, ..HostFacts::default() };
        let text = refusal(&demo(), &facts);
        assert!(text.contains("/etc/subuid gives root 2 id ranges"), "{text}");
        assert!(text.contains("remove `root:1001000000:10000001`"), "{text}");
        let privileged = ClusterRequest { isolation: Isolation::Privileged, ..demo() };
        assert!(judge(&privileged, &facts).is_ok());
    }

    #[test]
    fn one_command_fixes_every_low_limit() {
        let keys = ["kernel.keys.maxkeys", "kernel.keys.maxbytes", "fs.inotify.max_user_instances"];
        let sysctls = keys.iter().map(|key| ((*key).to_owned(), "128".to_owned())).collect();
        let text = refusal(&demo(), &HostFacts { sysctls, ..HostFacts::default() });
        assert!(text.contains("kernel.keys.maxkeys is 128, and that is too low"), "{text}");
        assert!(
            text.contains("sudo sysctl -w kernel.keys.maxkeys=2000 kernel.keys.maxbytes=2000000 fs.inotify.max_user_instances=1024`"),
            "{text}"
        );
    }

    #[test]
    fn a_small_netlink_buffer_is_reported_for_unprivileged_kubernetes_nodes() {
        let sysctls = [("net.core.wmem_default".to_owned(), "212992".to_owned())].into();
        let facts = HostFacts { sysctls, ..HostFacts::default() };
        let notes = |request| judge(&request, &facts).unwrap();
        let found = notes(demo());
        assert!(found[0].contains("net.core.wmem_default is 212992"), "{found:?}");
        let privileged = ClusterRequest { isolation: Isolation::Privileged, ..demo() };
        assert_eq!(notes(privileged), [""; 0]);
        assert_eq!(notes(ClusterRequest { bootstrap: Bootstrap::None, ..demo() }), [""; 0]);
    }

    #[test]
    fn cgroup_v1_is_refused_for_kubernetes_unless_it_is_allowed() {
        let facts = HostFacts { cgroups: Cgroups::V1, ..HostFacts::default() };
        let text = refusal(&demo(), &facts);
        assert!(text.contains("cgroup v1 controllers, and kubelet does not run"), "{text}");
        assert!(text.contains("`--allow-cgroup-v1`"), "{text}");
        assert!(judge(&ClusterRequest { allow_cgroup_v1: true, ..demo() }, &facts).is_ok());
        assert!(judge(&ClusterRequest { bootstrap: Bootstrap::None, ..demo() }, &facts).is_ok());
    }

    #[test]
    fn an_escape_vector_of_the_host_is_reported_but_does_not_block() {
        let lxcfs = Some(Lxcfs { is_writable: true, version: Some("5.0.3-1".into()) });
        let notes = judge(&demo(), &HostFacts { lxcfs, ..HostFacts::default() }).unwrap();
        assert!(notes[0].contains("capn doctor --fix"), "{notes:?}");
    }
}
