//! All other objects of a workload cluster: a plane in memory that records writes.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, request::Parts};
use http_body_util::{BodyExt as _, Full};
use kube::Client;
use kube_plane::{Plane, PlaneOptions, PlaneService};

use crate::workload::Body;

/// An API server that records writes. Clones are the same server.
#[derive(Clone)]
pub(crate) struct Others {
    service: PlaneService,
    plane: Arc<Plane>,
    writes: Arc<Mutex<Vec<String>>>,
}

impl Others {
    pub(crate) async fn new() -> Self {
        let plane = Plane::open(PlaneOptions::default()).await.expect("a plane in memory opens");
        Self { service: plane.service(), plane: Arc::new(plane), writes: Arc::default() }
    }

    /// Returns a client whose writes are not recorded: another user of the cluster.
    pub(crate) fn client(&self) -> Client {
        self.plane.client()
    }

    /// Returns the recorded writes, in order: method and path.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.writes.lock().unwrap().clone()
    }

    pub(crate) async fn answer(&self, parts: Parts, body: Bytes) -> Response<Body> {
        if parts.method != Method::GET {
            let line = format!("{} {}", parts.method, parts.uri.path());
            self.writes.lock().unwrap().push(line);
        }
        let request = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
        let answer = tower::ServiceExt::oneshot(self.service.clone(), request).await;
        let (head, body) = answer.expect("a plane answers").into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Response::from_parts(head, Full::new(body).boxed_unsync())
    }
}
