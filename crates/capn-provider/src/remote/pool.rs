//! One connection for each identity.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use capn_plan::{launch::ServerFacts, modules::Unloadable};
use incus_client::Client;
use k8s_openapi::api::core::v1::Secret;
use tokio::sync::{OnceCell, broadcast};

use super::{
    Signal,
    identity::{Connect, Identity},
    watch::{self, Watch},
};
use crate::failure::Failure;

/// Namespace and name of the Secret with an identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RemoteKey {
    pub(crate) namespace: String,
    pub(crate) secret: String,
}

impl std::fmt::Display for RemoteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.secret)
    }
}

/// A server, reached with one identity.
pub(crate) struct Remote {
    pub(crate) client: Client,
    facts: ServerFacts,
    unloadable: Mutex<Unloadable>,
    /// Ends with the last user of this connection.
    _watch: Watch,
}

impl Remote {
    /// What the server is and can do, as far as it is known by now.
    pub(crate) fn facts(&self) -> ServerFacts {
        let unloadable = self.unloadable.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ServerFacts { unloadable, ..self.facts.clone() }
    }

    /// Learns from a refusal which kernel modules the server does not load. False when it tells
    /// nothing new.
    pub(crate) fn learn(&self, refusal: &str) -> bool {
        self.unloadable.lock().unwrap_or_else(PoisonError::into_inner).learn(refusal)
    }
}

struct Slot {
    resource_version: Option<String>,
    remote: Arc<OnceCell<Arc<Remote>>>,
}

/// The connections of this process, one for each identity.
pub(crate) struct Remotes {
    connect: Connect,
    signals: broadcast::Sender<Signal>,
    slots: Mutex<HashMap<RemoteKey, Slot>>,
}

/// Signals that may wait for a slow receiver before it has to look at everything.
const SIGNALS: usize = 4096;

impl Remotes {
    pub(crate) fn new(connect: Connect) -> Self {
        Self { connect, signals: broadcast::channel(SIGNALS).0, slots: Mutex::new(HashMap::new()) }
    }

    /// What happens on the servers from now on.
    pub(crate) fn signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    /// The connection for an identity. A Secret that changed gets a new one; whoever works with
    /// the old one keeps it until done.
    ///
    /// # Cancellation
    ///
    /// Several may wait for one connection to be made; the next of them goes on when the first
    /// gives up.
    pub(crate) async fn get(&self, secret: &Secret) -> Result<Arc<Remote>, Failure> {
        let meta = &secret.metadata;
        let key = RemoteKey {
            namespace: meta.namespace.clone().unwrap_or_default(),
            secret: meta.name.clone().unwrap_or_default(),
        };
        let cell = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = slots.entry(key.clone()).or_insert_with(|| Slot::new(secret));
            if slot.resource_version != meta.resource_version {
                *slot = Slot::new(secret);
            }
            slot.remote.clone()
        };
        cell.get_or_try_init(|| self.connect(&key, secret)).await.cloned()
    }

    async fn connect(&self, key: &RemoteKey, secret: &Secret) -> Result<Arc<Remote>, Failure> {
        let bad = |source| Failure::Identity { secret: key.to_string(), source };
        let identity = Identity::from_secret(secret).map_err(bad)?;
        let client = self.connect.client(&identity).await.map_err(bad)?;
        let server = client.server().await.map_err(|source| Failure::Reach {
            secret: key.to_string(),
            source: Box::new(source),
        })?;
        if !server.is_trusted() {
            return Err(Failure::Untrusted {
                secret: key.to_string(),
                endpoint: client.endpoint().to_owned(),
            });
        }
        tracing::info!(
            secret = %key,
            endpoint = client.endpoint(),
            project = client.project().unwrap_or("default"),
            server = %server.flavor(),
            version = server.environment.server_version,
            "connected"
        );
        let facts = ServerFacts {
            flavor: server.flavor(),
            clustered: server.environment.server_clustered,
            create_and_start: server.supports("instance_create_start"),
            unloadable: Unloadable::default(),
        };
        Ok(Arc::new(Remote {
            _watch: watch::start(key.clone(), client.clone(), self.signals.clone()),
            client,
            facts,
            unloadable: Mutex::new(Unloadable::default()),
        }))
    }
}

impl Slot {
    fn new(secret: &Secret) -> Self {
        Self {
            resource_version: secret.metadata.resource_version.clone(),
            remote: Arc::new(OnceCell::new()),
        }
    }
}
