//! Creates one machine: bootstrap object, infrastructure object, Machine.

use std::collections::BTreeMap;

use capi_api::core::{ContractRef, MachineSpec};
use capi_api::{Machine, MachineSet, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, PostParams};
use kube::{Resource as _, ResourceExt as _};

use super::observe::Observed;
use super::sync::{machine_annotations, machine_labels};
use crate::Context;
use crate::contract;
use crate::error::{Failure, chain, describe};
use crate::lookup::Lookup;
use crate::objects::{controller_of, machine_name, random};
use crate::owned_machines;
use crate::template::{made_kind, make};

/// Default naming template of machines.
const NAMING: &str = "{{ .machineSet.name }}-{{ .random }}";

/// Creates one machine with a new name.
///
/// # Guarantees
///
/// If a step fails, the objects of the previous steps are deleted. An interruption between two
/// steps leaves objects that the next reconcile finds by their set label and deletes.
pub(super) async fn create(
    ctx: &Context,
    set: &MachineSet,
    observed: &Observed,
) -> Result<Machine, Failure> {
    let naming = set.spec.machine_naming.as_ref().and_then(|naming| naming.template.as_deref());
    let name =
        machine_name(naming.unwrap_or(NAMING), &set.spec.cluster_name, &set.name_any(), &random())
            .map_err(|problem| Failure::Invalid { object: describe(set), problem })?;
    let template = &set.spec.template.spec;
    let mut made = Vec::new();
    let result = async {
        let mut spec = MachineSpec { provider_id: None, ..template.clone() };
        if let Some(reference) = &template.bootstrap.config_ref {
            let part = part(ctx, set, reference, &observed.bootstrap_template, &name).await?;
            made.push(part.clone());
            spec.bootstrap.config_ref = Some(part);
            spec.bootstrap.data_secret_name = None;
        }
        let reference = &template.infrastructure_ref;
        let part = part(ctx, set, reference, &observed.infrastructure_template, &name).await?;
        made.push(part.clone());
        spec.infrastructure_ref = part;
        machine(ctx, set, &name, spec).await
    }
    .await;
    if result.is_err() {
        undo(ctx, set, &made).await;
    }
    result
}

/// Creates one of the objects of a machine.
async fn part(
    ctx: &Context,
    set: &MachineSet,
    template: &ContractRef,
    observed: &Lookup,
    name: &str,
) -> Result<ContractRef, Failure> {
    let failed = |source| Failure::Contract { object: describe(set), source };
    let found = observed.found().ok_or_else(|| Failure::Invalid {
        object: describe(set),
        problem: format!("{template} does not exist"),
    })?;
    let reference = ContractRef::new(&template.api_group, made_kind(&template.kind), name);
    let namespace = set.namespace().unwrap_or_default();
    let (api, resource) = ctx.contracts.api(&namespace, &reference).await.map_err(failed)?;
    ctx.external.watch(&resource);
    let owner = set.owner_ref(&()).map(|owner| OwnerReference { controller: None, ..owner });
    let object = make(
        found,
        template,
        &resource,
        name,
        &machine_labels(set),
        &machine_annotations(set),
        owner,
    );
    let params = PostParams {
        field_manager: Some(labels::MANAGER_MACHINE_SET.to_owned()),
        ..PostParams::default()
    };
    api.create(&params, &object)
        .await
        .map_err(contract::Error::request("create", reference.to_string()))
        .map_err(failed)?;
    Ok(reference)
}

async fn machine(
    ctx: &Context,
    set: &MachineSet,
    name: &str,
    spec: MachineSpec,
) -> Result<Machine, Failure> {
    let annotations: BTreeMap<String, String> = machine_annotations(set);
    let machine = Machine {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: set.namespace(),
            labels: Some(machine_labels(set)),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: controller_of(set).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    };
    owned_machines::create(ctx, labels::MANAGER_MACHINE_SET, &machine).await
}

/// Deletes the objects of a machine that could not be created. A failure is only logged: the next
/// reconcile finds the remaining objects.
async fn undo(ctx: &Context, set: &MachineSet, made: &[ContractRef]) {
    let namespace = set.namespace().unwrap_or_default();
    for reference in made {
        if let Err(error) = ctx.contracts.delete(&namespace, reference).await {
            tracing::warn!(
                set = set.name_any(),
                object = %reference,
                error = chain(&error),
                "cannot delete an orphaned object yet"
            );
        }
    }
}
