//! Probes, diagnostics, leader election and controllers, until shutdown.

use std::{
    future::{Future, pending},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use bounded_http::{Limits, Peer};
use kube::Client;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    client::{Rate, client},
    diagnostics::{self, Certificate, DiagnosticsOptions, MetricsText},
    election::{Election, ElectionOptions, chain},
    health::{self, Ready},
};

/// Options of a manager.
#[derive(Clone, Debug)]
pub struct Options {
    /// Options of the controllers.
    pub provider: capn_provider::Options,
    /// Leader election. `None`: this is the only replica.
    pub election: Option<ElectionOptions>,
    /// Rate limit of the controllers' requests to the API server.
    pub rate: Option<Rate>,
    /// Address for probes. `None`: no probes.
    pub health: Option<SocketAddr>,
    /// Metrics and log level. `None`: not served.
    pub diagnostics: Option<DiagnosticsOptions>,
    /// How long running reconciles may take to finish. They can be resumed at any point.
    pub grace: Duration,
}

/// Rate limit of API server reviews for diagnostics clients.
const REVIEWS: (u32, u32) = (5, 10);
/// Delay between attempts to reach the API server.
const RETRY: Duration = Duration::from_secs(2);

/// Runs a manager until `shutdown` resolves.
///
/// # Guarantees
///
/// Controllers run only while this replica leads. The Lease is released after the last reconcile
/// has finished, so that two replicas never work on the same object.
///
/// # Errors
///
/// [`Error`] if an address is in use, if the Lease is lost, or if reconciles did not finish within
/// the grace period.
pub async fn run(
    config: kube::Config,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let reach = |config: &kube::Config, rate| {
        client(config.clone(), rate).map_err(|source| Error::Client(Box::new(source)))
    };
    let controllers = reach(&config, options.rate)?;
    // Neither the election nor a probe may queue behind requests of the controllers.
    let unlimited = reach(&config, None)?;
    let reviews = rate(REVIEWS);
    let reviewer = reach(&config, reviews)?;

    let ready = Ready::default();
    let mut servers = Servers::default();
    let certificate = Arc::new(Certificate::own()?);
    let secret = options.diagnostics.as_ref().and_then(|options| options.certificate.clone());
    if let Some(address) = options.health {
        servers.plain(address, "health probes", health::routes(ready.clone()))?;
    }
    if let Some(diagnostics) = &options.diagnostics {
        let routes = diagnostics::routes(diagnostics, reviewer);
        match diagnostics.insecure {
            true => servers.plain(diagnostics.address, "diagnostics", routes)?,
            false => {
                let tls = diagnostics::tls_server(&diagnostics.tls, certificate.clone())?;
                servers.tls(diagnostics.address, "diagnostics", routes, tls)?;
            }
        }
    }
    let result = tokio::select! {
        result = lead(controllers, unlimited.clone(), &options, ready, shutdown) => result,
        error = servers.failed() => Err(error),
        () = certificate.follow(unlimited, secret) => Ok(()),
    };
    servers.close().await;
    result
}

/// Serves only `/metrics`, over plain HTTP and without authorization, until `shutdown` resolves.
///
/// # Errors
///
/// [`Error::Listen`] if the address is in use.
pub async fn serve_metrics(
    address: SocketAddr,
    metrics: MetricsText,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mut servers = Servers::default();
    servers.plain(address, "metrics", diagnostics::metrics_alone(metrics))?;
    let result = tokio::select! {
        error = servers.failed() => Err(error),
        () = shutdown => Ok(()),
    };
    servers.close().await;
    result
}

async fn lead(
    controllers: Client,
    unlimited: Client,
    options: &Options,
    ready: Ready,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let mut shutdown = std::pin::pin!(shutdown);
    let mut election =
        options.election.clone().map(|options| Election::new(unlimited.clone(), options));
    let prepared = async {
        reach(&unlimited).await;
        ready.set();
        if let Some(election) = &mut election {
            election.lead().await;
        }
    };
    tokio::select! {
        () = prepared => {}
        () = &mut shutdown => {
            // The Lease may have been acquired at this very moment.
            if let Some(election) = &mut election {
                election.release().await;
            }
            return Ok(());
        }
    }
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let mut work =
        std::pin::pin!(capn_provider::run(controllers, options.provider.clone(), async move {
            stopping.cancelled().await;
        },));
    let lost = async {
        match &mut election {
            Some(election) => election.keep().await,
            None => pending().await,
        }
    };
    tokio::select! {
        ended = &mut work => return ended.map_err(Error::Controllers),
        // Never longer than the lease: unfinished reconciles are dropped.
        error = lost => return Err(error),
        () = &mut shutdown => {}
    }
    tracing::info!(
        seconds = options.grace.as_secs(),
        "shutting down; waiting for running reconciles"
    );
    stop.cancel();
    let renewing = async {
        match &mut election {
            Some(election) => election.keep().await,
            None => pending().await,
        }
    };
    tokio::select! {
        ended = &mut work => ended.map_err(Error::Controllers)?,
        error = renewing => return Err(error),
        () = tokio::time::sleep(options.grace) => {
            return Err(Error::Grace { seconds: options.grace.as_secs() });
        }
    }
    if let Some(election) = &mut election {
        election.release().await;
    }
    Ok(())
}

/// Waits until the API server responds.
async fn reach(client: &Client) {
    while let Err(error) = client.apiserver_version().await {
        tracing::warn!(error = chain(&error), "cannot reach the API server");
        tokio::time::sleep(RETRY).await;
    }
}

fn rate((qps, burst): (u32, u32)) -> Option<Rate> {
    Some(Rate { qps: qps.try_into().ok()?, burst: burst.try_into().ok()? })
}

/// The servers of this process.
#[derive(Default)]
struct Servers {
    closing: CancellationToken,
    running: JoinSet<&'static str>,
}

impl Servers {
    fn plain(
        &mut self,
        address: SocketAddr,
        purpose: &'static str,
        routes: Router,
    ) -> Result<(), Error> {
        self.start(address, purpose, routes, None)
    }

    fn tls(
        &mut self,
        address: SocketAddr,
        purpose: &'static str,
        routes: Router,
        tls: rustls::ServerConfig,
    ) -> Result<(), Error> {
        self.start(address, purpose, routes, Some(Arc::new(tls)))
    }

    fn start(
        &mut self,
        address: SocketAddr,
        purpose: &'static str,
        routes: Router,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<(), Error> {
        let listener = listen(address, purpose)?;
        let closing = self.closing.clone().cancelled_owned();
        self.running.spawn(async move {
            let make = move |_: Peer| routes.clone();
            bounded_http::serve(listener, tls, Limits::unauthenticated_only(), make, closing).await;
            purpose
        });
        Ok(())
    }

    /// Resolves when a server ended, which should not happen.
    async fn failed(&mut self) -> Error {
        match self.running.join_next().await {
            Some(Ok(purpose)) => {
                Error::Server { purpose, source: io::ErrorKind::NotConnected.into() }
            }
            Some(Err(panic)) => {
                Error::Server { purpose: "probes or diagnostics", source: io::Error::other(panic) }
            }
            None => pending().await,
        }
    }

    async fn close(&mut self) {
        self.closing.cancel();
        while self.running.join_next().await.is_some() {}
    }
}

fn listen(address: SocketAddr, purpose: &'static str) -> Result<TcpListener, Error> {
    let listener = bounded_http::listen(address).map_err(|source| Error::Listen {
        address,
        purpose,
        source,
    })?;
    let bound = listener.local_addr().unwrap_or(address);
    tracing::info!(address = %bound, purpose, "listening");
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn probes_are_answered_among_half_sent_requests() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let mut servers = Servers::default();
        servers.plain(address, "health probes", health::routes(Ready::default())).unwrap();
        let probe = move || {
            let connect = || std::net::TcpStream::connect(address).unwrap();
            let mut half: Vec<_> = (0..500).map(|_| connect()).collect();
            for stream in &mut half {
                // The connection's slot may have been given to another one.
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost:").ok();
            }
            let mut stream = connect();
            let request = b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
            stream.write_all(request).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let answer = tokio::task::spawn_blocking(probe).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        servers.close().await;
    }
}
