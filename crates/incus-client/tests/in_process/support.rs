//! A router behind connections that can be cut.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use incus_client::{Client, ClientBuilder};
use tokio_util::task::AbortOnDropHandle;

/// Connections of a client to a router.
#[derive(Clone, Default)]
pub(crate) struct Connections {
    open: Arc<Mutex<Vec<AbortOnDropHandle<()>>>>,
    refuse: Arc<Mutex<bool>>,
}

impl Connections {
    /// Breaks all connections, as a killed server does.
    pub(crate) fn cut(&self) {
        self.open.lock().unwrap().clear();
    }

    /// Number of connections since the last cut.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().unwrap().len()
    }

    /// Refuses or accepts new connections.
    pub(crate) fn refuse(&self, refuse: bool) {
        *self.refuse.lock().unwrap() = refuse;
    }

    pub(crate) fn builder(&self, router: Router) -> ClientBuilder {
        self.builder_named("in-process", router)
    }

    pub(crate) fn builder_named(&self, name: &str, router: Router) -> ClientBuilder {
        let connections = self.clone();
        Client::custom_builder(name, move || {
            let result = connections.connect(router.clone());
            async move { result }
        })
    }

    pub(crate) fn client(&self, router: Router) -> Client {
        self.builder(router).build()
    }

    fn connect(&self, router: Router) -> std::io::Result<tokio::io::DuplexStream> {
        if *self.refuse.lock().unwrap() {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        let (client, mut near) = tokio::io::duplex(64 << 10);
        let (mut far, server) = tokio::io::duplex(64 << 10);
        // Cut the pipe rather than this task: a WebSocket lives on in a task of its own.
        tokio::spawn(async move {
            let service = TowerToHyperService::new(router);
            hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(server), service)
                .await
                .ok();
        });
        let pipe = tokio::spawn(async move {
            tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
        });
        self.open.lock().unwrap().push(AbortOnDropHandle::new(pipe));
        Ok(client)
    }
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(60), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited a minute for {what}"),
    }
}
