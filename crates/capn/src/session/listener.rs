//! Serves this process's plane to other processes.

use std::net::SocketAddr;
use std::time::Duration;

use camino::Utf8PathBuf;
use kube_plane::{Pki, ServerTls};
use tokio::net::TcpListener;

use crate::error::{CommandError, Doing as _};
use crate::state::StateDir;

/// The kind of process that has the plane open, as recorded in its kubeconfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// `capn serve`: runs as long as it is needed.
    Serve,
    /// Another command: runs until its work is done.
    Command,
}

impl Holder {
    /// Returns the name of the context in the kubeconfig.
    pub(super) fn context(self) -> &'static str {
        match self {
            Self::Serve => "capn",
            Self::Command => "capn-command",
        }
    }
}

/// How often certificates are checked. They are renewed 30 days before they expire; even a laptop
/// that mostly sleeps is awake for an hour in that time.
const LOOK: Duration = Duration::from_secs(3_600);

/// A listener with its certificates and its address.
pub(super) struct Listener {
    pub(super) listener: TcpListener,
    pub(super) tls: ServerTls,
    pub(super) url: String,
    pub(super) kubeconfig: Utf8PathBuf,
    pub(super) renewal: Renewal,
    pki: Pki,
    holder: Holder,
}

/// Renews certificates.
pub(super) struct Renewal {
    dir: Utf8PathBuf,
    names: Vec<String>,
    tls: ServerTls,
    kubeconfig: Utf8PathBuf,
    url: String,
    holder: Holder,
    /// The administrator's certificate in the kubeconfig, PEM.
    admin: String,
}

impl Renewal {
    /// Renews the server's certificate, and the administrator's in the kubeconfig, when they expire
    /// within 30 days. Never returns.
    pub(super) async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let (dir, names) = (self.dir.clone(), self.names.clone());
        let opened = tokio::task::spawn_blocking(move || Pki::open(dir.as_std_path(), &names));
        // The task is never cancelled and does not panic.
        let Ok(opened) = opened.await else { return };
        let renewed = opened.and_then(|pki| {
            let is_new = self.tls.renew(&pki)?;
            // Write only changes: the file is removed when the plane is closed.
            if pki.admin_certificate_pem() != self.admin {
                let kubeconfig = self.kubeconfig.as_std_path();
                pki.write_kubeconfig(kubeconfig, self.holder.context(), &self.url)?;
                self.admin = pki.admin_certificate_pem().to_owned();
            }
            Ok(is_new)
        });
        match renewed {
            Ok(true) => tracing::info!("renewed the certificate of the plane"),
            Ok(false) => {}
            Err(error) => {
                let doing = "cannot renew the certificates of the plane";
                tracing::warn!("{}", CommandError::caused(doing, error).chain().join(": "));
            }
        }
    }
}

impl Listener {
    /// Starts listening. Does not announce the address yet.
    pub(super) async fn open(
        state: &StateDir,
        listen: SocketAddr,
        hosts: &[String],
        holder: Holder,
    ) -> Result<Self, CommandError> {
        let listener = bounded_http::listen(listen).map_err(|error| {
            CommandError::caused(format!("cannot listen on {listen}"), error)
                .hint("choose another port: `--listen 127.0.0.1:0` uses any free port")
        })?;
        let address = listener.local_addr().doing("cannot determine the listening port")?;
        let ip = if address.ip().is_unspecified() { None } else { Some(address.ip().to_string()) };
        let names: Vec<String> = hosts.iter().cloned().chain(ip.clone()).collect();
        let pki = Pki::open(state.pki().as_std_path(), &names)
            .doing("cannot create the certificates of the plane")?;
        let tls = pki.server_tls().doing("cannot use the certificates of the plane")?;
        let host = hosts.first().cloned().or(ip).unwrap_or_else(|| "127.0.0.1".to_owned());
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let url = format!("https://{host}:{}", address.port());
        let kubeconfig = state.plane_kubeconfig();
        let renewal = Renewal {
            dir: state.pki(),
            names,
            tls: tls.clone(),
            kubeconfig: kubeconfig.clone(),
            url: url.clone(),
            holder,
            admin: pki.admin_certificate_pem().to_owned(),
        };
        Ok(Self { listener, tls, url, kubeconfig, renewal, pki, holder })
    }

    /// Writes the kubeconfig through which other processes find the plane.
    pub(super) fn announce(&self) -> Result<(), CommandError> {
        self.pki
            .write_kubeconfig(self.kubeconfig.as_std_path(), self.holder.context(), &self.url)
            .doing("cannot write the kubeconfig of the plane")
    }
}
