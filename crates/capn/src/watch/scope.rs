//! The machines of a cluster that a command operates on.

use capi_api::core::GROUP;
use capi_api::{Machine, labels};

use super::View;

/// Machines that a command waits for. The state of other machines does not matter to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All machines of the cluster.
    #[default]
    All,
    /// Control plane machines, if selected, and machines of the listed MachineDeployments.
    Some {
        /// Whether control plane machines are included.
        control_planes: bool,
        /// Names of the MachineDeployments.
        deployments: Vec<String>,
    },
    /// Machines of a MachinePool.
    Pool(String),
}

impl Scope {
    fn has(&self, machine: &Machine) -> bool {
        let (control_planes, deployments) = match self {
            Self::All => return true,
            Self::Pool(pool) => return pool_of(machine) == Some(pool.as_str()),
            Self::Some { control_planes, deployments } => (control_planes, deployments),
        };
        if machine.is_control_plane() {
            return *control_planes;
        }
        let labels = machine.metadata.labels.as_ref();
        let of = labels.and_then(|labels| labels.get(labels::DEPLOYMENT_NAME));
        of.is_some_and(|of| deployments.contains(of))
    }

    /// Limits the view to the scope.
    pub fn narrow(&self, view: View) -> View {
        self.split(view).0
    }

    /// Splits a view into the scope and the machines outside of it.
    pub fn split(&self, mut view: View) -> (View, View) {
        let (control_planes, deployments, pool) = match self {
            Self::All => return (view, View::default()),
            Self::Pool(pool) => (false, [].as_slice(), Some(pool)),
            Self::Some { control_planes, deployments } => {
                (*control_planes, deployments.as_slice(), None)
            }
        };
        let (inside, outside) = view.machines.into_iter().partition(|machine| self.has(machine));
        view.machines = inside;
        let mut others = View { machines: outside, ..View::default() };
        let (inside, outside) = view.lxc_machines.into_iter().partition(|lxc_machine| {
            // An LXCMachine whose Machine is gone is about to be deleted too.
            !others.machines.iter().any(|machine| View::is_of(lxc_machine, machine))
        });
        view.lxc_machines = inside;
        others.lxc_machines = outside;
        view.deployments.retain(|found| {
            found.metadata.name.as_ref().is_some_and(|name| deployments.contains(name))
        });
        view.pools.retain(|found| found.metadata.name.as_ref() == pool && pool.is_some());
        if !control_planes {
            view.control_plane = None;
        }
        (view, others)
    }
}

/// Returns the name of the MachinePool that a machine is of.
pub fn pool_of(machine: &Machine) -> Option<&str> {
    let owner = capi_api::refs::owner(&machine.metadata, GROUP, "MachinePool")?;
    Some(owner.name.as_str())
}
