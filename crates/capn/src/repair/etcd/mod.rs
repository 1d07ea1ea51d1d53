//! The etcd of a control plane node, seen and changed by root in the node.
//!
//! A program in Python, which every image with cloud-init has, does one [act](Act) at a time; what is done
//! next is [decided](next) here, from what it [sees](Etcd). When a quorum is lost nothing else can:
//! the API server is dead, and with it all controllers.

pub mod manifest;
pub mod next;

use std::time::Duration;

use incus_client::{Client, ExecRequest};
use serde::Deserialize;

use crate::error::{CommandError, Doing as _};

pub use next::{Act, Next, next};

/// The program, without what is set before and called after.
const PROGRAM: &str = include_str!("program.py");
/// How long a look may take: each of its questions has a deadline of its own, 10 s at most.
const LOOK: Duration = Duration::from_secs(30);
/// How long an act may take. A copy of 8 GiB on a slow disk takes most of it.
const ACT: Duration = Duration::from_secs(15 * 60);
/// Most bytes that it may say.
const LONGEST: usize = 256 << 10;
/// Most members that are looked at; etcd advises seven.
const MEMBERS: usize = 64;
/// Where a node keeps what was there before, until the cluster is Available again.
pub const FOLDER: &str = "/var/lib/capn-repair";

/// What root in a control plane node sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inside {
    /// kubelet is active, or the node still boots.
    pub kubelet: bool,
    /// Seconds that it has been.
    pub kubelet_seconds: u32,
    /// containerd is active, or the node still boots.
    pub containerd: bool,
    /// Its etcd.
    #[serde(flatten)]
    pub etcd: Etcd,
}

/// The etcd of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Etcd {
    /// The manifest by which kubelet runs it.
    pub live: Option<String>,
    /// The manifest as it was before a repair began that is not over.
    pub aside: Option<String>,
    /// There is a copy of the data as it was.
    pub copied: bool,
    /// A process of it is there.
    pub runs: bool,
    /// That process was told to begin a new cluster.
    pub forced: bool,
    /// It has a leader; `None` if it does not answer.
    pub healthy: Option<bool>,
    /// Its members; `None` if it does not answer.
    pub members: Option<Vec<EtcdMember>>,
}

/// A member, as etcd tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct EtcdMember {
    /// Its name, which is the node's; empty before it started for the first time.
    pub name: String,
    /// Where the others reach it.
    #[serde(default)]
    pub peers: Vec<String>,
    /// It does not vote yet.
    #[serde(default)]
    pub learner: bool,
}

impl Etcd {
    /// The node has an etcd.
    pub fn is_there(&self) -> bool {
        self.live.is_some() || self.aside.is_some()
    }

    /// It serves by the manifest that it is meant to have.
    pub fn serves(&self) -> bool {
        self.healthy == Some(true) && !self.forced && !self.is_held_up()
    }

    /// A repair of it has begun and is not over.
    pub fn is_held_up(&self) -> bool {
        self.aside.is_some() && self.live != self.aside
    }

    /// Members that vote.
    pub fn voters(&self) -> Option<impl Iterator<Item = &EtcdMember>> {
        Some(self.members.as_ref()?.iter().take(MEMBERS).filter(|member| !member.learner))
    }
}

/// Looks at a node.
///
/// # Errors
///
/// When the node cannot be asked, or answers what is not understood.
pub async fn look(client: &Client, instance: &str) -> Result<Inside, CommandError> {
    let doing = || format!("cannot look into instance `{instance}`");
    let text = run(client, instance, "look", "", LOOK).await.map_err(|e| e.while_doing(doing()))?;
    serde_json::from_str(&text).doing(doing())
}

/// Starts containerd and kubelet in a node.
///
/// # Errors
///
/// When they do not start.
pub async fn start_units(client: &Client, instance: &str) -> Result<(), CommandError> {
    act(client, instance, "units", "", "start kubelet in").await
}

/// Does one act in a node.
///
/// # Errors
///
/// What is in its way.
///
/// # Cancellation
///
/// The act goes on or ends in the node; the same one can be done again.
pub async fn carry_out(
    client: &Client,
    instance: &str,
    step: Act,
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
    struct Said {
        problem: Option<String>,
    }
    let doing = || format!("cannot {what} instance `{instance}`");
    let text =
        run(client, instance, name, manifest, ACT).await.map_err(|e| e.while_doing(doing()))?;
    let said: Said = serde_json::from_str(&text).doing(doing())?;
    match said.problem {
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
    // What JSON writes as a text is one for Python too.
    let given = serde_json::Value::from(manifest);
    let program = format!("MANIFEST = {given}\n{PROGRAM}\n\nmain(\"{act}\")\n");
    let mut request = ExecRequest::new(["python3", "-I", "-"]).stdin(program).deadline(deadline);
    request.output_limit_bytes = LONGEST;
    let output = client.exec(instance, request).await.doing("cannot run a program in it")?;
    match output.exit_code {
        0 => Ok(output.stdout_text().into_owned()),
        127 => Err(CommandError::new("it has no python3")
            .hint("images of `capn image build` and all with cloud-init have it")),
        code => Err(CommandError::caused(
            format!("the program in it ended with {code}"),
            output.last_lines(3),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_is_understood() {
        let inside: Inside = serde_json::from_str(
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
