//! Names for completion.

use std::ffi::OsString;
use std::time::Duration;

use camino::Utf8PathBuf;
use capi_api::{Cluster, Machine};
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;

use crate::environment::Environment;
use crate::identity;
use crate::session::{Need, Session};
use crate::state::StateDir;

/// Time limit, so that a key press does not block on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum number of suggestions.
const MOST: usize = 1_000;

/// What an argument names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Cluster,
    Machine,
    Remote,
}

/// Source of names.
#[derive(Clone, Debug)]
pub(super) struct Source {
    environment: Environment,
    state_dir: Option<Utf8PathBuf>,
}

impl Source {
    /// Returns the source for a command line that is being typed.
    pub(super) fn of(environment: &Environment, words: &[OsString]) -> Self {
        let words = || words.iter().filter_map(|word| word.to_str());
        let named = words().zip(words().skip(1)).find(|(word, _)| *word == "--state-dir");
        let joined = words().find_map(|word| word.strip_prefix("--state-dir="));
        let state_dir = named.map(|(_, dir)| dir).or(joined).map(Utf8PathBuf::from);
        let state_dir = state_dir.or_else(|| environment.state_dir());
        Self { environment: environment.clone(), state_dir }
    }

    /// Names of a kind. Errors are ignored, since there is nowhere to print them.
    pub(super) fn names(&self, kind: Kind) -> Vec<String> {
        let mut names = match kind {
            Kind::Remote => {
                let mut remotes = identity::remotes_with_address(&self.environment);
                remotes.push("local".to_owned());
                remotes
            }
            Kind::Cluster => self.objects::<Cluster>(),
            Kind::Machine => self.objects::<Machine>(),
        };
        names.sort();
        names.dedup();
        names.truncate(MOST);
        names
    }

    fn objects<K>(&self) -> Vec<String>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let Some(state) = self.state_dir.as_ref().map(StateDir::at) else { return Vec::new() };
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return Vec::new();
        };
        crate::use_crypto();
        let names =
            runtime.block_on(async { tokio::time::timeout(PATIENCE, of_plane::<K>(&state)).await });
        names.ok().flatten().unwrap_or_default()
    }
}

async fn of_plane<K>(state: &StateDir) -> Option<Vec<String>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let session = Session::open(state, Need::Objects).await.ok()?;
    let names = list::<K>(session.client()).await;
    session.close().await.ok()?;
    names
}

async fn list<K>(client: &Client) -> Option<Vec<String>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::all(client.clone());
    let found = api.list_metadata(&ListParams::default()).await.ok()?;
    // The shell inserts names into the command line unquoted.
    let is_plain =
        |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    Some(found.items.iter().map(|object| object.name_any()).filter(is_plain).collect())
}
