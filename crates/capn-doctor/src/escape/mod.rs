//! Escape test of a node, as root inside it.
//!
//! A compromised node must not compromise its host. [`try_vectors`] runs a program in the node that
//! tries every vector of [`VECTORS`] without changing anything, even if the vector is open, and
//! returns the results.

mod ids;
mod pod;
mod probe;
mod report;
mod vectors;

use std::time::Duration;

use incus_client::api::{InstanceFilter, InstanceType};
use incus_client::{Client, ExecRequest};

pub use ids::{Range, ranges};
pub use pod::{NotAPod, PodName, subject};
pub use probe::{Namespaces, Targets};
pub use report::{EscapeReport, Mode, VectorResult, VectorState};
pub use vectors::{VECTORS, Vector, find};

/// Shorter than the sum of the deadlines of all probes, which only a broken node would reach.
const DEADLINE: Duration = Duration::from_secs(180);

/// Error of the escape test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EscapeError {
    /// The server could not be queried about the node.
    #[error("cannot read instance `{node}`")]
    ReadInstance {
        /// Name of the instance.
        node: String,
        /// Cause.
        source: incus_client::Error,
    },
    /// The instance does not exist.
    #[error("instance `{node}` does not exist on the server")]
    NoSuchNode {
        /// Name of the instance.
        node: String,
    },
    /// A virtual machine has its own kernel.
    #[error("`{node}` is a virtual machine: it has its own kernel, not that of the host")]
    VirtualMachine {
        /// Name of the instance.
        node: String,
    },
    /// The instance is not running.
    #[error("instance `{node}` is not running")]
    NotRunning {
        /// Name of the instance.
        node: String,
    },
    /// The pod is not running in the node.
    #[error("no container of pod `{pod}` is running in `{node}`")]
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
    #[error("the probes in `{node}` failed with exit code {exit_code}: {stderr}")]
    ProbesFailed {
        /// Name of the instance.
        node: String,
        /// Exit code of the program; 127 when the node has no `python3`.
        exit_code: i32,
        /// Last line of its error output.
        stderr: String,
    },
    /// The output of the program could not be parsed.
    #[error("cannot parse line {line} of the probe output in `{node}`")]
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
    /// Returns what the user can do about the error, if known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchNode { .. } => Some("list the instances: `incus list`".to_owned()),
            Self::NotRunning { node } => Some(format!("start it: `incus start {node}`")),
            Self::NoSuchPod { .. } => {
                Some("find its node: `kubectl get pods --all-namespaces -o wide`".to_owned())
            }
            Self::ProbesFailed { exit_code: 127, .. } => Some(
                "the node has no python3; images of `capn image build` and all images with cloud-init \
                 contain it"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// Tries every vector of a running container as root in it, or of a `pod` in it as root in the pod.
/// From a pod, the namespaces of the node count as outside too.
///
/// Nothing outside the node is changed. The program runs in the node without being installed; when
/// this future is dropped, the server kills it.
///
/// # Errors
///
/// [`EscapeError`] when the node is not a running container, or the program cannot be run or fails.
pub async fn try_vectors(
    client: &Client,
    node: &str,
    pod: Option<&PodName>,
    targets: &Targets,
) -> Result<EscapeReport, EscapeError> {
    let name = || node.to_owned();
    let read_instance = |source| EscapeError::ReadInstance { node: name(), source };
    let instance = client.instance(node).await.map_err(read_instance)?;
    let Some(instance) = instance.map(|found| found.value) else {
        return Err(EscapeError::NoSuchNode { node: name() });
    };
    if instance.instance_type == InstanceType::VirtualMachine {
        return Err(EscapeError::VirtualMachine { node: name() });
    }
    if !instance.is_running() {
        return Err(EscapeError::NotRunning { node: name() });
    }
    let all = client.instances(&InstanceFilter::new()).await.map_err(read_instance)?;

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
    let vectors = report::parse(&output.stdout_text())
        .map_err(|(line, source)| EscapeError::ReadOutput { node: name(), line, source })?;
    Ok(EscapeReport {
        node: name(),
        pod: pod.cloned(),
        mode: ids::mode(&instance.expanded_config),
        notes: ids::notes(&instance, &all),
        vectors,
    })
}
