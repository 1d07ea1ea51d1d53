//! What somebody else manages, such as Terraform, who says so in an annotation.

use capi_api::labels;
use capn_api::LXCCluster;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::{image, kinds, world::on_servers};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_somebody_else_manages_is_left_to_them() {
    on_servers("a_cluster_that_somebody_else_manages", |mut world| async move {
        world.start();
        let name = format!("{}-theirs", world.cluster);
        let owner = world.bare_cluster(&name).await;
        let spec = json!({
            "secretRef": { "name": world.secret() }, "unprivileged": true,
            "loadBalancer": { "lxc": { "instanceSpec": { "image": { "name": image::ALIAS } } } },
        });
        let mut theirs = kinds::lxc_cluster(&owner, &spec);
        theirs["metadata"]["annotations"] = json!({ labels::MANAGED_BY: "terraform" });
        let theirs: LXCCluster = serde_json::from_value(theirs).unwrap();
        world.api::<LXCCluster>().create(&PostParams::default(), &theirs).await.unwrap();

        // One of ours, made later: what would happen to theirs has happened when it serves.
        world.make_cluster(json!({})).await;
        world.provision().await;
        assert_eq!(world.instances().await, [world.balancer()]);
        let theirs = world.api::<LXCCluster>().get(&name).await.unwrap();
        assert_eq!(theirs.metadata.finalizers, None, "nothing of ours holds it");
        assert_eq!(theirs.status, None, "its status is theirs");
        assert_eq!(theirs.spec.control_plane_endpoint, None);

        // The annotation alone kept us from it.
        let ours = json!({ "metadata": { "annotations": { labels::MANAGED_BY: Value::Null } } });
        world.patch::<LXCCluster>(&name, ours).await;
        world
            .until::<LXCCluster>(&name, "to be made", |cluster| {
                cluster.status.as_ref().is_some_and(|status| status.ready)
            })
            .await;
        let balancer = format!("{name}-37a8e-lb");
        let both = [world.balancer(), balancer.clone()];
        assert_eq!(world.instances().await, both);

        // Given back, it goes as it is: no finalizer of ours is needed, and its instance stays.
        let given = json!({ "metadata": {
            "finalizers": null, "annotations": { labels::MANAGED_BY: "terraform" },
        } });
        world.patch::<LXCCluster>(&name, given).await;
        world.delete::<LXCCluster>(&name).await;
        world.until_gone::<LXCCluster>(&name).await;
        world.delete::<LXCCluster>(&world.cluster).await;
        world.until_gone::<LXCCluster>(&world.cluster).await;
        assert_eq!(world.instances().await, [balancer]);
        world
    })
    .await;
}
