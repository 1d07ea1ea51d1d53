//! Letting other processes reach the plane that this one has open.

use std::net::SocketAddr;

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

/// A listener, its certificates, and how to reach it.
pub(super) struct Door {
    pub(super) listener: TcpListener,
    pub(super) tls: ServerTls,
    pub(super) url: String,
    pub(super) kubeconfig: Utf8PathBuf,
    pki: Pki,
    holder: Holder,
}

impl Door {
    /// Listens. Nobody is told yet.
    pub(super) async fn open(
        state: &StateDir,
        listen: SocketAddr,
        hosts: &[String],
        holder: Holder,
    ) -> Result<Self, CommandError> {
        let listener = TcpListener::bind(listen).await.map_err(|error| {
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
        Ok(Self { listener, tls, url, kubeconfig: state.plane_kubeconfig(), pki, holder })
    }

    /// Writes the kubeconfig by which others find the plane.
    pub(super) fn announce(&self) -> Result<(), CommandError> {
        self.pki
            .write_kubeconfig(self.kubeconfig.as_std_path(), self.holder.context(), &self.url)
            .doing("cannot write the kubeconfig of the plane")
    }
}
