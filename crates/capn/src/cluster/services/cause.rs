//! Diagnoses kube-proxy on a node where Services do not respond.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, ResourceExt as _};

/// Time limit for each API request.
const PATIENCE: Duration = Duration::from_secs(5);
/// Number of log lines that are read.
const LINES: i64 = 200;
/// Maximum length of a quoted line, in characters.
const SHOWN: usize = 300;

/// kube-proxy on one node.
#[derive(Debug, Default)]
pub(super) struct Proxy {
    /// Name of its pod, if it exists.
    pub(super) pod: Option<String>,
    /// Whether it is still starting or pulling its image.
    pub(super) is_starting: bool,
    /// Diagnosis, if there is one.
    pub(super) says: Option<String>,
}

/// Inspects it. Ignores what cannot be read.
pub(super) async fn proxy(workload: &Client, node: &str) -> Proxy {
    let pods: Api<Pod> = Api::namespaced(workload.clone(), "kube-system");
    let params =
        ListParams::default().labels("k8s-app=kube-proxy").fields(&format!("spec.nodeName={node}"));
    let listed = tokio::time::timeout(PATIENCE, pods.list(&params)).await;
    let Ok(Ok(list)) = listed else { return Proxy::default() };
    let Some(pod) = list.items.first() else {
        let says = format!("node `{node}` has no kube-proxy pod");
        return Proxy { says: Some(says), ..Proxy::default() };
    };
    let name = pod.name_any();
    let is_starting = phase(pod) == "Pending";
    if let Some(waits) = waiting(pod) {
        let says = format!("pod kube-system/{name} is waiting: {waits}");
        return Proxy { pod: Some(name), is_starting, says: Some(says) };
    }
    let params = LogParams { tail_lines: Some(LINES), ..LogParams::default() };
    let log = tokio::time::timeout(PATIENCE, pods.logs(&name, &params)).await;
    let says = match log {
        Ok(Ok(log)) => {
            last_error(&log).map(|line| format!("kube-proxy on `{node}` logged: {line}"))
        }
        _ => None,
    };
    Proxy { pod: Some(name), is_starting, says }
}

/// Returns the phase of a pod.
pub(super) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Returns the waiting reasons of a pod's containers.
pub(super) fn waiting(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers.iter().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.clone()?;
        Some(match waiting.message.as_deref() {
            Some(message) if !message.is_empty() => format!("{reason}: {message}"),
            _ => reason,
        })
    })
}

/// Returns the last error line of a log, without klog's prefix `E1129 15:04:05.000000 1 file.go:10]
/// `.
fn last_error(log: &str) -> Option<String> {
    let is_error = |line: &&str| {
        line.strip_prefix('E').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let line = log.lines().rev().find(is_error)?;
    let text = line.split_once("] ").map_or(line, |(_, text)| text);
    Some(text.chars().take(SHOWN).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_in_a_log_is_shown_without_its_prefix() {
        let log = "I1129 15:04:05.000000       1 server.go:1] \"Starting\"
E1129 15:04:05.000000       1 proxier.go:100] \"Failed\" err=\"one\"
E1129 15:04:06.000000       1 proxier.go:1546] \"Failed to execute iptables-restore\" err=\"exit status 127\"
I1129 15:04:06.000001       1 proxier.go:900] \"Sync failed\"
Error: not klog's
";
        let want = "\"Failed to execute iptables-restore\" err=\"exit status 127\"";
        assert_eq!(last_error(log).as_deref(), Some(want));
        assert_eq!(last_error("I1129 fine\n"), None);
    }
}
