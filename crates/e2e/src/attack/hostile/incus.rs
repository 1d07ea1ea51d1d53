//! A simulated Incus server over HTTPS, which does whatever it is asked.

use std::net::SocketAddr;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use incus_sim::Simulator;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::attack::tls::{CertifiedKey, own_address, self_signed, serving};

/// Image of machines and load balancers on that server.
const IMAGE: &str = "capn/test";

/// A server that creates any instance.
pub(crate) struct Simulated {
    pub(crate) simulator: Simulator,
    pub(crate) address: SocketAddr,
    pub(crate) pair: CertifiedKey,
    _accepting: AbortOnDropHandle<()>,
}

impl Simulated {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let simulator = Simulator::new();
        simulator.add_image("default", IMAGE, &[]);
        let pair = self_signed("incus", &[])?;
        let acceptor = TlsAcceptor::from(serving(&pair)?);
        let listener = TcpListener::bind((own_address(), 0)).await?;
        let address = listener.local_addr()?;
        let router = simulator.router();
        let accepting = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut running = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                running.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = TowerToHyperService::new(router);
                    let serving = auto::Builder::new(TokioExecutor::new());
                    let stream = TokioIo::new(stream);
                    drop(serving.serve_connection_with_upgrades(stream, service).await);
                });
            }
        }));
        Ok(Self { simulator, address, pair, _accepting: accepting })
    }

    /// Handles a connection after TLS.
    pub(crate) async fn connect(&self) -> std::io::Result<tokio::io::DuplexStream> {
        self.simulator.connector()().await
    }

    /// Values of the identity Secret for this server.
    pub(crate) fn identity(&self) -> anyhow::Result<Value> {
        identity(&format!("https://{}", self.address), &self.pair)
    }
}

/// Values of the identity Secret for a server.
pub(crate) fn identity(server: &str, pinned: &CertifiedKey) -> anyhow::Result<Value> {
    let client = self_signed("attacker", &[])?;
    Ok(json!({
        "server": server, "server-crt": pinned.certificate, "project": "default",
        "client-crt": client.certificate, "client-key": client.key,
    }))
}
