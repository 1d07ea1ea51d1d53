//! All key pairs of one cluster.

use std::collections::BTreeMap;

use capi_api::bootstrap::{ClusterConfiguration, EncryptionAlgorithm, ExternalEtcd};
use jiff::Timestamp;
use tokio::task::JoinSet;

use super::{Error, NodeFile, PemPair, Purpose};

/// Default certificate directory of kubeadm.
const DEFAULT_DIRECTORY: &str = "/etc/kubernetes/pki";

/// Key pairs of one cluster, by purpose.
pub type Set = BTreeMap<Purpose, PemPair>;

/// Requirements for the key pairs of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    algorithm: EncryptionAlgorithm,
    days: Option<i32>,
    directory: Option<String>,
    external_etcd: Option<ExternalEtcd>,
}

impl Wanted {
    /// Returns the requirements of a kubeadm configuration.
    #[must_use]
    pub fn of(configuration: Option<&ClusterConfiguration>) -> Self {
        let Some(configuration) = configuration else { return Self::default() };
        Self {
            algorithm: configuration.encryption_algorithm.unwrap_or_default(),
            days: configuration.ca_certificate_validity_period_days,
            directory: configuration.certificates_dir.clone(),
            external_etcd: configuration.etcd.as_ref().and_then(|etcd| etcd.external.clone()),
        }
    }

    /// Returns the pairs that a control plane node needs, in the order in which they are written.
    #[must_use]
    pub fn purposes(&self) -> Vec<Purpose> {
        let mut all = Purpose::GENERATED.to_vec();
        if self.external_etcd.is_some() {
            all.push(Purpose::ApiServerEtcdClient);
        }
        all
    }

    /// Returns whether a missing pair may be generated. Users provide the pairs of an external
    /// etcd.
    #[must_use]
    pub fn is_generated(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::ApiServerEtcdClient => false,
            Purpose::EtcdCa => self.external_etcd.is_none(),
            Purpose::ClusterCa | Purpose::FrontProxyCa | Purpose::ServiceAccount => true,
        }
    }

    /// Returns the paths of both halves of a pair on a control plane node. `None` for a half that
    /// is not written.
    #[must_use]
    pub fn node_files(&self, purpose: Purpose) -> (NodeFile, Option<NodeFile>) {
        let directory = self.directory.as_deref().unwrap_or(DEFAULT_DIRECTORY);
        let (mut public, mut private) = purpose.node_files(directory);
        let Some(etcd) = &self.external_etcd else { return (public, Some(private)) };
        match purpose {
            Purpose::EtcdCa => {
                public.path.clone_from(&etcd.ca_file);
                (public, None)
            }
            Purpose::ApiServerEtcdClient => {
                public.path.clone_from(&etcd.cert_file);
                private.path.clone_from(&etcd.key_file);
                (public, Some(private))
            }
            Purpose::ClusterCa | Purpose::FrontProxyCa | Purpose::ServiceAccount => {
                (public, Some(private))
            }
        }
    }

    /// Returns the first pair of `set` that a control plane node needs and that is missing or
    /// incomplete.
    #[must_use]
    pub fn first_missing(&self, set: &Set) -> Option<Purpose> {
        self.purposes().into_iter().find(|purpose| match set.get(purpose) {
            None => true,
            Some(pair) => {
                let needs_key = self.node_files(*purpose).1.is_some();
                pair.certificate.is_empty() || (needs_key && pair.private_key.is_empty())
            }
        })
    }
}

/// Generates the given pairs concurrently on blocking threads.
///
/// # Errors
///
/// See [`PemPair::authority`].
///
/// # Cancellation
///
/// If the future is dropped, keys that are being generated are finished and discarded.
pub async fn generate(wanted: &Wanted, purposes: &[Purpose], now: Timestamp) -> Result<Set, Error> {
    let mut threads = JoinSet::new();
    for purpose in purposes.iter().copied() {
        let (algorithm, days) = (wanted.algorithm, wanted.days);
        threads.spawn_blocking(move || {
            let pair = match purpose {
                Purpose::ServiceAccount => PemPair::service_account(algorithm)?,
                _ => PemPair::authority(algorithm, days, now)?,
            };
            Ok::<_, Error>((purpose, pair))
        });
    }
    let mut set = Set::new();
    while let Some(made) = threads.join_next().await {
        let (purpose, pair) = made.map_err(|source| Error::Thread { source })??;
        set.insert(purpose, pair);
    }
    Ok(set)
}
