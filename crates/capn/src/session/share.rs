//! Letting other processes reach the plane that this one has open.

use std::net::SocketAddr;
use std::time::Duration;

use camino::Utf8PathBuf;
use kube_plane::{Pki, ServerTls};
use tokio::net::TcpListener;

use crate::error::{CommandError, Doing as _};
use crate::state::StateDir;

/// Who has the plane open, as its kubeconfig names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// `capn serve`: for as long as others need it.
    Serve,
    /// Another command: until what was asked of it holds.
    Command,
}

impl Holder {
    /// Name of the context in the kubeconfig.
    pub(super) fn context(self) -> &'static str {
        match self {
            Self::Serve => "capn",
            Self::Command => "capn-command",
        }
    }
}

/// How often certificates are looked at. They are renewed 30 days before they expire; a laptop that sleeps
/// most of the day is awake for so long in that time.
const LOOK: Duration = Duration::from_secs(3_600);

/// A listener, its certificates, and how to reach it.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    pub(super) tls: ServerTls,
    pub(super) url: String,
    pub(super) kubeconfig: Utf8PathBuf,
    pub(super) renewal: Renewal,
    pki: Pki,
    holder: Holder,
}

/// What it takes to make the certificates anew.
pub(super) struct Renewal {
    folder: Utf8PathBuf,
    names: Vec<String>,
    tls: ServerTls,
    kubeconfig: Utf8PathBuf,
    url: String,
    holder: Holder,
    /// The administrator's certificate that the kubeconfig has.
    admin: String,
}

impl Renewal {
    /// Renews certificates that expire within 30 days: that of the server, and the administrator's in the
    /// kubeconfig. Never ends.
    pub(super) async fn run(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let (folder, names) = (self.folder.clone(), self.names.clone());
        let opened = tokio::task::spawn_blocking(move || Pki::open(folder.as_std_path(), &names));
        // The task is neither cancelled nor does it panic.
        let Ok(opened) = opened.await else { return };
        let renewed = opened.and_then(|pki| {
            let is_new = self.tls.renew(&pki)?;
            // What is the same is not written: the file is taken away when the plane is closed.
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

impl Door {
    /// Listens. Nobody is told yet.
    pub(super) async fn open(
        state: &StateDir,
        listen: SocketAddr,
        hosts: &[String],
        holder: Holder,
    ) -> Result<Self, CommandError> {
        let listener = bounded_http::listen(listen).map_err(|error| {
            CommandError::caused(format!("cannot listen on {listen}"), error)
                .hint("choose another port: `--listen 127.0.0.1:0` takes any that is free")
        })?;
        let address =
            listener.local_addr().doing("cannot find out the port that is listened on")?;
        let ip = if address.ip().is_unspecified() { None } else { Some(address.ip().to_string()) };
        let names: Vec<String> = hosts.iter().cloned().chain(ip.clone()).collect();
        let pki = Pki::open(state.pki().as_std_path(), &names)
            .doing("cannot make the certificates of the plane")?;
        let tls = pki.server_tls().doing("cannot use the certificates of the plane")?;
        let host = hosts.first().cloned().or(ip).unwrap_or_else(|| "127.0.0.1".to_owned());
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let url = format!("https://{host}:{}", address.port());
        let kubeconfig = state.plane_kubeconfig();
        let renewal = Renewal {
            folder: state.pki(),
            names,
            tls: tls.clone(),
            kubeconfig: kubeconfig.clone(),
            url: url.clone(),
            holder,
            admin: pki.admin_certificate_pem().to_owned(),
        };
        Ok(Self { listener, tls, url, kubeconfig, renewal, pki, holder })
    }

    /// Writes the kubeconfig by which others find the plane.
    pub(super) fn announce(&self) -> Result<(), CommandError> {
        self.pki
            .write_kubeconfig(self.kubeconfig.as_std_path(), self.holder.context(), &self.url)
            .doing("cannot write the kubeconfig of the plane")
    }
}
