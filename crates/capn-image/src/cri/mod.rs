//! A small client of the Container Runtime Interface (CRI v1). It reaches containerd of an instance
//! through the server's exec, without opening a port or installing anything.

mod channel;
mod error;
mod messages;

use std::collections::HashMap;

use incus_client::{Client, ExecRequest};
use tokio::io::{AsyncRead, AsyncWrite};

use self::{
    channel::Runtime,
    messages::{
        Empty, LinuxPodSandboxConfig, LinuxSandboxSecurityContext, ListPodSandboxRequest,
        ListPodSandboxResponse, NAMESPACE_NODE, NamespaceOption, PodSandboxConfig,
        PodSandboxFilter, PodSandboxMetadata, PodSandboxStatusRequest, PodSandboxStatusResponse,
        RunPodSandboxRequest, SANDBOX_READY, SandboxId, VersionRequest, VersionResponse,
    },
};

pub use error::CriError;

/// Name, namespace and label of the sandbox, so that a leftover one is found again.
const NAME: &str = "capn-sandbox-proof";

/// Result of running a pod sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxCheck {
    /// Name and version of the runtime, such as `containerd 1.7.24`.
    pub runtime: String,
    /// Id of the sandbox, which has been removed again.
    pub sandbox_id: String,
    /// The sandbox (pause) image, as reported by containerd; may be empty.
    pub image: String,
}

/// Runs a pod sandbox in the instance, waits until it is ready, and removes it.
///
/// The sandbox uses the network of the node, so that no CNI configuration is needed.
///
/// # Guarantees
///
/// Nothing is left in the instance, not even from an interrupted earlier call.
///
/// # Assumptions
///
/// The instance has `socat`, as node images of capn do.
///
/// # Cancellation
///
/// Dropping the future may leave the sandbox behind; the next call removes it.
///
/// # Errors
///
/// [`CriError`]: containerd in the instance does not respond, or it cannot run the sandbox.
pub async fn check_sandbox(client: &Client, instance: &str) -> Result<SandboxCheck, CriError> {
    let command = ["socat", "-", "UNIX-CONNECT:/run/containerd/containerd.sock"];
    let tunnel = client
        .tunnel(instance, &ExecRequest::new(command))
        .await
        .map_err(|source| CriError::Exec { instance: instance.to_owned(), source })?;
    check_over(tunnel, instance).await
}

/// As [`check_sandbox`], over a stream to the runtime's socket. `instance` is for errors.
async fn check_over<S>(stream: S, instance: &str) -> Result<SandboxCheck, CriError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |act: &'static str| {
        move |status: tonic::Status| CriError::Call {
            act,
            instance: instance.to_owned(),
            source: Box::new(status),
        }
    };
    let mut runtime = Runtime::connect(stream)
        .await
        .map_err(|source| CriError::Connect { instance: instance.to_owned(), source })?;
    let version: VersionResponse = runtime
        .call("/runtime.v1.RuntimeService/Version", VersionRequest { version: "v1".to_owned() })
        .await
        .map_err(failed("read the version of the runtime"))?;

    let label_selector = labels();
    let list: ListPodSandboxResponse = runtime
        .call(
            "/runtime.v1.RuntimeService/ListPodSandbox",
            ListPodSandboxRequest { filter: Some(PodSandboxFilter { label_selector }) },
        )
        .await
        .map_err(failed("list the pod sandboxes"))?;
    for left in list.items {
        remove(&mut runtime, left.id).await.map_err(failed("remove a leftover pod sandbox"))?;
    }

    let SandboxId { pod_sandbox_id } = runtime
        .call(
            "/runtime.v1.RuntimeService/RunPodSandbox",
            RunPodSandboxRequest { config: Some(sandbox()) },
        )
        .await
        .map_err(failed("run a pod sandbox"))?;
    let status: Result<PodSandboxStatusResponse, _> = runtime
        .call(
            "/runtime.v1.RuntimeService/PodSandboxStatus",
            PodSandboxStatusRequest { pod_sandbox_id: pod_sandbox_id.clone(), verbose: true },
        )
        .await;
    // Removed in any case.
    let removed = remove(&mut runtime, pod_sandbox_id.clone()).await;
    let status = status.map_err(failed("read the pod sandbox's status"))?;
    removed.map_err(failed("remove the pod sandbox"))?;
    let state = status.status.as_ref().map_or(-1, |status| status.state);
    if state != SANDBOX_READY {
        return Err(CriError::NotReady { instance: instance.to_owned(), state });
    }
    Ok(SandboxCheck {
        runtime: format!("{} {}", version.runtime_name, version.runtime_version),
        sandbox_id: pod_sandbox_id,
        image: image_of(&status),
    })
}

async fn remove(runtime: &mut Runtime, id: String) -> Result<(), tonic::Status> {
    for path in
        ["/runtime.v1.RuntimeService/StopPodSandbox", "/runtime.v1.RuntimeService/RemovePodSandbox"]
    {
        let _done: Empty = runtime.call(path, SandboxId { pod_sandbox_id: id.clone() }).await?;
    }
    Ok(())
}

fn labels() -> HashMap<String, String> {
    HashMap::from([("app".to_owned(), NAME.to_owned())])
}

fn sandbox() -> PodSandboxConfig {
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: NAME.to_owned(),
            uid: NAME.to_owned(),
            namespace: NAME.to_owned(),
        }),
        hostname: String::new(),
        labels: labels(),
        linux: Some(LinuxPodSandboxConfig {
            // With the systemd cgroup driver, the parent is a slice.
            cgroup_parent: "system.slice".to_owned(),
            security_context: Some(LinuxSandboxSecurityContext {
                namespace_options: Some(NamespaceOption { network: NAMESPACE_NODE }),
            }),
        }),
    }
}

/// containerd's verbose information is a JSON document.
fn image_of(status: &PodSandboxStatusResponse) -> String {
    let info = status.info.get("info").map_or("", String::as_str);
    let info: serde_json::Value = serde_json::from_str(info).unwrap_or_default();
    info["image"].as_str().unwrap_or_default().to_owned()
}
