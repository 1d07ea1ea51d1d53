//! What is put into instances before they run.

use capn_api::LXCMachine;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::world::on_servers;

const SCRIPT: &str = "/opt/cluster-api/install-kubeadm.sh";

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_data_that_calls_the_install_script_finds_it() {
    on_servers("bootstrap_data_that_calls_the_install_script", |mut world| async move {
        world.start();
        let (with, without) = (format!("{}-a", world.cluster), format!("{}-b", world.cluster));
        world
            .make_cluster(json!({
                "loadBalancer": { "external": {} }, "controlPlaneEndpoint": { "host": "192.0.2.1" },
            }))
            .await;
        for name in [&with, &without] {
            world.make_machine(name, false, json!({})).await;
        }
        let calls = format!("#cloud-config\nruncmd:\n- sh -xeu {SCRIPT} v1.36.0\n");
        let data = json!({ "stringData": { "value": calls } });
        world.patch::<Secret>(&format!("{with}-bootstrap"), data).await;
        world.provision().await;
        for name in [&with, &without] {
            world.ready_machine(name).await;
        }
        let script = world.server.pull_file(&with, SCRIPT).await.unwrap().unwrap();
        let headers = script.headers;
        assert_eq!((headers.mode, headers.uid, headers.gid), (Some(0o755), Some(0), Some(0)));
        let text = String::from_utf8_lossy(&script.content);
        assert!(text.contains("version=\"${1:-v1.36.0}\""), "{text}");
        assert!(world.server.pull_file(&without, SCRIPT).await.unwrap().is_none());

        world.delete::<LXCMachine>(&with).await;
        world.until_gone::<LXCMachine>(&with).await;
        world
    })
    .await;
}
