//! Changes that `up` makes to an existing cluster: numbers of machines, and new pools.

use capi_api::{KubeadmControlPlane, MachineDeployment};
use kube::Client;

use super::pools::set_replicas;
use crate::error::CommandError;
use crate::manifest::{Bootstrap, ClusterRequest};
use crate::ui::Ui;

/// A changed number of machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// Name of the MachineDeployment; `None` is the control plane.
    deployment: Option<String>,
    /// Display name.
    shown: String,
    is: u32,
    asked: u32,
}

/// Changes required to bring a cluster to the requested state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    counts: Vec<Count>,
    /// Names of pools that do not exist yet.
    new_pools: Vec<String>,
}

impl Changes {
    /// Compares a cluster with a request. Differences that cannot be applied were refused earlier.
    ///
    /// # Errors
    ///
    /// Returns an error if the number of control planes changes but no KubeadmControlPlane manages
    /// them.
    pub(super) fn between(
        is: &ClusterRequest,
        asked: &ClusterRequest,
    ) -> Result<Self, CommandError> {
        let mut changes = Self::default();
        if is.control_planes != asked.control_planes {
            if is.bootstrap == Bootstrap::None {
                return Err(CommandError::new(format!(
                    "the {1} control planes of cluster `{0}` are not managed by a KubeadmControlPlane, so their number cannot be changed",
                    is.name, is.control_planes
                ))
                .hint("omit `--control-planes` to keep the current number"));
            }
            changes.counts.push(Count {
                deployment: None,
                shown: "control planes".to_owned(),
                is: is.control_planes,
                asked: asked.control_planes,
            });
        }
        let known = is.pools();
        for pool in asked.pools() {
            match known.iter().find(|known| known.name == pool.name) {
                None => changes.new_pools.push(pool.name),
                Some(known) if known.count() == pool.count() => {}
                Some(known) => changes.counts.push(Count {
                    deployment: Some(asked.deployment_name(&pool.name)),
                    shown: format!("workers of pool `{}`", pool.name),
                    is: known.count(),
                    asked: pool.count(),
                }),
            }
        }
        Ok(changes)
    }

    /// Returns whether there is nothing to change.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Prints the changes.
    pub(super) fn say(&self, ui: &Ui) {
        for Count { shown, is, asked, .. } in &self.counts {
            ui.say(format!("{shown}: {is} → {asked}"));
        }
        for name in &self.new_pools {
            ui.say(format!("pool `{name}` is new"));
        }
    }

    /// Applies the changed numbers of machines. New pools are created with the other objects.
    ///
    /// # Errors
    ///
    /// Returns an error if the plane refuses a change.
    pub(super) async fn apply(
        &self,
        client: &Client,
        request: &ClusterRequest,
    ) -> Result<(), CommandError> {
        let namespace = &request.namespace;
        for Count { deployment, asked, .. } in &self.counts {
            match deployment {
                Some(name) => {
                    set_replicas::<MachineDeployment>(client, namespace, name, *asked).await?;
                }
                None => {
                    let name = request.control_plane_name();
                    set_replicas::<KubeadmControlPlane>(client, namespace, &name, *asked).await?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Pool;
    use crate::manifest::request::testing::demo;

    #[test]
    fn counts_and_new_pools_change_and_nothing_is_deleted() {
        let is = demo().with_pools(vec![Pool::plain("md-0", 1), Pool::plain("old", 1)]);
        let asked = ClusterRequest { control_planes: 3, ..demo() }
            .with_pools(vec![Pool::plain("md-0", 2), Pool::plain("new", 1)]);
        let found = Changes::between(&is, &asked).unwrap();
        assert_eq!(found.new_pools, ["new"]);
        let counts: Vec<_> = found
            .counts
            .iter()
            .map(|count| format!("{:?} {} {}", count.deployment, count.is, count.asked))
            .collect();
        assert_eq!(counts, ["None 1 3", "Some(\"demo-md-0\") 1 2"]);
        assert!(Changes::between(&is, &is).unwrap().is_empty());
    }

    #[test]
    fn standalone_control_planes_keep_their_count() {
        let is = ClusterRequest { bootstrap: Bootstrap::None, ..demo() };
        let asked = ClusterRequest { control_planes: 2, ..is.clone() };
        assert!(Changes::between(&is, &asked).is_err());
    }
}
