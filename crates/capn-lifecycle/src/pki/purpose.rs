//! Purposes of a cluster's key pairs, and their paths.

/// Purpose of a cluster's key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// CA of the API server and of all clients.
    ClusterCa,
    /// CA of etcd members and clients.
    EtcdCa,
    /// CA of the aggregation layer's front proxy.
    FrontProxyCa,
    /// Key pair that signs service account tokens. Not a certificate.
    ServiceAccount,
    /// Client certificate of the API server for an external etcd. Users provide it.
    ApiServerEtcdClient,
}

/// File of one half of a key pair on a control plane node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFile {
    /// Absolute path.
    pub path: String,
    /// File mode, in octal.
    pub permissions: &'static str,
}

impl Purpose {
    /// Purposes whose pairs are generated, in the order in which they are written to nodes.
    pub const GENERATED: [Self; 4] =
        [Self::ClusterCa, Self::EtcdCa, Self::FrontProxyCa, Self::ServiceAccount];

    /// Returns the last part of the Secret's name.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::ClusterCa => "ca",
            Self::EtcdCa => "etcd",
            Self::FrontProxyCa => "proxy",
            Self::ServiceAccount => "sa",
            Self::ApiServerEtcdClient => "apiserver-etcd-client",
        }
    }

    /// Returns the name of a cluster's Secret.
    #[must_use]
    pub fn secret_name(self, cluster: &str) -> String {
        format!("{cluster}-{}", self.suffix())
    }

    /// Returns the paths of the certificate (or public key) and the private key below `directory`.
    ///
    /// For an external etcd the user sets the paths; see
    /// [`ExternalEtcd`](capi_api::bootstrap::ExternalEtcd).
    #[must_use]
    pub fn node_files(self, directory: &str) -> (NodeFile, NodeFile) {
        let directory = directory.trim_end_matches('/');
        let (public, private) = match self {
            Self::ClusterCa => ("ca.crt", "ca.key"),
            Self::EtcdCa => ("etcd/ca.crt", "etcd/ca.key"),
            Self::FrontProxyCa => ("front-proxy-ca.crt", "front-proxy-ca.key"),
            Self::ServiceAccount => ("sa.pub", "sa.key"),
            Self::ApiServerEtcdClient => ("apiserver-etcd-client.crt", "apiserver-etcd-client.key"),
        };
        (
            NodeFile { path: format!("{directory}/{public}"), permissions: "0640" },
            NodeFile { path: format!("{directory}/{private}"), permissions: "0600" },
        )
    }
}
