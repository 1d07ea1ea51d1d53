//! `capn serve`

use std::net::SocketAddr;

use clap::Args;
use kube_plane::Pki;
use tokio::net::TcpListener;

use crate::Context;
use crate::error::{CommandError, Doing as _};
use crate::session::{Serving, open_plane};
use crate::signal::Interrupt;
use crate::state::StateDir;

/// Options of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Where the Kubernetes API of the plane listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:16443")]
    pub listen: SocketAddr,
    /// More names or addresses that the plane is reached by, for its certificate; can be repeated
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
}

pub(super) async fn run(context: &Context, args: ServeArgs) -> Result<(), CommandError> {
    let state = StateDir::of(context)?;
    let mut interrupt = Interrupt::listen()?;
    let plane = open_plane(&state).await.map_err(|error| error.into_command(&state))?;
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        CommandError::caused(format!("cannot listen on {}", args.listen), error)
            .hint("choose another port: `--listen 127.0.0.1:0` takes any that is free")
    })?;
    let address = listener.local_addr().doing("cannot find out the port that is listened on")?;
    let mut hosts = args.hosts.clone();
    if !address.ip().is_unspecified() {
        hosts.push(address.ip().to_string());
    }
    let pki = Pki::open(state.pki().as_std_path(), &hosts)
        .doing("cannot make the certificates of the plane")?;
    let tls = pki.server_tls().doing("cannot use the certificates of the plane")?;
    let host = match (args.hosts.first(), address.ip().is_unspecified()) {
        (Some(host), _) => host.clone(),
        (None, true) => "127.0.0.1".to_owned(),
        (None, false) => address.ip().to_string(),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let url = format!("https://{host}:{}", address.port());
    let serving = Serving::start(plane, listener, tls);
    let kubeconfig = state.plane_kubeconfig();
    pki.write_kubeconfig(kubeconfig.as_std_path(), "capn", &url)
        .doing("cannot write the kubeconfig of the plane")?;
    context.ui.say(format!("serving {url} for {}", state.path()));
    context.ui.say(format!("  kubectl --kubeconfig {kubeconfig} get clusters,machines -A"));
    let mut serving = serving;
    let result = tokio::select! {
        ended = serving.ended() => Err(ended),
        () = interrupt.wait() => {
            context.ui.say("stopping");
            Ok(())
        }
    };
    // Gone first, so that no command attaches to a plane that is about to close.
    if let Err(error) = std::fs::remove_file(&kubeconfig)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        context.ui.note(format!("cannot remove {kubeconfig}: {error}"));
    }
    let closed = serving.close().await;
    result.and(closed)
}
