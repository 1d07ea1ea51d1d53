//! Load balancers that are application containers.

use std::sync::{Arc, Mutex};

use capn_api::LXCMachine;
use incus_sim::{ExecResult, Simulator};
use serde_json::json;

use crate::world::World;

const CONFIG: &str = "/usr/local/etc/haproxy/haproxy.cfg";
const BALANCER: &str = "demo-37a8e-lb";

/// A server that runs application containers, and the commands that are run in them.
fn server(refuse: &'static str) -> (Simulator, Arc<Mutex<Vec<String>>>) {
    let simulator = Simulator::new();
    simulator.add_extensions(&["instance_oci", "instance_oci_entrypoint"]);
    let commands = Arc::new(Mutex::new(Vec::new()));
    let seen = commands.clone();
    simulator.on_exec(move |call| {
        let command = call.request.command.join(" ");
        let refused = !refuse.is_empty() && command.contains(refuse);
        if call.instance == BALANCER {
            seen.lock().unwrap().push(command);
        }
        ExecResult {
            exit_code: i32::from(refused),
            stderr: if refused {
                "[ALERT] parsing [x:3] : no such thing".into()
            } else {
                "".into()
            },
            ..ExecResult::default()
        }
    });
    (simulator, commands)
}

fn file(world: &World, path: &str) -> String {
    let bytes = world.simulator.file("default", BALANCER, path).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_is_the_first_process_and_is_told_when_its_configuration_changes() {
    let (simulator, commands) = server("");
    let world = World::start(simulator).await;
    world.make_cluster("demo", json!({ "loadBalancer": { "oci": {} } })).await;
    world.provisioned("demo").await;
    let (_, instance) = world.simulator.instances().into_iter().next().unwrap();
    assert_eq!(instance.name, BALANCER);
    let entrypoint = instance.config["oci.entrypoint"].as_str();
    assert_eq!(entrypoint, format!("/usr/sbin/haproxy -W -db -f {CONFIG}"));
    assert_eq!(file(&world, "/etc/environment"), "");
    assert!(file(&world, CONFIG).contains("bind *:6443"));
    // What it runs on was put in before it started.
    let requests = world.simulator.requests();
    let at = |method: &str, part: &str| {
        requests.iter().position(|it| it.method == method && it.path.contains(part)).unwrap()
    };
    assert!(at("POST", &format!("{BALANCER}/files")) < at("PUT", &format!("{BALANCER}/state")));

    let machine = world.make_control_plane("demo", "cp").await;
    let address = machine.status.unwrap().addresses[1].address.clone();
    assert!(file(&world, CONFIG).contains(&format!("server cp {address}:6443")));
    let ran = commands.lock().unwrap().clone();
    let check =
        format!("/usr/sbin/haproxy -c -q -f {}", "/usr/local/etc/haproxy/.haproxy.cfg.capn");
    assert_eq!(ran[ran.len() - 2..], [check, "kill -USR2 1".to_owned()]);

    world.delete::<LXCMachine>("cp").await;
    world.delete::<capn_api::LXCCluster>("demo").await;
    assert!(world.simulator.instances().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_which_haproxy_cannot_be_told_is_restarted() {
    let (simulator, _) = server("kill");
    let world = World::start(simulator).await;
    world.make_cluster("demo", json!({ "loadBalancer": { "oci": {} } })).await;
    world.provisioned("demo").await;
    world.make_control_plane("demo", "cp").await;
    assert!(file(&world, CONFIG).contains("server cp "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_haproxy_refuses_is_final() {
    let (simulator, _) = server("-c -q");
    let world = World::start(simulator).await;
    let template = json!({ "customHAProxyConfigTemplate": "nonsense {{ .IPv6 }}" });
    world.make_cluster("demo", json!({ "loadBalancer": { "oci": template } })).await;
    let message = world.reason("demo", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("parsing [x:3] : no such thing"), "{message}");
    assert!(message.contains("spec.loadBalancer.oci.customHAProxyConfigTemplate"), "{message}");
}
