//! Patches of a ClusterClass, applied as by Cluster API's topology controller.
//!
//! Only inline patches are supported; `external` ones are rejected. Templates in patches are Go
//! templates with the functions in [`functions`], while Cluster API supports all of sprig.

mod error;
mod functions;
mod manifests;
mod patches;
mod schema;
mod variables;

use std::collections::BTreeMap;

use serde_json::Value;

pub use error::ClassError;
use manifests::Class as Manifests;
use patches::{Item, Role};
use variables::Variables;

/// A ClusterClass with its templates.
#[derive(Clone, Debug)]
pub struct Class(Manifests);

/// Result of a class and a topology: templates with all patches applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Template of the cluster infrastructure.
    pub infrastructure_cluster: Value,
    /// Template of the control plane.
    pub control_plane: Value,
    /// Template of the control plane machines.
    pub control_plane_machines: Value,
    /// Templates by the name of the MachineDeployment in the topology.
    pub workers: BTreeMap<String, Workers>,
}

/// Templates of one MachineDeployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Workers {
    /// Template of the bootstrap configuration.
    pub bootstrap: Value,
    /// Template of the machines.
    pub infrastructure: Value,
}

impl Class {
    /// Parses the manifests of a class: one ClusterClass and its templates.
    ///
    /// # Errors
    ///
    /// [`ClassError::Manifests`] when the text is not YAML, or does not contain exactly one
    /// ClusterClass.
    pub fn parse(text: &str) -> Result<Self, ClassError> {
        Manifests::parse(text).map(Self)
    }

    /// Renders the templates for the topology of a Cluster.
    ///
    /// # Errors
    ///
    /// [`ClassError`] when a variable is missing, unknown or invalid, a template cannot be
    /// rendered, or a patch cannot be applied.
    pub fn render(&self, cluster: &Value) -> Result<Rendered, ClassError> {
        let class = &self.0;
        let variables = Variables::of(class, cluster)?;
        let render = |role: Role<'_>, template: &Value, variables: &Value| {
            patches::apply(class, Item { role, template, variables })
        };
        let control_plane = variables.control_plane()?;
        let mut workers = BTreeMap::new();
        for deployment in class.deployments(cluster) {
            let worker = deployment?;
            let variables = variables.workers(worker.topology)?;
            let role = Role::Workers { class: worker.class };
            workers.insert(
                worker.name.to_owned(),
                Workers {
                    bootstrap: render(role, worker.bootstrap, &variables)?,
                    infrastructure: render(role, worker.infrastructure, &variables)?,
                },
            );
        }
        Ok(Rendered {
            infrastructure_cluster: render(
                Role::InfrastructureCluster,
                class.template("/spec/infrastructure/templateRef")?,
                &variables.global(),
            )?,
            control_plane: render(
                Role::ControlPlane,
                class.template("/spec/controlPlane/templateRef")?,
                &control_plane,
            )?,
            control_plane_machines: render(
                Role::ControlPlane,
                class.template("/spec/controlPlane/machineInfrastructure/templateRef")?,
                &control_plane,
            )?,
            workers,
        })
    }
}
