//! Profiles of a server, as far as a launch depends on them.

use capn_plan::InstanceName;
use incus_api::Profile;

use crate::{failure::Failure, remote::Remote};

/// Reads the profiles of an instance, in order: those in the manifest, or the default profile. A
/// missing profile is skipped, because the server rejects it later.
pub(crate) async fn of(
    remote: &Remote,
    named: &[String],
    instance: &InstanceName,
) -> Result<Vec<Profile>, Failure> {
    let default = ["default".to_owned()];
    let named = if named.is_empty() { &default } else { named };
    let mut profiles = Vec::with_capacity(named.len());
    for name in named {
        let failure = Failure::server("read the profiles of", instance.as_str());
        let found = remote.client.profile(name).await.map_err(failure)?;
        profiles.extend(found.map(|found| found.value));
    }
    Ok(profiles)
}
