//! Common parts of commands that change a cluster: the plane, its controllers, shutdown and ctrl-C.

use capn_provider::LocalSockets;
use kube::Client;

use super::{Need, Session};
use crate::error::CommandError;
use crate::signal::Interrupt;
use crate::state::StateDir;

/// Runs `work` on a cluster in a namespace. Controllers run meanwhile, unless this is a dry run.
/// Without a database, runs no controllers and creates no database. `hint` is printed on ctrl-C;
/// empty means no hint.
///
/// # Errors
///
/// Returns the error of `work`, or an error if a controller stopped, the user interrupted, or the
/// plane cannot be opened or closed.
pub async fn on_cluster<T>(
    state: &StateDir,
    namespace: &str,
    dry_run: bool,
    hint: &str,
    work: impl AsyncFnOnce(Client) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let mut interrupt = Interrupt::listen()?;
    let sockets = LocalSockets::default().and(namespace);
    let need = match state.database().exists() && !dry_run {
        true => Need::Controllers(&sockets),
        false => Need::Objects,
    };
    let mut session = Session::open(state, need).await?;
    let client = session.client().clone();
    let result = tokio::select! {
        result = session.while_running(Box::pin(work(client))) => result,
        () = interrupt.wait() => {
            let error = CommandError::interrupted("interrupted");
            Err(if hint.is_empty() { error } else { error.hint(hint) })
        }
    };
    let closed = session.close().await;
    let done = result?;
    closed.map(|()| done)
}
