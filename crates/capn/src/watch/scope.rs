//! Which machines of a cluster a command is about.

use capi_api::{Machine, labels};

use super::View;

/// Machines that a command waits for. Others may be lost, fail or be on their way: they are not its business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of the cluster.
    #[default]
    All,
    /// Control plane machines, if wanted, and those of a MachineDeployment, if one is named.
    Some {
        /// Whether control plane machines are among them.
        control_planes: bool,
        /// Name of the MachineDeployment.
        deployment: Option<String>,
    },
}

impl Scope {
    fn has(&self, machine: &Machine) -> bool {
        let Self::Some { control_planes, deployment } = self else { return true };
        if machine.is_control_plane() {
            return *control_planes;
        }
        let labels = machine.metadata.labels.as_ref();
        let of = labels.and_then(|labels| labels.get(labels::DEPLOYMENT_NAME));
        deployment.is_some() && of == deployment.as_ref()
    }

    /// The same view with nothing but what is within the scope.
    pub fn narrow(&self, view: View) -> View {
        self.split(view).0
    }

    /// What is within the scope, and the machines that are not.
    pub fn split(&self, mut view: View) -> (View, View) {
        let Self::Some { control_planes, deployment } = self else {
            return (view, View::default());
        };
        let (inside, outside) = view.machines.into_iter().partition(|machine| self.has(machine));
        view.machines = inside;
        let mut others = View { machines: outside, ..View::default() };
        let (inside, outside) = view.lxc_machines.into_iter().partition(|lxc_machine| {
            // One whose Machine is gone is about to go too.
            !others.machines.iter().any(|machine| View::is_of(lxc_machine, machine))
        });
        view.lxc_machines = inside;
        others.lxc_machines = outside;
        view.deployments.retain(|found| found.metadata.name == *deployment);
        if !control_planes {
            view.control_plane = None;
        }
        (view, others)
    }
}
