//! Machines of types that no server of ours can start: the requests, and what is put into them.

use incus_client::api::InstanceType;
use incus_sim::Simulator;
use serde_json::{Value, json};

use crate::world::World;

const NAME: &str = "demo-cp";
const CALLS_SCRIPT: &str =
    "#cloud-config\nruncmd:\n- /opt/cluster-api/install-kubeadm.sh v1.36.0\n- kubeadm init\n";

async fn made(simulator: Simulator, spec: Value) -> World {
    let world = World::start(simulator).await;
    let endpoint = json!({ "host": "10.0.0.100", "port": 6443 });
    let cluster = json!({ "loadBalancer": { "kubeVIP": {} }, "controlPlaneEndpoint": endpoint });
    world.make_cluster("demo", cluster).await;
    world.provisioned("demo").await;
    world.make_machine("demo", NAME, spec, CALLS_SCRIPT).await;
    world.ready_machine(NAME).await;
    world
}

/// What was done to the instance, one request a line.
fn story(world: &World) -> Vec<String> {
    let requests = world.simulator.requests();
    let about =
        |path: &str| path.contains(&format!("/instances/{NAME}")) || path.ends_with("/instances");
    requests
        .iter()
        .filter(|request| request.method != "GET" && about(&request.path))
        .map(|request| format!("{} {}", request.method, request.path))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_machine_gets_its_files_as_templates_before_it_starts() {
    let image = json!({ "server": "https://images.test", "name": "node-vm" });
    let spec = json!({ "instanceType": "virtual-machine", "image": image, "flavor": "c2-m4" });
    let world = made(Simulator::new(), spec).await;
    let instance = world.server.instance_full(NAME).await.unwrap().unwrap();
    assert_eq!(instance.instance_type, InstanceType::VirtualMachine);
    assert!(!instance.config.contains_key("security.nesting"));
    let metadata = world.server.metadata(NAME).await.unwrap().value;
    for (path, mode) in [
        ("/opt/cluster-api/install-kubeadm.sh", "0755"),
        ("/etc/kubernetes/manifests/kube-vip.yaml", "0600"),
    ] {
        let template = &metadata.templates[path];
        assert_eq!(
            (template.when.as_slice(), template.create_only),
            (&["create".to_owned()][..], true)
        );
        assert_eq!(template.mode, mode);
        let file = world.server.template_file(NAME, &template.template).await.unwrap().unwrap();
        assert!(!file.is_empty(), "{path}");
    }
    let story = story(&world);
    let at = |part: &str| story.iter().position(|line| line.contains(part)).unwrap();
    assert!(at("/metadata") < at("/state"), "{story:#?}");
    assert!(!story.iter().any(|line| line.contains("/files")), "{story:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_kinds_image_gets_entry_point_script_and_unit_before_it_starts() {
    let simulator = Simulator::new();
    simulator.add_extensions(&["instance_oci", "instance_oci_entrypoint"]);
    let world = made(simulator, json!({ "instanceType": "kind" })).await;
    let instance = world.server.instance_full(NAME).await.unwrap().unwrap();
    assert_eq!(instance.instance_type, InstanceType::Container);
    assert_eq!(instance.config["oci.entrypoint"], "/init /sbin/init");
    let file = |path: &str| {
        let bytes = world.simulator.file("default", NAME, path).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert!(file("/init").ends_with("/usr/local/bin/entrypoint"));
    assert!(file("/opt/capn/bootstrap").ends_with("\nkubeadm init\n"));
    assert!(file("/etc/systemd/system/capn-bootstrap.service").contains("/opt/capn/bootstrap"));
    assert!(file("/etc/kubernetes/manifests/kube-vip.yaml").contains("10.0.0.100"));
    let story = story(&world);
    let last_file = story.iter().rposition(|line| line.contains("/files")).unwrap();
    let start = story.iter().position(|line| line.contains("/state")).unwrap();
    assert!(last_file < start, "{story:#?}");
}
