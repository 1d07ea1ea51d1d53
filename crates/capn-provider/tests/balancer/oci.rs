//! Load balancers that are application containers.

use std::sync::{Arc, Mutex};

use capn_api::LXCMachine;
use incus_sim::{ExecResult, Simulator};
use serde_json::json;

use crate::harness::TestEnv;

const CONFIG: &str = "/usr/local/etc/haproxy/haproxy.cfg";
const BALANCER: &str = "demo-37a8e-lb";

/// A server that runs application containers, with responses to the commands in them.
fn server(refuse: &'static str) -> (Simulator, Arc<Mutex<Vec<String>>>) {
    let simulator = Simulator::new();
    simulator.add_extensions(&["instance_oci", "instance_oci_entrypoint"]);
    let commands = Arc::new(Mutex::new(Vec::new()));
    let observed = commands.clone();
    simulator.on_exec(move |call| {
        let command = call.request.command.join(" ");
        let refused = !refuse.is_empty() && command.contains(refuse);
        if call.instance == BALANCER {
            observed.lock().unwrap().push(command);
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

fn file(env: &TestEnv, path: &str) -> String {
    let bytes = env.simulator.file("default", BALANCER, path).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_is_the_first_process_and_is_told_when_its_configuration_changes() {
    let (simulator, commands) = server("");
    let env = TestEnv::start(simulator).await;
    env.make_cluster("demo", json!({ "loadBalancer": { "oci": {} } })).await;
    env.provisioned("demo").await;
    let (_, instance) = env.simulator.instances().into_iter().next().unwrap();
    assert_eq!(instance.name, BALANCER);
    let entrypoint = instance.config["oci.entrypoint"].as_str();
    assert_eq!(entrypoint, format!("/usr/sbin/haproxy -W -db -f {CONFIG}"));
    assert_eq!(file(&env, "/etc/environment"), "");
    assert!(file(&env, CONFIG).contains("bind *:6443"));
    // The configuration was injected before the start.
    let requests = env.simulator.requests();
    let at = |method: &str, part: &str| {
        requests.iter().position(|it| it.method == method && it.path.contains(part)).unwrap()
    };
    assert!(at("POST", &format!("{BALANCER}/files")) < at("PUT", &format!("{BALANCER}/state")));

    let machine = env.make_control_plane("demo", "cp").await;
    let address = machine.status.unwrap().addresses[1].address.clone();
    assert!(file(&env, CONFIG).contains(&format!("server cp {address}:6443")));
    let ran = commands.lock().unwrap().clone();
    let check =
        format!("/usr/sbin/haproxy -c -q -f {}", "/usr/local/etc/haproxy/.haproxy.cfg.capn");
    assert_eq!(ran[ran.len() - 2..], [check, "kill -USR2 1".to_owned()]);

    env.delete::<LXCMachine>("cp").await;
    env.delete::<capn_api::LXCCluster>("demo").await;
    assert!(env.simulator.instances().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_which_haproxy_cannot_be_told_is_restarted() {
    let (simulator, _) = server("kill");
    let env = TestEnv::start(simulator).await;
    env.make_cluster("demo", json!({ "loadBalancer": { "oci": {} } })).await;
    env.provisioned("demo").await;
    env.make_control_plane("demo", "cp").await;
    assert!(file(&env, CONFIG).contains("server cp "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_haproxy_refuses_is_final() {
    let (simulator, _) = server("-c -q");
    let env = TestEnv::start(simulator).await;
    let template = json!({ "customHAProxyConfigTemplate": "nonsense {{ .IPv6 }}" });
    env.make_cluster("demo", json!({ "loadBalancer": { "oci": template } })).await;
    let message = env.reason("demo", "LoadBalancerProvisioningAborted").await;
    assert!(message.contains("parsing [x:3] : no such thing"), "{message}");
    assert!(message.contains("spec.loadBalancer.oci.customHAProxyConfigTemplate"), "{message}");
}
