//! The plane: a store, the API over it, and the background work that keeps it tidy.

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
    Admission, Error, Limits, PlaneService, Quota, ServerTls,
    api::{Api, Body, Subresource, Target, WriteOptions},
    background,
    gate::Gate,
    identity::Identity,
    json,
    rbac::{CLUSTER_ADMIN, CLUSTER_ROLES, Rbac},
    registry::{CRDS, Registry, Resource, definition},
    serve,
    status::ApiError,
    store::{Event, History, NAMESPACES, Store},
};

/// How to open a plane.
#[derive(Debug, Default)]
pub struct PlaneOptions {
    /// The SQLite file, made with its folder if absent. `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    /// Definitions that are created, or brought up to date, at open.
    pub crds: Vec<CustomResourceDefinition>,
    /// Cluster roles that are created, or brought up to date, at open: rules that are missing are
    /// added, what others added stays.
    pub cluster_roles: Vec<ClusterRole>,
    /// Functions that run on create and update of objects.
    pub admission: Vec<Admission>,
    /// Events kept for watches that resume; `None` is 2000. At most 4 MiB of them are kept.
    pub history: Option<usize>,
    /// What clients of [`Plane::serve_https`] may take.
    pub limits: Limits,
    /// How many objects of some kinds a namespace may hold, beside the limits that all have.
    pub quotas: Vec<Quota>,
}

/// Ends the background work when the last user of a plane is gone.
#[derive(Debug)]
pub(crate) struct Guard(CancellationToken);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// An open plane. Cloning is cheap; all clones are the same plane.
///
/// The plane stays open until all clones, services and clients are dropped, or until
/// [`Plane::close`].
#[derive(Clone, Debug)]
pub struct Plane {
    api: Arc<Api>,
    shutdown: CancellationToken,
    gate: Arc<Gate>,
    guard: Arc<Guard>,
}

impl Plane {
    /// Opens a plane and registers the definitions. Has to run inside a Tokio runtime.
    ///
    /// Everything it does can be interrupted and is done again by the next open.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process has it open; the other variants if the file cannot
    /// be used or a definition is refused.
    pub async fn open(options: PlaneOptions) -> Result<Self, Error> {
        let PlaneOptions { path, crds, cluster_roles, admission, history, limits, quotas } =
            options;
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
        let api = Arc::new(Api { store, registry, admission: hooks, rbac, tokens, lines, quotas });
        prepare(&api, crds).await?;
        roles::register(&api, cluster_roles).await?;
        let shutdown = CancellationToken::new();
        background::spawn(&api, &shutdown);
        let guard = Arc::new(Guard(shutdown.clone()));
        let gate = Arc::new(Gate::new(limits));
        Ok(Self { api, shutdown, gate, guard })
    }

    /// The plane as a [`tower::Service`] with all rights. Nothing is authenticated here.
    #[must_use]
    pub fn service(&self) -> PlaneService {
        PlaneService {
            api: Arc::clone(&self.api),
            shutdown: self.shutdown.clone(),
            caller: Identity::default(),
            gate: None,
            _guard: Arc::clone(&self.guard),
        }
    }

    /// A client for this plane without any socket, default namespace `default`.
    ///
    /// Has to be called inside a Tokio runtime.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        kube::Client::new(self.service(), "default")
    }

    /// As [`Plane::service`], for a user who may do what roles and bindings allow him.
    ///
    /// `groups` are those he is in beside `system:authenticated`; a service account
    /// (`system:serviceaccount:NAMESPACE:NAME`) without groups is in those of its namespace.
    #[must_use]
    pub fn service_as(&self, user: &str, groups: &[&str]) -> PlaneService {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        PlaneService { caller: Identity::named(user, groups), ..self.service() }
    }

    /// As [`Plane::client`], for a user as in [`Plane::service_as`].
    ///
    /// Has to be called inside a Tokio runtime.
    #[must_use]
    pub fn client_as(&self, user: &str, groups: &[&str]) -> kube::Client {
        kube::Client::new(self.service_as(user, groups), "default")
    }

    /// As [`Plane::service`], for a controller of this name: it has all rights too, but what it makes in
    /// a namespace counts against the quota of the namespace, as if those made it whom it works for.
    ///
    /// Deletions, changes of a status and changes of what is being deleted are never refused for it.
    #[must_use]
    pub fn controller_service(&self, name: &str) -> PlaneService {
        PlaneService { caller: Identity::controller(name), ..self.service() }
    }

    /// As [`Plane::client`], for a controller as in [`Plane::controller_service`].
    ///
    /// Has to be called inside a Tokio runtime.
    #[must_use]
    pub fn controller_client(&self, name: &str) -> kube::Client {
        kube::Client::new(self.controller_service(name), "default")
    }

    /// Serves HTTPS (HTTP/1.1 and 2) until `shutdown` is ready, then ends watches and connections.
    ///
    /// Clients show a certificate of the CA, or the bearer token; others get 401, but for
    /// `/healthz`, `/livez`, `/readyz` and `/version`. A certificate's common name is the user, its
    /// organizations are his groups; the token is in `system:masters`.
    ///
    /// # Errors
    /// [`Error::Serve`] if the listener has no address. Nothing that clients do ends it: a failing
    /// connection is only logged, and what they may take is in [`PlaneOptions::limits`].
    pub async fn serve_https(
        &self,
        listener: TcpListener,
        tls: &ServerTls,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let gate = Some(Arc::clone(&self.gate));
        let service = PlaneService { gate, ..self.service() };
        serve::serve(service, self.gate.limits().connections, listener, tls, shutdown).await
    }

    /// Ends watches and the background work, finishes the writes that were asked for, and gives
    /// file and lock free. Whoever still has a client gets 503 answers to writes.
    pub async fn close(self) {
        self.shutdown.cancel();
        self.api.store.close().await;
    }
}

/// The objects that are always there.
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
    // All at once, so that they share a commit.
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

/// Creates a definition, or changes it to what is given. Labels and annotations of others stay.
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
