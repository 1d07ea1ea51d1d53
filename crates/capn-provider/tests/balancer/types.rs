//! Machines of types that no test server can start: the requests, and the injected files.

use incus_client::api::InstanceType;
use incus_sim::Simulator;
use serde_json::{Value, json};

use crate::harness::TestEnv;

const NAME: &str = "demo-cp";
const CALLS_SCRIPT: &str =
    "#cloud-config\nruncmd:\n- /opt/cluster-api/install-kubeadm.sh v1.36.0\n- kubeadm init\n";

async fn made(simulator: Simulator, spec: Value) -> TestEnv {
    let env = TestEnv::start(simulator).await;
    let endpoint = json!({ "host": "10.0.0.100", "port": 6443 });
    let cluster = json!({ "loadBalancer": { "kubeVIP": {} }, "controlPlaneEndpoint": endpoint });
    env.make_cluster("demo", cluster).await;
    env.provisioned("demo").await;
    env.make_machine("demo", NAME, spec, CALLS_SCRIPT).await;
    env.ready_machine(NAME).await;
    env
}

/// Returns the requests about the instance, one per line.
fn scenario(env: &TestEnv) -> Vec<String> {
    let requests = env.simulator.requests();
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
    let env = made(Simulator::new(), spec).await;
    let instance = env.server.instance_full(NAME).await.unwrap().unwrap();
    assert_eq!(instance.instance_type, InstanceType::VirtualMachine);
    assert!(!instance.config.contains_key("security.nesting"));
    let metadata = env.server.metadata(NAME).await.unwrap().value;
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
        let file = env.server.template_file(NAME, &template.template).await.unwrap().unwrap();
        assert!(!file.is_empty(), "{path}");
    }
    let scenario = scenario(&env);
    let at = |part: &str| scenario.iter().position(|line| line.contains(part)).unwrap();
    assert!(at("/metadata") < at("/state"), "{scenario:#?}");
    assert!(!scenario.iter().any(|line| line.contains("/files")), "{scenario:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_kinds_image_gets_entry_point_script_and_unit_before_it_starts() {
    let simulator = Simulator::new();
    simulator.add_extensions(&["instance_oci", "instance_oci_entrypoint"]);
    let env = made(simulator, json!({ "instanceType": "kind" })).await;
    let instance = env.server.instance_full(NAME).await.unwrap().unwrap();
    assert_eq!(instance.instance_type, InstanceType::Container);
    assert_eq!(instance.config["oci.entrypoint"], "/init /sbin/init");
    let file = |path: &str| {
        let bytes = env.simulator.file("default", NAME, path).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert!(file("/init").ends_with("/usr/local/bin/entrypoint"));
    assert!(file("/opt/capn/bootstrap").ends_with("\nkubeadm init\n"));
    assert!(file("/etc/systemd/system/capn-bootstrap.service").contains("/opt/capn/bootstrap"));
    assert!(file("/etc/kubernetes/manifests/kube-vip.yaml").contains("10.0.0.100"));
    let scenario = scenario(&env);
    let last_file = scenario.iter().rposition(|line| line.contains("/files")).unwrap();
    let start = scenario.iter().position(|line| line.contains("/state")).unwrap();
    assert!(last_file < start, "{scenario:#?}");
}
