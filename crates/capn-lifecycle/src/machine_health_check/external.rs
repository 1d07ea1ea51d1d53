//! External remediation requests: reading, creating from a template, deleting.

use std::collections::BTreeMap;

use capi_api::core::ContractRef;
use capi_api::{Machine, MachineHealthCheck, labels, refs};
use capn_controller::lists;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams, Preconditions};
use kube::{Api, ResourceExt as _};

use super::observe::RemediationRequest;
use super::validate::Template;
use crate::Context;
use crate::contract;
use crate::error::{Failure, describe, is_conflict, is_not_found};
use crate::lookup::Lookup;
use crate::objects::{of_cluster, plain_owner};
use crate::template::{made_kind, make};

/// Returns the template of remediation requests.
pub(super) async fn template(
    ctx: &Context,
    check: &MachineHealthCheck,
    template: &Template,
) -> Result<Lookup, Failure> {
    let (api, _) = api(ctx, check, template, &template.kind);
    match api.get_opt(&template.name).await {
        Ok(Some(found)) => Ok(Lookup::Found(Box::new(found))),
        // An undefined kind returns the same response.
        Ok(None) => Ok(Lookup::Missing),
        Err(error) => Err(failed(check, "get", &template.kind)(error)),
    }
}

/// Returns the remediation requests of the cluster, by name.
pub(super) async fn requests(
    ctx: &Context,
    check: &MachineHealthCheck,
    template: &Template,
) -> Result<BTreeMap<String, RemediationRequest>, Failure> {
    let kind = made_kind(&template.kind);
    let (api, _) = api(ctx, check, template, kind);
    let params = ListParams::default().labels(&of_cluster(&check.spec.cluster_name));
    let found = match lists::list_metadata(&api, &params).await {
        Ok(found) => found,
        Err(error) if is_not_found(&error) => return Ok(BTreeMap::new()),
        Err(error) => return Err(failed(check, "list", kind)(error)),
    };
    Ok(found
        .items
        .into_iter()
        .filter_map(|object| {
            let owners = object.metadata.owner_references.into_iter().flatten();
            let observed = RemediationRequest {
                owners: owners.map(|owner| owner.uid).collect(),
                is_deleting: object.metadata.deletion_timestamp.is_some(),
            };
            Some((object.metadata.name?, observed))
        })
        .collect())
}

/// Creates the remediation request of a machine. An existing one is not an error.
pub(super) async fn create(
    ctx: &Context,
    check: &MachineHealthCheck,
    template: &Template,
    from: &DynamicObject,
    machine: &Machine,
) -> Result<(), Failure> {
    let kind = made_kind(&template.kind);
    let (api, resource) = api(ctx, check, template, kind);
    let reference = ContractRef::new(&template.group, &template.kind, &template.name);
    let all = BTreeMap::from([(labels::CLUSTER_NAME.to_owned(), check.spec.cluster_name.clone())]);
    let name = machine.name_any();
    let owner = plain_owner(machine);
    let object = make(from, &reference, &resource, &name, &all, &BTreeMap::new(), owner);
    tracing::info!(machine = name, kind, "requesting the remediation of an unhealthy machine");
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        // The next reconcile checks its owner.
        Err(error) if is_conflict(&error) => Ok(()),
        Err(error) => Err(failed(check, "create", kind)(error)),
    }
}

/// Deletes the remediation request of a machine, if the machine still owns it.
pub(super) async fn delete(
    ctx: &Context,
    check: &MachineHealthCheck,
    template: &Template,
    machine: &Machine,
) -> Result<(), Failure> {
    let kind = made_kind(&template.kind);
    let (api, _) = api(ctx, check, template, kind);
    let name = machine.name_any();
    let found = match api.get_metadata_opt(&name).await {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(()),
        Err(error) => return Err(failed(check, "get", kind)(error)),
    };
    let uid = machine.uid().unwrap_or_default();
    let owners = found.metadata.owner_references.as_deref().unwrap_or_default();
    if !owners.iter().any(|owner| owner.uid == uid) {
        return Ok(());
    }
    tracing::info!(machine = name, kind, "a machine is healthy again");
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: found.metadata.uid, resource_version: None }),
        ..DeleteParams::background()
    };
    match api.delete(&name, &params).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(failed(check, "delete", kind)(error)),
    }
}

/// Returns the API resource with the version in the reference.
fn api(
    ctx: &Context,
    check: &MachineHealthCheck,
    template: &Template,
    kind: &str,
) -> (Api<DynamicObject>, ApiResource) {
    let resource = refs::api_resource(&template.group, &template.version, kind);
    let namespace = check.namespace().unwrap_or_default();
    (Api::namespaced_with(ctx.client.clone(), &namespace, &resource), resource)
}

fn failed(
    check: &MachineHealthCheck,
    act: &'static str,
    kind: &str,
) -> impl FnOnce(kube::Error) -> Failure + use<> {
    let (object, kind) = (describe(check), kind.to_owned());
    move |error| Failure::Contract { object, source: contract::Error::request(act, kind)(error) }
}
