//! Probes of the kubelet.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, http::StatusCode, routing::get};

/// Whether this copy is able to work: it has reached the API server once.
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

/// `/healthz` says that the process answers, `/readyz` that it reached the API server. Neither asks
/// an Incus server: one that is away is no reason to start this process again.
pub(crate) fn routes(ready: Ready) -> Router {
    let readiness = move || {
        let ready = ready.get();
        async move {
            match ready {
                true => (StatusCode::OK, "ok"),
                false => (StatusCode::SERVICE_UNAVAILABLE, "the API server was not reached yet"),
            }
        }
    };
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(readiness))
}
