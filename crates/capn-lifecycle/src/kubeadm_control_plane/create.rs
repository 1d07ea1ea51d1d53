//! Creates one machine: infrastructure object, KubeadmConfig, Machine.

use capi_api::controlplane::REMEDIATION_FOR;
use capi_api::core::ContractRef;
use capi_api::{Cluster, KubeadmConfig, KubeadmControlPlane, Machine, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DynamicObject, PostParams};
use kube::{Api, Resource as _, ResourceExt as _};

use super::desired::{kubeadm_config, machine, machine_annotations, machine_labels, machine_name};
use super::remediation::Record;
use super::validate::Valid;
use crate::Context;
use crate::contract;
use crate::error::{Failure, describe};
use crate::objects::random;
use crate::owned_machines;
use crate::template::{made_kind, make};

/// Parameters of a new machine.
#[derive(Clone, Debug)]
pub(super) struct NewMachine {
    /// It joins. Otherwise it initializes the control plane.
    pub(super) join: bool,
    /// Failure domain of the machine.
    pub(super) failure_domain: Option<String>,
    /// The unhealthy machine that it replaces.
    pub(super) replaces: Option<Record>,
}

/// Creates one machine with a new name.
///
/// # Guarantees
///
/// An interruption or failure between two steps leaves objects that belong to the control plane but
/// to no machine. The next reconcile finds and deletes them. No other controller acts on such
/// objects before their machine exists.
pub(super) async fn create(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    valid: &Valid,
    cluster: &Cluster,
    template: Option<&DynamicObject>,
    new: NewMachine,
) -> Result<Machine, Failure> {
    let NewMachine { join, failure_domain, replaces } = new;
    let cluster = cluster.name_any();
    let namespace = kcp.namespace().unwrap_or_default();
    let name = machine_name(kcp, &cluster, &random())
        .map_err(|problem| Failure::Invalid { object: describe(kcp), problem })?;
    infrastructure(ctx, kcp, &cluster, &name, template).await?;

    let params = PostParams {
        field_manager: Some(labels::MANAGER_KUBEADM_CONTROL_PLANE.to_owned()),
        ..PostParams::default()
    };
    let configs: Api<KubeadmConfig> = Api::namespaced(ctx.client.clone(), &namespace);
    let config = kubeadm_config(kcp, valid, &cluster, &name, join);
    configs.create(&params, &config).await.map_err(Failure::api("create", &config))?;

    let mut machine = machine(kcp, &cluster, &name, failure_domain);
    if let Some(record) = replaces {
        machine.annotations_mut().insert(REMEDIATION_FOR.to_owned(), record.text());
    }
    owned_machines::create(ctx, labels::MANAGER_KUBEADM_CONTROL_PLANE, &machine).await
}

async fn infrastructure(
    ctx: &Context,
    kcp: &KubeadmControlPlane,
    cluster: &str,
    name: &str,
    template: Option<&DynamicObject>,
) -> Result<(), Failure> {
    let failed = |source| Failure::Contract { object: describe(kcp), source };
    let from = &kcp.spec.machine_template.spec.infrastructure_ref;
    let template = template.ok_or_else(|| Failure::Invalid {
        object: describe(kcp),
        problem: format!("{from} does not exist"),
    })?;
    let reference = ContractRef::new(&from.api_group, made_kind(&from.kind), name);
    let namespace = kcp.namespace().unwrap_or_default();
    let (api, resource) = ctx.contracts.api(&namespace, &reference).await.map_err(failed)?;
    ctx.external.watch(&resource);
    let owner = kcp.owner_ref(&()).map(|owner| OwnerReference { controller: None, ..owner });
    let object = make(
        template,
        from,
        &resource,
        name,
        &machine_labels(kcp, cluster),
        &machine_annotations(kcp),
        owner,
    );
    let params = PostParams {
        field_manager: Some(labels::MANAGER_KUBEADM_CONTROL_PLANE.to_owned()),
        ..PostParams::default()
    };
    api.create(&params, &object)
        .await
        .map(drop)
        .map_err(contract::Error::request("create", reference.to_string()))
        .map_err(failed)
}
