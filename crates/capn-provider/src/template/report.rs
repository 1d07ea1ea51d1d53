//! Writes the size of a template's machines to its status.

use capn_api::{LXCMachineTemplate, LXCMachineTemplateStatus, NodeInfo};
use capn_plan::capacity::Capacity;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Api;

use crate::{context::Context, failure::Failure, patch, references::namespace};

/// Writes the known values. Unknown ones are left out, because autoscalers have their own defaults.
pub(super) async fn size(
    ctx: &Context,
    template: &LXCMachineTemplate,
    size: &Capacity,
    architecture: Option<&'static str>,
) -> Result<(), Failure> {
    let quantities = size.quantities().into_iter();
    let next = LXCMachineTemplateStatus {
        capacity: quantities.map(|(name, value)| (name.to_owned(), Quantity(value))).collect(),
        node_info: architecture.map(|architecture| NodeInfo {
            architecture: architecture.to_owned(),
            operating_system: "linux".to_owned(),
        }),
    };
    let api: Api<LXCMachineTemplate> =
        Api::namespaced(ctx.client.clone(), namespace(&template.metadata));
    patch::status(&api, template, template.status.as_ref(), &next).await?;
    Ok(())
}
