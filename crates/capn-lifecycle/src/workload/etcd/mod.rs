//! etcd of a workload cluster: its members, the two things that may be done to them, and
//! [snapshots](snapshot) of its data.
//!
//! etcd is reached through the API server: a port-forward to the etcd pod of a node, TLS in it with
//! a client certificate of the cluster's etcd authority, and in that etcd's JSON gateway, which
//! every member serves beside gRPC. So all that is needed is what is needed anyway, also for a
//! cluster whose nodes we cannot reach.

mod forward;
mod gateway;
pub mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;

pub use self::gateway::{Member, MemberId, Status, View};
use crate::pki::PemPair;

/// How long one request may take, with the connection for it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Why etcd did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pod of the member cannot be reached through the API server.
    #[error("open a port-forward to the Pod {pod}")]
    Forward {
        /// Name of the pod.
        pod: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// No client certificate could be made from the authority of etcd.
    #[error("make a client certificate for etcd")]
    Certificate {
        /// Why.
        #[source]
        source: crate::pki::Error,
    },
    /// TLS cannot be set up with the authority of etcd.
    #[error("set up TLS for etcd")]
    Tls {
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The connection broke.
    #[error("talk to etcd in the Pod {pod}")]
    Connection {
        /// Name of the pod.
        pod: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// HTTP went wrong.
    #[error("send {path} to etcd in the Pod {pod}")]
    Http {
        /// What was asked.
        path: &'static str,
        /// Name of the pod.
        pod: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// etcd refused.
    #[error("etcd refused {path}: {message}")]
    Refused {
        /// What was asked.
        path: &'static str,
        /// What etcd said.
        message: String,
    },
    /// The answer makes no sense.
    #[error("read the answer of etcd to {path}")]
    Answer {
        /// What was asked.
        path: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No answer in time.
    #[error("etcd did not answer {path} within {} seconds", REQUEST_TIMEOUT.as_secs())]
    Timeout {
        /// What was asked.
        path: &'static str,
    },
}

/// One request to the gateway of one member.
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
    /// Body.
    pub body: Value,
}

/// Something else that answers requests to etcd, in place of a real one.
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
    /// etcd behind the API server that `client` talks to. `authority` is that of etcd.
    pub(crate) fn forwarded(
        namespace: &str,
        cluster: &str,
        client: kube::Client,
        authority: PemPair,
    ) -> Self {
        let way = Way::Forward { client, authority };
        Self { namespace: namespace.to_owned(), cluster: cluster.to_owned(), way }
    }

    /// etcd that somebody else plays.
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
