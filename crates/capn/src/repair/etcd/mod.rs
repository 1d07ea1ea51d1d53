//! Inspects and changes the etcd of a control plane node, as root in the node.
//!
//! A Python program (every image with cloud-init has Python) carries out one [step](EtcdStep) at a
//! time. The [next step](next) is decided here from the [state](Etcd) that it reports. After a
//! quorum loss nothing else can do this: the API server is down, and so are all controllers.

pub mod manifest;
pub mod next;

use std::time::Duration;

use incus_client::{Client, ExecRequest};
use serde::Deserialize;

use crate::error::{CommandError, Doing as _};

pub use next::{EtcdStep, NextStep, next};

/// The program, without its parameters and the call of a function.
const PROGRAM: &str = include_str!("program.py");
/// Time limit of an inspection; each of its requests times out after 10 s at most.
const LOOK: Duration = Duration::from_secs(30);
/// Time limit of a step. Copying 8 GiB on a slow disk takes most of it.
const ACT: Duration = Duration::from_secs(15 * 60);
/// Maximum size of the reply in bytes.
const LONGEST: usize = 256 << 10;
/// Maximum number of members considered; etcd recommends at most seven.
const MEMBERS: usize = 64;
/// Directory in the node that keeps the previous data until the cluster is Available again.
pub const DIR: &str = "/var/lib/capn-repair";

/// State of the services in a control plane node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeServices {
    /// kubelet is active, or the node is still booting.
    pub kubelet: bool,
    /// Seconds since kubelet became active.
    pub kubelet_seconds: u32,
    /// containerd is active, or the node is still booting.
    pub containerd: bool,
    /// State of its etcd.
    #[serde(flatten)]
    pub etcd: Etcd,
}

/// State of a node's etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Etcd {
    /// The manifest that kubelet runs.
    pub live: Option<String>,
    /// The original manifest, if a repair is in progress.
    pub aside: Option<String>,
    /// A copy of the original data exists.
    pub copied: bool,
    /// An etcd process is running.
    pub runs: bool,
    /// That process was started with the flag to force a new cluster.
    pub forced: bool,
    /// It has a leader; `None` if it does not respond.
    pub healthy: Option<bool>,
    /// Its members; `None` if it does not respond.
    pub members: Option<Vec<EtcdMember>>,
}

/// An etcd member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct EtcdMember {
    /// Its name, which equals the node's name; empty before its first start.
    pub name: String,
    /// Its peer URLs.
    #[serde(default)]
    pub peers: Vec<String>,
    /// It is a learner without a vote.
    #[serde(default)]
    pub learner: bool,
}

impl Etcd {
    /// Returns whether the node runs etcd.
    pub fn is_there(&self) -> bool {
        self.live.is_some() || self.aside.is_some()
    }

    /// Returns whether etcd runs with its original manifest and has a leader.
    pub fn serves(&self) -> bool {
        self.healthy == Some(true) && !self.forced && !self.is_held_up()
    }

    /// Returns whether a repair is in progress.
    pub fn is_held_up(&self) -> bool {
        self.aside.is_some() && self.live != self.aside
    }

    /// Returns the voting members.
    pub fn voters(&self) -> Option<impl Iterator<Item = &EtcdMember>> {
        Some(self.members.as_ref()?.iter().take(MEMBERS).filter(|member| !member.learner))
    }
}

/// Inspects a node.
///
/// # Errors
///
/// Returns an error if the node does not respond or its reply cannot be parsed.
pub async fn look(client: &Client, instance: &str) -> Result<NodeServices, CommandError> {
    let doing = || format!("cannot inspect instance `{instance}`");
    let text = run(client, instance, "look", "", LOOK).await.map_err(|e| e.while_doing(doing()))?;
    serde_json::from_str(&text).doing(doing())
}

/// Starts containerd and kubelet in a node.
///
/// # Errors
///
/// Returns an error if they do not start.
pub async fn start_units(client: &Client, instance: &str) -> Result<(), CommandError> {
    act(client, instance, "units", "", "start kubelet in").await
}

/// Carries out one step in a node.
///
/// # Errors
///
/// Returns an error that describes the obstacle.
///
/// # Cancellation
///
/// The step continues or stops in the node; it can be repeated.
pub async fn carry_out(
    client: &Client,
    instance: &str,
    step: EtcdStep,
    manifest: &str,
) -> Result<(), CommandError> {
    act(client, instance, step.name(), manifest, "repair etcd in").await
}

async fn act(
    client: &Client,
    instance: &str,
    name: &str,
    manifest: &str,
    what: &str,
) -> Result<(), CommandError> {
    #[derive(Deserialize)]
    struct ScriptReply {
        problem: Option<String>,
    }
    let doing = || format!("cannot {what} instance `{instance}`");
    let text =
        run(client, instance, name, manifest, ACT).await.map_err(|e| e.while_doing(doing()))?;
    let reply: ScriptReply = serde_json::from_str(&text).doing(doing())?;
    match reply.problem {
        None => Ok(()),
        Some(problem) => Err(CommandError::caused(doing(), problem)),
    }
}

async fn run(
    client: &Client,
    instance: &str,
    act: &str,
    manifest: &str,
    deadline: Duration,
) -> Result<String, CommandError> {
    // A JSON string is also a valid Python string.
    let given = serde_json::Value::from(manifest);
    let program = format!("MANIFEST = {given}\n{PROGRAM}\n\nmain(\"{act}\")\n");
    let mut request = ExecRequest::new(["python3", "-I", "-"]).stdin(program).deadline(deadline);
    request.output_limit_bytes = LONGEST;
    let output = client.exec(instance, request).await.doing("cannot run a program in it")?;
    match output.exit_code {
        0 => Ok(output.stdout_text().into_owned()),
        127 => Err(CommandError::new("it has no python3")
            .hint("images from `capn image build` and images with cloud-init have it")),
        code => Err(CommandError::caused(
            format!("its program exited with {code}"),
            output.last_lines(3),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reply_of_a_node_is_parsed() {
        let inside: NodeServices = serde_json::from_str(
            r#"{"kubelet": true, "kubeletSeconds": 7, "containerd": true, "live": "a", "aside": null, "copied": false,
            "runs": true, "forced": false, "healthy": false,
            "members": [{"name": "a", "peers": ["https://10.0.0.1:2380"], "learner": false}]}"#,
        )
        .unwrap();
        assert!(inside.kubelet && inside.etcd.is_there() && !inside.etcd.is_held_up());
        assert!(!inside.etcd.serves());
        assert_eq!(inside.etcd.voters().unwrap().count(), 1);
    }
}
