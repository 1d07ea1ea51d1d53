//! Probes, diagnostics, the election and the controllers, until the end.

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

/// What a manager does.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the controllers.
    pub provider: capn_provider::Options,
    /// How copies agree on who leads; `None`: this is the only one.
    pub election: Option<ElectionOptions>,
    /// Requests a second to the API server, of the controllers alone.
    pub rate: Option<Rate>,
    /// Where probes are answered; `None`: nowhere.
    pub health: Option<SocketAddr>,
    /// Metrics and log level; `None`: nowhere.
    pub diagnostics: Option<DiagnosticsOptions>,
    /// How long running reconciles may take to end. What they do can be resumed at any point.
    pub grace: Duration,
}

/// Requests a second that questions of diagnostics clients may cause at the API server.
const REVIEWS: (u32, u32) = (5, 10);
/// Pause between two tries to reach the API server.
const RETRY: Duration = Duration::from_secs(2);

/// Runs a manager until `shutdown` is ready.
///
/// # Guarantees
///
/// Controllers run only while this copy leads. The lead is given back after the last reconcile has
/// ended, so that no two copies work on one object.
///
/// # Errors
///
/// Addresses that are taken, the lead lost, reconciles that did not end within the grace period.
pub async fn run(
    config: kube::Config,
    options: Options,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let reach = |config: &kube::Config, rate| {
        client(config.clone(), rate).map_err(|source| Error::Client(Box::new(source)))
    };
    let controllers = reach(&config, options.rate)?;
    // Neither the election nor a probe may wait behind the requests of the controllers.
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

/// Serves `/metrics` alone, over plain HTTP to whoever reaches the address, until `shutdown` is ready.
///
/// # Errors
///
/// An address that is taken.
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
            // The lead may have been taken in this very moment.
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
        // Not a moment longer than the lead lasts: what was begun is dropped where it is.
        error = lost => return Err(error),
        () = &mut shutdown => {}
    }
    tracing::info!(seconds = options.grace.as_secs(), "ending, reconciles may finish");
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

/// Waits until the API server answers.
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
            bounded_http::serve(listener, tls, Limits::of_strangers(), make, closing).await;
            purpose
        });
        Ok(())
    }

    /// Ready when a server ended, which none does by itself.
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
                // Its place may have been given to another.
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
