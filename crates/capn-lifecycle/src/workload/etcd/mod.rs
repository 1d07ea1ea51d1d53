//! etcd of a workload cluster: its members, operations on them, and [snapshots](snapshot) of its
//! data.
//!
//! etcd is reached through the API server: a port-forward to the etcd pod of a node, with TLS and a
//! client certificate of the cluster's etcd CA, to etcd's JSON gateway, which every member serves
//! next to gRPC. This also works if the nodes themselves are not reachable.

mod forward;
mod gateway;
pub mod snapshot;

use capn_controller::workload::ForwardError;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

pub use self::gateway::{Member, MemberId, Status, View};
use crate::pki::PemPair;

/// Timeout of a request, including its connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// etcd errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pod of the member cannot be reached through the API server.
    #[error("open a port-forward to the Pod {pod}")]
    Forward {
        /// Name of the pod.
        pod: String,
        /// The cause.
        #[source]
        source: ForwardError,
    },
    /// No client certificate could be created with the etcd CA.
    #[error("create a client certificate for etcd")]
    Certificate {
        /// The cause.
        #[source]
        source: crate::pki::Error,
    },
    /// TLS cannot be set up with the etcd CA.
    #[error("set up TLS for etcd")]
    Tls {
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// The connection was lost.
    #[error("talk to etcd in the Pod {pod}")]
    Connection {
        /// Name of the pod.
        pod: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP exchange failed.
    #[error("send {path} to etcd in the Pod {pod}")]
    Http {
        /// Path of the request.
        path: &'static str,
        /// Name of the pod.
        pod: String,
        /// The cause.
        #[source]
        source: hyper::Error,
    },
    /// etcd rejected the request.
    #[error("etcd refused {path}: {message}")]
    Refused {
        /// Path of the request.
        path: &'static str,
        /// Error message of etcd.
        message: String,
    },
    /// The response is invalid.
    #[error("parse the response of etcd to {path}")]
    Answer {
        /// Path of the request.
        path: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// The request timed out.
    #[error("etcd did not respond to {path} within {} seconds", REQUEST_TIMEOUT.as_secs())]
    Timeout {
        /// Path of the request.
        path: &'static str,
    },
}

/// A request to the gateway of one member.
#[derive(Clone, Debug)]
pub struct Request {
    /// Namespace of the cluster.
    pub namespace: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Node of the member.
    pub node: String,
    /// Path, for example `/v3/cluster/member/list`.
    pub path: &'static str,
    /// Request body.
    pub body: Value,
}

/// Replaces etcd in tests: responds to requests.
pub type Answerer = Arc<dyn Fn(Request) -> BoxFuture<'static, Result<Value, Error>> + Send + Sync>;

/// etcd of one cluster.
#[derive(Clone)]
pub struct Etcd {
    namespace: String,
    cluster: String,
    way: Way,
}

#[derive(Clone)]
enum Way {
    Forward { client: kube::Client, authority: PemPair },
    Other(Answerer),
}

impl Etcd {
    /// Creates a client for etcd behind the API server of `client`. `authority` is the etcd CA.
    pub(crate) fn forwarded(
        namespace: &str,
        cluster: &str,
        client: kube::Client,
        authority: PemPair,
    ) -> Self {
        let way = Way::Forward { client, authority };
        Self { namespace: namespace.to_owned(), cluster: cluster.to_owned(), way }
    }

    /// Creates a client whose requests are answered by a function.
    pub(super) fn answered(namespace: &str, cluster: &str, answerer: Answerer) -> Self {
        let way = Way::Other(answerer);
        Self { namespace: namespace.to_owned(), cluster: cluster.to_owned(), way }
    }

    async fn call(&self, node: &str, path: &'static str, body: Value) -> Result<Value, Error> {
        let work = async {
            match &self.way {
                Way::Forward { client, authority } => {
                    forward::call(client, authority, node, path, &body).await
                }
                Way::Other(answerer) => {
                    let request = Request {
                        namespace: self.namespace.clone(),
                        cluster: self.cluster.clone(),
                        node: node.to_owned(),
                        path,
                        body: body.clone(),
                    };
                    answerer(request).await
                }
            }
        };
        tokio::time::timeout(REQUEST_TIMEOUT, work).await.unwrap_or(Err(Error::Timeout { path }))
    }
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}
