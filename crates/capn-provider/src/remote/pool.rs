//! One connection per identity.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use capn_controller::workload::Reach;
use capn_plan::{launch::ServerFacts, modules::UnloadableModules};
use incus_client::{Client, Observation};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use tokio::{
    sync::{OnceCell, Semaphore, broadcast},
    time::Instant,
};

use super::{
    Signal,
    certificates::Certificates,
    identity::{Connect, Identity, IdentityError, Server},
    local::LocalSockets,
    watch::{self, Watch},
};
use crate::{
    failure::Failure,
    metrics::{Metrics, ServerName},
};

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

/// Maximum number of concurrent creations of instances that wait for bootstrap data. More of them
/// would slow down the control plane that they wait for; the rest are created when it is ready.
const EARLY: usize = 2;

/// A server, connected with one identity.
pub(crate) struct Remote {
    pub(crate) client: Client,
    facts: ServerFacts,
    unloadable_modules: Mutex<UnloadableModules>,
    /// Limits the creation of instances before their bootstrap data.
    pub(crate) early: Semaphore,
    /// Stops when the last user of this connection is gone.
    _watch: Watch,
}

impl Remote {
    /// Returns the known properties of the server.
    pub(crate) fn facts(&self) -> ServerFacts {
        let unloadable_modules =
            self.unloadable_modules.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ServerFacts { unloadable_modules, ..self.facts.clone() }
    }

    /// Records the kernel module that a server error names. Returns false if there is nothing new.
    pub(crate) fn learn(&self, refusal: &str) -> bool {
        self.unloadable_modules.lock().unwrap_or_else(PoisonError::into_inner).learn(refusal)
    }
}

struct Slot {
    resource_version: Option<String>,
    certificates: Certificates,
    remote: Arc<OnceCell<Arc<Remote>>>,
    /// Time of the last use.
    used: Instant,
}

/// The connections of this process, one per identity.
pub(crate) struct Remotes {
    connect: Connect,
    local: LocalSockets,
    metrics: Metrics,
    /// How long an unused connection is kept.
    keep: Duration,
    signals: broadcast::Sender<Signal>,
    slots: Mutex<HashMap<RemoteKey, Slot>>,
}

/// Number of signals that a slow receiver may fall behind before it must reconcile everything.
const SIGNALS: usize = 4096;
/// Number of resync intervals for which an unused connection is kept. The objects that need it are
/// reconciled once per interval.
const KEPT_RESYNCS: u32 = 3;

/// Maximum number of connections that are kept per namespace. Each takes about 150 KiB and a file
/// descriptor, and a tenant may write any number of Secrets. Those used longest ago are closed
/// first, and opened again when they are needed.
const MAX_PER_NAMESPACE: usize = 32;

impl Remotes {
    /// Creates the connections for objects that are reconciled every `resync`.
    pub(crate) fn new(
        connect: Connect,
        local: LocalSockets,
        metrics: Metrics,
        resync: Duration,
    ) -> Self {
        Self {
            connect,
            local,
            metrics,
            keep: resync.saturating_mul(KEPT_RESYNCS),
            signals: broadcast::channel(SIGNALS).0,
            slots: Mutex::new(HashMap::new()),
        }
    }

    /// Subscribes to events of the servers.
    pub(crate) fn signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    /// Returns the connection for an identity. A changed Secret gets a new connection; users of the
    /// old one keep it until they are done.
    ///
    /// # Errors
    ///
    /// [`Failure::Expired`], without contacting the server, if the client certificate has expired.
    ///
    /// # Cancellation
    ///
    /// Several tasks may wait for one connection. If the first one is cancelled, the next one
    /// continues.
    pub(crate) async fn get(
        &self,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<Arc<Remote>, Failure> {
        let (key, certificates, cell) = self.slot(secret);
        if let Some(ended) = certificates.client_ended(now) {
            return Err(Failure::Expired { secret: key.to_string(), ended });
        }
        cell.get_or_try_init(|| self.connect(&key, secret)).await.cloned()
    }

    /// Returns when the certificates of an identity expire.
    pub(crate) fn certificates(&self, secret: &Secret) -> Certificates {
        self.slot(secret).1
    }

    fn slot(&self, secret: &Secret) -> (RemoteKey, Certificates, Arc<OnceCell<Arc<Remote>>>) {
        let meta = &secret.metadata;
        let key = RemoteKey {
            namespace: meta.namespace.clone().unwrap_or_default(),
            secret: meta.name.clone().unwrap_or_default(),
        };
        let now = Instant::now();
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|other, slot| {
            let kept = *other == key || now.duration_since(slot.used) < self.keep;
            if !kept {
                self.metrics.certificates(other, &Certificates::default());
            }
            kept
        });
        let slot = slots.entry(key.clone()).or_insert_with(|| Slot::new(secret));
        if slot.resource_version != meta.resource_version {
            *slot = Slot::new(secret);
        }
        slot.used = now;
        let found = (slot.certificates, slot.remote.clone());
        self.metrics.certificates(&key, &found.0);
        if let Some(oldest) = surplus(&slots, &key) {
            self.metrics.certificates(&oldest, &Certificates::default());
            slots.remove(&oldest);
        }
        (key, found.0, found.1)
    }

    async fn connect(&self, key: &RemoteKey, secret: &Secret) -> Result<Arc<Remote>, Failure> {
        let bad = |source| Failure::Identity { secret: key.to_string(), source };
        let identity = Identity::from_secret(secret).map_err(bad)?;
        if matches!(identity.server, Server::Unix(_)) && !self.local.allow(&key.namespace) {
            return Err(bad(IdentityError::LocalSocket { namespace: key.namespace.clone() }));
        }
        let name = ServerName::default();
        let (metrics, named) = (self.metrics.clone(), name.clone());
        let observe = move |observed: &Observation<'_>| metrics.servers().observe(&named, observed);
        let local = self.local.allow(&key.namespace);
        let reach = if local { Reach::ThisMachine } else { Reach::Network };
        let client =
            self.connect.client(&identity, &key.namespace, reach, observe).await.map_err(bad)?;
        let server = client.server().await.map_err(|source| match source.not_permitted() {
            true => bad(IdentityError::ThisMachine { namespace: key.namespace.clone() }),
            false => Failure::Reach { secret: key.to_string(), source: Box::new(source) },
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
        name.is(&server.flavor());
        let facts = ServerFacts {
            flavor: server.flavor(),
            clustered: server.environment.server_clustered,
            create_and_start: server.supports("instance_create_start"),
            unloadable_modules: UnloadableModules::default(),
        };
        Ok(Arc::new(Remote {
            _watch: watch::start(key.clone(), client.clone(), self.signals.clone()),
            client,
            facts,
            unloadable_modules: Mutex::new(UnloadableModules::default()),
            early: Semaphore::new(EARLY),
        }))
    }
}

/// Returns the connection of the namespace of `newest` that was used longest ago, if there are too
/// many.
fn surplus(slots: &HashMap<RemoteKey, Slot>, newest: &RemoteKey) -> Option<RemoteKey> {
    let others = || {
        let is_other =
            |key: &RemoteKey| key.namespace == newest.namespace && key.secret != newest.secret;
        slots.iter().filter(move |(key, _)| is_other(key))
    };
    if others().count() < MAX_PER_NAMESPACE {
        return None;
    }
    others().min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone())
}

impl Slot {
    fn new(secret: &Secret) -> Self {
        // An invalid one is reported when it is used to connect.
        let certificates = Identity::from_secret(secret).map(|found| Certificates::of(&found));
        Self {
            resource_version: secret.metadata.resource_version.clone(),
            certificates: certificates.unwrap_or_default(),
            remote: Arc::new(OnceCell::new()),
            used: Instant::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    use crate::metrics::{self, Format, Registry};

    fn secret(name: &str, end: i32) -> Secret {
        let mut made = rcgen::CertificateParams::new(vec!["capn".into()]).unwrap();
        made.not_after = rcgen::date_time_ymd(end, 1, 1);
        let certificate = made.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        let data = [("server", "https://a"), ("client-crt", &certificate), ("client-key", "k")];
        let data = data.map(|(key, value)| (key.to_owned(), ByteString(value.into())));
        Secret {
            metadata: ObjectMeta {
                namespace: Some("lab".into()),
                name: Some(name.into()),
                ..ObjectMeta::default()
            },
            data: Some(data.into()),
            ..Secret::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_identity_that_nobody_asks_for_is_forgotten() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let shown = || {
            let text = metrics::encode(&registry, Format::Prometheus).unwrap();
            let ends = text.lines().filter(|line| line.starts_with("capn_certificate_expiry"));
            ends.map(str::to_owned).collect::<Vec<_>>()
        };
        let remotes = Remotes::new(
            Connect::default(),
            LocalSockets::default(),
            metrics,
            Duration::from_secs(600),
        );
        remotes.certificates(&secret("one", 2030));
        remotes.certificates(&secret("two", 2031));
        assert_eq!(shown().len(), 2, "{:?}", shown());
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(600)).await;
            remotes.certificates(&secret("two", 2032));
        }
        let label = r#"namespace="lab",secret="two",certificate="client""#;
        let two = format!("capn_certificate_expiry_timestamp_seconds{{{label}}} 1924992000");
        assert_eq!(shown(), [two]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_connections_of_a_namespace_are_limited() {
        let remotes = remotes(Connect::default());
        let of_other = Secret {
            metadata: ObjectMeta {
                namespace: Some("other".into()),
                ..secret("one", 2030).metadata
            },
            ..secret("one", 2030)
        };
        remotes.certificates(&of_other);
        let secrets: Vec<_> =
            (0..=MAX_PER_NAMESPACE).map(|number| secret(&format!("s{number}"), 2030)).collect();
        for secret in &secrets {
            remotes.certificates(secret);
            tokio::time::advance(Duration::from_secs(1)).await;
            remotes.certificates(&secrets[0]);
        }
        let slots = remotes.slots.lock().unwrap();
        let is_kept = |namespace: &str, secret: &str| {
            slots.contains_key(&RemoteKey { namespace: namespace.into(), secret: secret.into() })
        };
        assert_eq!(slots.len(), MAX_PER_NAMESPACE + 1);
        assert!(is_kept("lab", "s0"), "the one in use is kept");
        assert!(!is_kept("lab", "s1"), "the one used longest ago is not");
        assert!(is_kept("other", "one"), "other namespaces are not affected");
    }

    fn remotes(connect: Connect) -> Remotes {
        let (local, resync) = (LocalSockets::default(), Duration::from_secs(600));
        Remotes::new(connect, local, Metrics::default(), resync)
    }

    #[tokio::test]
    async fn the_local_socket_is_for_the_namespaces_that_are_allowed() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let observed = asked.clone();
        let connect = Connect::with(move |identity| {
            observed.lock().unwrap().push(identity.clone());
            Some(Client::unix_builder("/nonexistent"))
        });
        let remotes = remotes(connect);
        let identity = |namespace: &str, server: &str| Secret {
            data: Some([("server".to_owned(), ByteString(server.into()))].into()),
            ..Secret {
                metadata: ObjectMeta {
                    namespace: Some(namespace.into()),
                    ..secret("one", 2030).metadata
                },
                ..Secret::default()
            }
        };
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        for server in ["unix://", "unix:///var/lib/incus/unix.socket"] {
            let Err(failure) = remotes.get(&identity("lab", server), now).await else {
                panic!("connected");
            };
            assert_eq!(failure.class(), capn_plan::diagnosis::Class::Blocked);
            let message = failure.message();
            assert!(message.contains("--local-socket-namespaces"), "{message}");
            assert!(message.contains("namespace lab"), "{message}");
        }
        assert!(asked.lock().unwrap().is_empty(), "a socket was opened");
        assert!(remotes.get(&identity("default", "unix://"), now).await.is_err());
        assert_eq!(asked.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_expired_client_certificate_is_not_used() {
        let connect = Connect::with(|_| panic!("the server is asked"));
        let remotes = remotes(connect);
        let now = "2030-01-01T00:00:00Z".parse().unwrap();
        let Err(failure) = remotes.get(&secret("one", 2030), now).await else {
            panic!("connected");
        };
        assert_eq!(failure.class(), capn_plan::diagnosis::Class::Blocked);
        let message = failure.message();
        for said in
            ["Secret lab/one expired at 2030-01-01T00:00:00Z", "`capn identity create NEW-NAME`"]
        {
            assert!(message.contains(said), "{message}");
        }
    }
}
