//! Externally managed clusters, which have an annotation.

use capi_api::labels;
use capn_api::LXCCluster;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::{harness::on_servers, image, kinds};

#[tokio::test(flavor = "multi_thread")]
async fn an_externally_managed_cluster_is_not_changed() {
    on_servers("a_cluster_that_somebody_else_manages", |mut env| async move {
        env.start();
        let name = format!("{}-theirs", env.cluster);
        let owner = env.bare_cluster(&name).await;
        let spec = json!({
            "secretRef": { "name": env.secret() }, "unprivileged": true,
            "loadBalancer": { "lxc": { "instanceSpec": { "image": { "name": image::ALIAS } } } },
        });
        let mut theirs = kinds::lxc_cluster(&owner, &spec);
        theirs["metadata"]["annotations"] = json!({ labels::MANAGED_BY: "terraform" });
        let theirs: LXCCluster = serde_json::from_value(theirs).unwrap();
        env.api::<LXCCluster>().create(&PostParams::default(), &theirs).await.unwrap();

        // A managed one, created later: when it serves, the external one has been processed too.
        env.make_cluster(json!({})).await;
        env.provision().await;
        assert_eq!(env.instances().await, [env.balancer()]);
        let theirs = env.api::<LXCCluster>().get(&name).await.unwrap();
        assert_eq!(theirs.metadata.finalizers, None, "nothing of ours holds it");
        assert_eq!(theirs.status, None, "its status is theirs");
        assert_eq!(theirs.spec.control_plane_endpoint, None);

        // Only the annotation kept capn from managing it.
        let ours = json!({ "metadata": { "annotations": { labels::MANAGED_BY: Value::Null } } });
        env.patch::<LXCCluster>(&name, ours).await;
        env.until::<LXCCluster>(&name, "to be made", |cluster| {
            cluster.status.as_ref().is_some_and(|status| status.ready)
        })
        .await;
        let balancer = format!("{name}-37a8e-lb");
        let both = [env.balancer(), balancer.clone()];
        assert_eq!(env.instances().await, both);

        // With the annotation again, it is deleted as it is: it needs no finalizer, and its
        // instance stays.
        let given = json!({ "metadata": {
            "finalizers": null, "annotations": { labels::MANAGED_BY: "terraform" },
        } });
        env.patch::<LXCCluster>(&name, given).await;
        env.delete::<LXCCluster>(&name).await;
        env.until_gone::<LXCCluster>(&name).await;
        env.delete::<LXCCluster>(&env.cluster).await;
        env.until_gone::<LXCCluster>(&env.cluster).await;
        assert_eq!(env.instances().await, [balancer]);
        env
    })
    .await;
}
