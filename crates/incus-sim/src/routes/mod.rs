//! The REST routes, one file per resource.

mod balancers;
mod events;
mod exec;
mod files;
mod generic;
mod images;
mod instances;
mod operations;
mod server;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, patch, post, put};
use serde::Deserialize;

use crate::api_error::ApiError;
use crate::server_state::Simulator;

/// Query parameters of all routes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Params {
    project: String,
    recursion: String,
    path: String,
    secret: String,
    timeout: String,
    #[serde(rename = "type")]
    kinds: String,
    #[serde(rename = "all-projects")]
    all_projects: String,
}

impl Params {
    fn project(&self) -> String {
        if self.project.is_empty() { "default".into() } else { self.project.clone() }
    }

    fn key(&self, name: &str) -> (String, String) {
        (self.project(), name.to_owned())
    }
}

type Query = axum::extract::Query<Params>;
type Sim = axum::extract::State<Simulator>;
type Path<T> = axum::extract::Path<T>;

pub(crate) fn router(simulator: Simulator) -> Router {
    let mut router = Router::new()
        .route("/1.0", get(server::get).patch(server::patch))
        .route("/1.0/cluster", get(server::cluster))
        .route("/1.0/events", get(events::get))
        .route("/1.0/operations", get(operations::list))
        .route("/1.0/operations/{id}", get(operations::one).delete(operations::cancel))
        .route("/1.0/operations/{id}/wait", get(operations::wait))
        .route("/1.0/operations/{id}/websocket", get(exec::websocket))
        .route("/1.0/instances", get(instances::list).post(instances::create))
        .route(
            "/1.0/instances/{name}",
            get(instances::one)
                .put(instances::put)
                .patch(instances::patch)
                .post(instances::rename)
                .delete(instances::delete),
        )
        .route("/1.0/instances/{name}/state", get(instances::state).put(instances::set_state))
        .route("/1.0/instances/{name}/exec", post(exec::start))
        .route(
            "/1.0/instances/{name}/files",
            get(files::get).post(files::post).delete(files::delete),
        )
        .route("/1.0/instances/{name}/metadata", get(files::metadata).put(files::set_metadata))
        .route(
            "/1.0/instances/{name}/metadata/templates",
            get(files::template).post(files::put_template).delete(files::delete_template),
        )
        .route("/1.0/images", get(images::list).post(images::create))
        .route(
            "/1.0/images/{fingerprint}",
            get(images::one).put(images::put).delete(images::delete),
        )
        .route("/1.0/images/aliases", get(images::aliases).post(images::create_alias))
        .route(
            "/1.0/images/aliases/{name}",
            get(images::alias).put(images::move_alias).delete(images::delete_alias),
        )
        .route("/1.0/cluster/members", get(balancers::members))
        .route("/1.0/networks/{name}/load-balancers", get(balancers::list).post(balancers::create))
        .route(
            "/1.0/networks/{name}/load-balancers/{address}",
            get(balancers::one).put(balancers::put).delete(balancers::delete),
        )
        .route("/1.0/networks/{name}/leases", get(server::leases))
        .route("/1.0/networks/{name}/state", get(server::network_state))
        .route("/1.0/storage-pools/{name}/resources", get(server::pool_resources));
    for kind in generic::KINDS {
        router = router
            .route(
                &format!("/1.0/{kind}"),
                get(move |s: Sim, q: Query| generic::list(kind, s, q))
                    .post(move |s: Sim, q: Query, b| generic::create(kind, s, q, b)),
            )
            .route(
                &format!("/1.0/{kind}/{{name}}"),
                get(move |s: Sim, q: Query, p| generic::one(kind, s, q, p))
                    .merge(put(move |s: Sim, q: Query, p, h, b| generic::put(kind, s, q, p, h, b)))
                    .merge(patch(move |s: Sim, q: Query, p, b| generic::patch(kind, s, q, p, b)))
                    .delete(move |s: Sim, q: Query, p| generic::delete(kind, s, q, p)),
            );
    }
    router
        .fallback(async || ApiError::not_found("Route"))
        .layer(DefaultBodyLimit::max(64 << 20))
        .with_state(simulator)
}
