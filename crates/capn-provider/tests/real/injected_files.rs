//! Files that are injected into instances before they run.

use capn_api::LXCMachine;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::harness::on_servers;

const SCRIPT: &str = "/opt/cluster-api/install-kubeadm.sh";

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_data_that_calls_the_install_script_finds_it() {
    on_servers("bootstrap_data_that_calls_the_install_script", |mut env| async move {
        env.start();
        let (with, without) = (format!("{}-a", env.cluster), format!("{}-b", env.cluster));
        env.make_cluster(json!({
            "loadBalancer": { "external": {} }, "controlPlaneEndpoint": { "host": "192.0.2.1" },
        }))
        .await;
        for name in [&with, &without] {
            env.make_machine(name, false, json!({})).await;
        }
        let calls = format!("#cloud-config\nruncmd:\n- sh -xeu {SCRIPT} v1.36.0\n");
        let data = json!({ "stringData": { "value": calls } });
        env.patch::<Secret>(&format!("{with}-bootstrap"), data).await;
        env.provision().await;
        for name in [&with, &without] {
            env.ready_machine(name).await;
        }
        let script = env.server.pull_file(&with, SCRIPT).await.unwrap().unwrap();
        let headers = script.headers;
        assert_eq!((headers.mode, headers.uid, headers.gid), (Some(0o755), Some(0), Some(0)));
        let text = String::from_utf8_lossy(&script.content);
        assert!(text.contains("version=\"${1:-v1.36.0}\""), "{text}");
        assert!(env.server.pull_file(&without, SCRIPT).await.unwrap().is_none());

        env.delete::<LXCMachine>(&with).await;
        env.until_gone::<LXCMachine>(&with).await;
        env
    })
    .await;
}
