//! Liveness and readiness probes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, http::StatusCode, routing::get};

/// Whether this replica is ready: it has reached the API server once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ready(Arc<AtomicBool>);

impl Ready {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Returns the routes: `/healthz` succeeds if the process responds, and `/readyz` once it has
/// reached the API server. Neither depends on an Incus server, because restarting this process does
/// not help if the server is unreachable.
pub(crate) fn routes(ready: Ready) -> Router {
    let readiness = move || {
        let ready = ready.get();
        async move {
            match ready {
                true => (StatusCode::OK, "ok"),
                false => {
                    (StatusCode::SERVICE_UNAVAILABLE, "the API server has not been reached yet")
                }
            }
        }
    };
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readiness))
}
