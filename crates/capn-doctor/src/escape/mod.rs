//! Tries to get out of a node, as its root.
//!
//! A node that was taken over must not be a host that was taken over. [`try_doors`] runs a
//! program in the node that tries every door of [`DOORS`], each such that nothing is changed
//! when it is open, and gives what it found.

mod doors;
mod ids;
mod pod;
mod probe;
mod report;

use std::time::Duration;

use incus_client::api::{InstanceFilter, InstanceType};
use incus_client::{Client, ExecRequest};

pub use doors::{DOORS, Door, find};
pub use ids::{Range, ranges};
pub use pod::{NotAPod, PodName, subject};
pub use probe::{Namespaces, Targets};
pub use report::{DoorState, EscapeReport, Mode, Tried};

/// Well above what the program takes when every probe runs into its own deadline of some seconds
/// is not needed: a node where that happens is not one to wait for.
const DEADLINE: Duration = Duration::from_secs(180);

/// Why the doors of a node could not be tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EscapeError {
    /// The server could not be asked about the node.
    #[error("cannot look at instance `{node}`")]
    LookAt {
        /// Name of the instance.
        node: String,
        /// Cause.
        source: incus_client::Error,
    },
    /// There is no such instance.
    #[error("there is no instance `{node}` on the server")]
    NoSuchNode {
        /// Name of the instance.
        node: String,
    },
    /// A virtual machine has a kernel of its own.
    #[error("`{node}` is a virtual machine: its root rules a kernel of its own, not the host's")]
    VirtualMachine {
        /// Name of the instance.
        node: String,
    },
    /// The instance does not run.
    #[error("instance `{node}` does not run")]
    NotRunning {
        /// Name of the instance.
        node: String,
    },
    /// No such pod runs in the node.
    #[error("no container of pod `{pod}` runs in `{node}`")]
    NoSuchPod {
        /// Name of the instance.
        node: String,
        /// The pod.
        pod: PodName,
    },
    /// The program could not be run in the node.
    #[error("cannot run the probes in `{node}`")]
    RunProbes {
        /// Name of the instance.
        node: String,
        /// Cause.
        source: incus_client::Error,
    },
    /// The node has no Python, or the program failed.
    #[error("the probes ended in `{node}` with exit code {exit_code}: {stderr}")]
    ProbesFailed {
        /// Name of the instance.
        node: String,
        /// Exit code of the program; 127 when the node has no `python3`.
        exit_code: i32,
        /// The last of what it wrote to its error stream.
        stderr: String,
    },
    /// The program's output cannot be read.
    #[error("line {line} from the probes in `{node}` cannot be read")]
    ReadOutput {
        /// Name of the instance.
        node: String,
        /// Number of the line.
        line: usize,
        /// Cause.
        source: serde_json::Error,
    },
}

impl EscapeError {
    /// What the user can do, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchNode { .. } => Some("see those that are there: `incus list`".to_owned()),
            Self::NotRunning { node } => Some(format!("start it: `incus start {node}`")),
            Self::NoSuchPod { .. } => {
                Some("see where it runs: `kubectl get pods --all-namespaces -o wide`".to_owned())
            }
            Self::ProbesFailed { exit_code: 127, .. } => Some(
                "the node has no python3; images of `capn image build` and all with cloud-init \
                 have it"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// Tries every door of a running container, as root in it; or of a `pod` that runs in it, as root in the
/// pod: then the node's namespaces lead out, too.
///
/// Nothing outside the node is changed. The program runs in the node without being installed; when
/// this future is dropped, the server kills it.
///
/// # Errors
///
/// When the node is not a running container, or the program cannot be run or ends early.
pub async fn try_doors(
    client: &Client,
    node: &str,
    pod: Option<&PodName>,
    targets: &Targets,
) -> Result<EscapeReport, EscapeError> {
    let name = || node.to_owned();
    let look_at = |source| EscapeError::LookAt { node: name(), source };
    let instance = client.instance(node).await.map_err(look_at)?;
    let Some(instance) = instance.map(|found| found.value) else {
        return Err(EscapeError::NoSuchNode { node: name() });
    };
    if instance.instance_type == InstanceType::VirtualMachine {
        return Err(EscapeError::VirtualMachine { node: name() });
    }
    if !instance.is_running() {
        return Err(EscapeError::NotRunning { node: name() });
    }
    let all = client.instances(&InstanceFilter::new()).await.map_err(look_at)?;

    let argument = serde_json::to_string(targets).unwrap_or_else(|_| "{}".to_owned());
    let request = match pod {
        None => ExecRequest::new(["python3", "-I", "-", argument.as_str()]),
        Some(pod) => ExecRequest::new(pod.command(&argument)),
    };
    let request = request.stdin(probe::program()).deadline(DEADLINE);
    let output = client
        .exec(node, request)
        .await
        .map_err(|source| EscapeError::RunProbes { node: name(), source })?;
    if let (pod::NO_POD, Some(pod)) = (output.exit_code, pod) {
        return Err(EscapeError::NoSuchPod { node: name(), pod: pod.clone() });
    }
    if !output.success() {
        let stderr = output.stderr_text();
        let last = stderr.trim().lines().last().unwrap_or("no message").to_owned();
        return Err(EscapeError::ProbesFailed {
            node: name(),
            exit_code: output.exit_code,
            stderr: last,
        });
    }
    let doors = report::parse(&output.stdout_text())
        .map_err(|(line, source)| EscapeError::ReadOutput { node: name(), line, source })?;
    Ok(EscapeReport {
        node: name(),
        pod: pod.cloned(),
        mode: ids::mode(&instance.expanded_config),
        notes: ids::notes(&instance, &all),
        doors,
    })
}
