//! Owners recorded in the state directories of this machine.

use std::collections::BTreeSet;

use camino::Utf8PathBuf;
use capn_api::{LXCCluster, LXCMachine};
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::Context;
use crate::error::{CommandError, Doing as _};
use crate::session::{Need, Session};
use crate::state::StateDir;

/// Objects that can own instances and networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owners {
    /// Their UIDs.
    pub(crate) uids: BTreeSet<String>,
    /// Each as `namespace/name`.
    pub(crate) names: BTreeSet<String>,
}

/// A state directory and its owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateDirOwners {
    pub(crate) dir: Utf8PathBuf,
    pub(crate) owners: Owners,
}

/// Returns the owners in each state directory on this machine: that of this command, the user's
/// own, that of the user who called `sudo`, and that of the Debian package's service.
///
/// # Errors
///
/// Returns an error if one exists but cannot be read, since its owners are then unknown.
pub(crate) async fn held(
    context: &Context,
    state: &StateDir,
) -> Result<Vec<StateDirOwners>, CommandError> {
    let mut dirs = vec![state.path().to_owned()];
    for dir in context.environment.usual_state_dirs() {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    let mut held = Vec::new();
    for dir in dirs {
        let state = StateDir::at(&dir);
        let doing =
            || format!("cannot read the state directory {dir}, which may contain the owners");
        let hint = "run the command as root, or as the owner of that directory";
        match std::fs::metadata(state.database()) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(CommandError::caused(doing(), error).hint(hint)),
        }
        let owners = of_dir(&state).await.map_err(|error| error.while_doing(doing()))?;
        held.push(StateDirOwners { dir, owners });
    }
    Ok(held)
}

async fn of_dir(state: &StateDir) -> Result<Owners, CommandError> {
    let session = Session::open(state, Need::Objects).await?;
    let owners = of_plane(session.client()).await;
    session.close().await?;
    owners
}

/// Returns the owners in a plane.
///
/// # Errors
///
/// Returns an error if it does not respond.
pub(super) async fn of_plane(client: &Client) -> Result<Owners, CommandError> {
    let mut owners = Owners::default();
    add::<LXCMachine>(client, &mut owners).await?;
    add::<LXCCluster>(client, &mut owners).await?;
    Ok(owners)
}

async fn add<K>(client: &Client, owners: &mut Owners) -> Result<(), CommandError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::all(client.clone());
    let found = api.list_metadata(&ListParams::default()).await;
    for object in found.doing(format!("cannot list objects of kind {}", K::kind(&())))?.items {
        let namespace = object.namespace().unwrap_or_default();
        owners.names.insert(format!("{namespace}/{}", object.name_any()));
        owners.uids.extend(object.metadata.uid);
    }
    Ok(())
}
