//! Table-driven tests of a pool's plan.

use serde_json::json;

use super::super::observe::Instance;
use super::*;
use crate::testing::{both, cluster, controller, deleting, external, machine, pool};

fn reference(name: &str) -> ContractRef {
    ContractRef::new("foo.io", "FooMachine", name)
}

fn instance(name: &str) -> Instance {
    Instance { reference: reference(name), is_leaving: false }
}

/// A Machine of the pool for the infrastructure object with its name.
fn member(name: &str, change: Value) -> Machine {
    let ours = json!({
        "metadata": {
            "ownerReferences": [owner()],
            "labels": { "cluster.x-k8s.io/pool-name": "mp" },
        },
        "spec": {
            "version": null, "bootstrap": { "configRef": null, "dataSecretName": "" },
            "infrastructureRef": { "name": name },
        },
    });
    machine(name, both(ours, &change))
}

/// The owner reference of objects that the pool controls.
fn owner() -> Value {
    controller("MachinePool", "mp")
}

fn owned(kind: &str, name: &str, change: Value) -> Lookup {
    external(kind, name, both(json!({ "metadata": { "ownerReferences": [owner()] } }), &change))
}

fn with_data() -> Value {
    json!({ "status": { "initialization": { "dataSecretCreated": true }, "dataSecretName": "d" } })
}

fn observed(machines: Vec<Machine>, instances: &[&str]) -> Observed {
    Observed {
        cluster: Some(cluster(json!({}))),
        bootstrap: owned("FooConfig", "b", with_data()),
        infrastructure: owned("FooMachinePool", "i", json!({})),
        machines,
        instances: Some(instances.iter().map(|name| instance(name)).collect()),
        node_uids: BTreeMap::new(),
        unreadable: None,
    }
}

/// Formats the plan.
fn words(plan: &Plan) -> Vec<String> {
    plan.actions
        .iter()
        .map(|action| match action {
            Action::AddFinalizer => "add finalizer".to_owned(),
            Action::RemoveFinalizer => "remove finalizer".to_owned(),
            Action::Patch(change) => format!("patch {change}"),
            Action::PatchExternal { object, .. } => format!("own {object}"),
            Action::CreateMachine(machine) => format!("make {}", machine.name_any()),
            Action::PatchMachine { name, change } => format!("change {name} {change}"),
            Action::DeleteMachine(name) => format!("delete {name}"),
            Action::DeleteExternal(object) => format!("delete {object}"),
        })
        .collect()
}

#[test]
fn a_pool_owns_its_objects_and_records_its_data_secret() {
    let bare = pool(json!({ "metadata": { "finalizers": null } }));
    assert_eq!(words(&plan(&bare, &observed(Vec::new(), &[]))), ["add finalizer"]);
    let observed = Observed {
        bootstrap: external("FooConfig", "b", with_data()),
        infrastructure: external("FooMachinePool", "i", json!({})),
        ..observed(Vec::new(), &[])
    };
    let new = pool(json!({}));
    let words = words(&plan(&new, &observed));
    assert!(words[0].contains(r#""dataSecretName":"d""#), "{words:?}");
    assert_eq!(words[1..], ["own FooConfig b", "own FooMachinePool i"]);
}

#[test]
fn each_object_of_the_provider_has_a_machine_and_no_other_has() {
    let named = json!({ "spec": { "template": { "spec": {
        "bootstrap": { "dataSecretName": "d" },
    } } } });
    let pool = pool(named);
    let found = observed(vec![member("a", json!({})), member("gone", json!({}))], &["a", "b"]);
    assert_eq!(words(&plan(&pool, &found)), ["make b", "delete gone"]);
    let mut leaving = found.clone();
    leaving.machines[1] = member("gone", deleting());
    leaving.instances.as_mut().unwrap()[1].is_leaving = true;
    assert_eq!(words(&plan(&pool, &leaving)), Vec::<String>::new());
    let unlisted = Observed { instances: None, ..found };
    assert_eq!(words(&plan(&pool, &unlisted)), Vec::<String>::new(), "nobody is taken for gone");
}

#[test]
fn a_new_machine_has_the_name_of_its_object_and_belongs_to_the_pool() {
    let pool = pool(json!({ "spec": { "template": {
        "metadata": { "labels": { "zone": "a" } },
        "spec": { "minReadySeconds": 3, "deletion": { "nodeDrainTimeoutSeconds": 9 } },
    } } }));
    let made = serde_json::to_value(machines::new(&pool, &reference("a"))).unwrap();
    assert_eq!(
        made["metadata"]["labels"],
        json!({
            "cluster.x-k8s.io/cluster-name": "c", "cluster.x-k8s.io/pool-name": "mp", "zone": "a",
        })
    );
    assert_eq!(made["metadata"]["ownerReferences"], json!([owner()]));
    assert_eq!(
        made["spec"],
        json!({
            "clusterName": "c", "bootstrap": { "dataSecretName": "" }, "minReadySeconds": 3,
            "deletion": { "nodeDrainTimeoutSeconds": 9 },
            "infrastructureRef": { "apiGroup": "foo.io", "kind": "FooMachine", "name": "a" },
        })
    );
}

#[test]
fn a_machine_follows_the_template_in_place_and_the_version_of_its_node() {
    let change = json!({ "spec": { "template": {
        "metadata": { "labels": { "new": "label" } },
        "spec": { "minReadySeconds": 7 },
    } } });
    let runs = |version: &str| {
        json!({ "status": { "nodeInfo": {
            "kubeletVersion": version, "architecture": "", "bootID": "", "containerRuntimeVersion": "",
            "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "",
            "osImage": "", "systemUUID": "",
        } } })
    };
    let changed = pool(change);
    let patch = machines::change(&changed, &member("a", runs("v1.36.0")));
    assert_eq!(
        patch,
        Some(json!({
            "metadata": { "labels": { "new": "label" } },
            "spec": { "minReadySeconds": 7, "version": "v1.36.0" },
        }))
    );
    let settled = both(
        runs("v1.36.0"),
        &json!({
            "metadata": { "labels": { "new": "label" } },
            "spec": { "minReadySeconds": 7, "version": "v1.36.0" },
        }),
    );
    assert_eq!(machines::change(&changed, &member("a", settled)), None);
    let odd = machines::change(&pool(json!({})), &member("a", runs("no version")));
    assert_eq!(odd, None, "what a node says is not believed blindly");
}

#[test]
fn objects_of_another_pool_are_not_changed() {
    let foreign = |kind: &str, name: &str| {
        let owner =
            json!({ "metadata": { "ownerReferences": [controller("MachinePool", "other")] } });
        external(kind, name, owner)
    };
    let found =
        Observed { infrastructure: foreign("FooMachinePool", "i"), ..observed(Vec::new(), &[]) };
    let plan = plan(&pool(json!({})), &found);
    assert!(!words(&plan).iter().any(|word| word.starts_with("own")), "{plan:?}");
    assert_eq!(
        plan.blocked,
        ["FooMachinePool i belongs to another object: use a separate one for each MachinePool"]
    );
    let gone = super::plan(&pool(deleting()), &found);
    assert_eq!(words(&gone), ["delete FooConfig b"], "only its own is deleted");
}

#[test]
fn a_pool_is_deleted_after_its_machines_infrastructure_and_bootstrap() {
    let leaving = pool(deleting());
    let step = |change: &dyn Fn(&mut Observed)| {
        let mut found =
            observed(vec![member("a", json!({})), member("b", deleting())], &["a", "b"]);
        change(&mut found);
        words(&plan(&leaving, &found))
    };
    assert_eq!(step(&|_| {}), ["delete a"]);
    assert_eq!(step(&|found| found.machines.clear()), ["delete FooMachinePool i"]);
    let infrastructure_goes = |found: &mut Observed| {
        found.machines.clear();
        found.infrastructure = owned("FooMachinePool", "i", deleting());
    };
    assert_eq!(step(&infrastructure_goes), Vec::<String>::new());
    let bootstrap = |found: &mut Observed| {
        found.machines.clear();
        found.infrastructure = Lookup::Missing;
    };
    assert_eq!(step(&bootstrap), ["delete FooConfig b"]);
    let nothing = |found: &mut Observed| {
        found.machines.clear();
        (found.infrastructure, found.bootstrap) = (Lookup::Missing, Lookup::Missing);
    };
    assert_eq!(step(&nothing), ["remove finalizer"]);
}
