//! What a key pair of a cluster is for, and where it goes.

/// What a key pair of a cluster is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Authority of the API server and of all clients.
    ClusterCa,
    /// Authority of etcd's members and clients.
    EtcdCa,
    /// Authority of the aggregation layer's front proxy.
    FrontProxyCa,
    /// Key pair that signs service account tokens; not a certificate.
    ServiceAccount,
    /// Client certificate of the API server for an external etcd; users supply it.
    ApiServerEtcdClient,
}

/// Where one half of a key pair is on a control plane node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFile {
    /// Absolute path.
    pub path: String,
    /// Mode in octal.
    pub permissions: &'static str,
}

impl Purpose {
    /// Those that are made for a cluster, in the order in which they are written to nodes.
    pub const GENERATED: [Self; 4] =
        [Self::ClusterCa, Self::EtcdCa, Self::FrontProxyCa, Self::ServiceAccount];

    /// Last part of the Secret's name.
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

    /// Name of the Secret of a cluster.
    #[must_use]
    pub fn secret_name(self, cluster: &str) -> String {
        format!("{cluster}-{}", self.suffix())
    }

    /// Paths of certificate (or public key) and private key below `directory`.
    ///
    /// For an external etcd the user says where its files are; see
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
