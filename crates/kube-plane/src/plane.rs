//! The plane: a store, its API, and background work.

use std::{collections::HashMap, future::Future, path::PathBuf, sync::Arc};

use k8s_openapi::{
    api::rbac::v1::ClusterRole,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

mod roles;

use crate::{
    Admission, Error, Limits, NAMESPACE_BYTES, PlaneService, Quota, ServerTls,
    api::{Api, Body, Subresource, Target, WriteOptions},
    background,
    flow_control::FlowControl,
    identity::Identity,
    json,
    rbac::{CLUSTER_ADMIN, CLUSTER_ROLES, Rbac},
    registry::{CRDS, Registry, Resource, definition},
    serve,
    status::ApiError,
    store::{Event, History, NAMESPACES, Store},
};

/// Options for opening a plane.
#[derive(Debug)]
pub struct PlaneOptions {
    /// Path of the SQLite file, which is created with its directory. `None` keeps everything in
    /// memory.
    pub path: Option<PathBuf>,
    /// Custom resource definitions to create or update.
    pub crds: Vec<CustomResourceDefinition>,
    /// Cluster roles to create or update: missing rules are added, other rules stay.
    pub cluster_roles: Vec<ClusterRole>,
    /// Admission functions.
    pub admission: Vec<Admission>,
    /// Number of events kept for resuming watches, at most 4 MiB of them. `None` is 2000.
    pub history: Option<usize>,
    /// Limits of clients over HTTPS.
    pub limits: Limits,
    /// Additional limits on the number of objects of a kind in a namespace.
    pub quotas: Vec<Quota>,
    /// Maximum total size of the objects in a namespace, as JSON in bytes; operators are exempt.
    /// All objects are in memory.
    pub namespace_bytes: usize,
}

impl Default for PlaneOptions {
    fn default() -> Self {
        Self {
            path: None,
            crds: Vec::new(),
            cluster_roles: Vec::new(),
            admission: Vec::new(),
            history: None,
            limits: Limits::default(),
            quotas: Vec::new(),
            namespace_bytes: NAMESPACE_BYTES,
        }
    }
}

/// Stops the background work when the last user of a plane is dropped.
#[derive(Debug)]
pub(crate) struct TaskGuard(CancellationToken);

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// An open plane. Clones are cheap and refer to the same plane.
///
/// The plane stays open until all clones, services and clients are dropped, or until
/// [`Plane::close`].
#[derive(Clone, Debug)]
pub struct Plane {
    api: Arc<Api>,
    shutdown: CancellationToken,
    flow_control: Arc<FlowControl>,
    guard: Arc<TaskGuard>,
}

impl Plane {
    /// Opens a plane and registers the definitions. Must be called within a Tokio runtime.
    ///
    /// It can be interrupted at any time; the next call completes it.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process has it open; the other variants if the file cannot
    /// be used or a definition is rejected.
    pub async fn open(options: PlaneOptions) -> Result<Self, Error> {
        let PlaneOptions {
            path,
            crds,
            cluster_roles,
            admission,
            history,
            limits,
            quotas,
            namespace_bytes,
        } = options;
        let registry = Arc::new(Registry::new());
        let rbac = Arc::new(Rbac::default());
        let followers = (Arc::clone(&registry), Arc::clone(&rbac));
        let follow = move |event: &Event| {
            followers.0.follow(event);
            followers.1.follow(event);
        };
        let history =
            History { events: history.unwrap_or(History::default().events), ..History::default() };
        let open = move || Store::open(path, history, Box::new(follow));
        let store = tokio::task::spawn_blocking(open).await.map_err(|_| Error::WriterGone)??;
        let mut hooks: HashMap<(String, String), Vec<Admission>> = HashMap::new();
        for hook in admission {
            hooks.entry((hook.group.clone(), hook.kind.clone())).or_default().push(hook);
        }
        let tokens = Arc::default();
        let lines = Arc::default();
        let api = Arc::new(Api {
            store,
            registry,
            admission: hooks,
            rbac,
            tokens,
            lines,
            quotas,
            namespace_bytes,
        });
        prepare(&api, crds).await?;
        roles::register(&api, cluster_roles).await?;
        let shutdown = CancellationToken::new();
        background::spawn(&api, &shutdown);
        let guard = Arc::new(TaskGuard(shutdown.clone()));
        let flow_control = Arc::new(FlowControl::new(limits));
        Ok(Self { api, shutdown, flow_control, guard })
    }

    /// Returns a [`tower::Service`] for this plane with all permissions and without authentication.
    #[must_use]
    pub fn service(&self) -> PlaneService {
        PlaneService {
            api: Arc::clone(&self.api),
            shutdown: self.shutdown.clone(),
            caller: Identity::default(),
            flow_control: None,
            _guard: Arc::clone(&self.guard),
        }
    }

    /// Returns a client for this plane without a socket, with the default namespace `default`.
    ///
    /// Must be called within a Tokio runtime.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// As [`Plane::service`], for a user with the permissions of their roles and bindings.
    ///
    /// `groups` are in addition to `system:authenticated`. A service account
    /// (`system:serviceaccount:NAMESPACE:NAME`) without groups is in those of its namespace.
    #[must_use]
    pub fn service_as(&self, user: &str, groups: &[&str]) -> PlaneService {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        PlaneService { caller: Identity::named(user, groups), ..self.service() }
    }

    /// As [`Plane::client`], for a user as in [`Plane::service_as`].
    ///
    /// Must be called within a Tokio runtime.
    #[must_use]
    pub fn client_as(&self, user: &str, groups: &[&str]) -> kube::Client {
        kube::Client::new(self.service_as(user, groups), "default")
    }

    /// As [`Plane::service`], for a controller with this name. It has all permissions, but the
    /// objects that it creates in a namespace count against the quota of the namespace.
    ///
    /// Deletions, changes of a status, and changes of objects that are being deleted are never
    /// rejected.
    #[must_use]
    pub fn controller_service(&self, name: &str) -> PlaneService {
        PlaneService { caller: Identity::controller(name), ..self.service() }
    }

    /// As [`Plane::client`], for a controller as in [`Plane::controller_service`].
    ///
    /// Must be called within a Tokio runtime.
    #[must_use]
    pub fn controller_client(&self, name: &str) -> kube::Client {
        kube::Client::new(self.controller_service(name), "default")
    }

    /// Serves HTTPS (HTTP/1.1 and HTTP/2) until `shutdown` completes, then closes watches and
    /// connections.
    ///
    /// Clients present a certificate of the CA, or the bearer token. Others get 401, except for
    /// `/healthz`, `/livez`, `/readyz` and `/version`. The common name of a certificate is the
    /// user, its organizations are the groups. The token is in `system:masters`.
    ///
    /// # Errors
    /// [`Error::Serve`] if the listener has no address. Clients cannot make it fail: a failing
    /// connection is only logged, and [`PlaneOptions::limits`] apply.
    pub async fn serve_https(
        &self,
        listener: TcpListener,
        tls: &ServerTls,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let flow_control = Some(Arc::clone(&self.flow_control));
        let service = PlaneService { flow_control, ..self.service() };
        serve::serve(service, self.flow_control.limits().connections, listener, tls, shutdown).await
    }

    /// Stops watches and background work, completes pending writes, and releases the file and the
    /// lock. Remaining clients get 503 for writes.
    pub async fn close(self) {
        self.shutdown.cancel();
        self.api.store.close().await;
    }
}

/// Creates the objects that always exist.
async fn prepare(api: &Arc<Api>, crds: Vec<CustomResourceDefinition>) -> Result<(), Error> {
    let options = WriteOptions { manager: "kube-plane".to_owned(), ..WriteOptions::default() };
    let tables = api.registry.tables();
    let failed = |name: &str, error: &ApiError| Error::RegisterCrd {
        name: name.to_owned(),
        message: error.message().to_owned(),
    };
    if let Some(namespaces) = tables.stored(NAMESPACES) {
        let creates = crate::api::FIXED_NAMESPACES.iter().map(|name| {
            let body = json!({"metadata": {"name": name}});
            let (namespaces, options) = (&namespaces, &options);
            async move {
                if api.store.get(NAMESPACES, "", name).is_some() {
                    return Ok(());
                }
                let created = api.create(namespaces, "", body.into(), options).await;
                created.map(drop).map_err(|error| (*name, error))
            }
        });
        futures::future::try_join_all(creates)
            .await
            .map_err(|(name, error)| failed(name, &error))?;
    }
    if let Some(roles) = tables.stored(CLUSTER_ROLES)
        && api.store.get(CLUSTER_ROLES, "", CLUSTER_ADMIN).is_none()
    {
        let all = json!(["*"]);
        let body = json!({"metadata": {"name": CLUSTER_ADMIN}, "rules": [
            {"verbs": all, "apiGroups": all, "resources": all},
            {"verbs": all, "nonResourceURLs": all},
        ]});
        let created = api.create(&roles, "", body.into(), &options).await;
        created.map_err(|error| failed(CLUSTER_ADMIN, &error))?;
    }
    let Some(definitions) = tables.stored(CRDS) else { return Ok(()) };
    // Created concurrently, so that they share a commit.
    let registrations = crds.into_iter().map(|crd| {
        let (definitions, options) = (&definitions, &options);
        async move {
            let name = crd.metadata.name.clone().unwrap_or_default();
            register(api, definitions, crd, options).await.map_err(|error| failed(&name, &error))
        }
    });
    futures::future::try_join_all(registrations).await?;
    Ok(())
}

/// Creates or updates a definition. Other labels and annotations stay.
async fn register(
    api: &Arc<Api>,
    definitions: &Resource,
    crd: CustomResourceDefinition,
    options: &WriteOptions,
) -> Result<(), ApiError> {
    let name = crd.metadata.name.clone().unwrap_or_default();
    let wanted =
        serde_json::to_value(crd).map_err(|error| ApiError::internal(error.to_string()))?;
    let Some(object) = api.store.get(CRDS, "", &name) else {
        api.create(definitions, "", wanted.into(), options).await?;
        return Ok(());
    };
    let stored = object.value()?;
    let mut complete = wanted.clone();
    definition::complete(&mut complete, Some(&stored), "");
    let has = |field: &str| {
        let entries = json::at(&wanted, &["metadata", field]).and_then(Value::as_object);
        entries
            .into_iter()
            .flatten()
            .all(|(key, value)| json::at(&stored, &["metadata", field, key]) == Some(value))
    };
    if stored["spec"] == complete["spec"] && has("labels") && has("annotations") {
        return Ok(());
    }
    let target = Target {
        resource: definitions,
        namespace: "",
        name: &name,
        subresource: Subresource::None,
    };
    let change = |old: &Value| {
        let mut new = old.clone();
        new["spec"] = wanted["spec"].clone();
        for field in ["labels", "annotations"] {
            let entries = json::at(&wanted, &["metadata", field]).and_then(Value::as_object);
            for (key, value) in entries.into_iter().flatten() {
                json::set(&mut new, &["metadata", field, key], value.clone());
            }
        }
        Ok(Body::from(new))
    };
    api.update(target, options, change).await?;
    Ok(())
}
