//! Instances in which an image is validated, configured as the provider does.

use capn_api::Isolation;
use capn_image::build::{Kind, Validated, ValidationCase};
use capn_plan::{modules::UnloadableModules, profile, restrictions::ProjectRestrictions};
use incus_client::{Client, api::server::Flavor};

use crate::error::{CommandError, Doing as _};
use crate::ui::Ui;

/// One unprivileged and one privileged instance.
pub(super) async fn cases(
    client: &Client,
    kind: &Kind,
) -> Result<Vec<ValidationCase>, CommandError> {
    let flavor = client.server().await.doing("cannot read the server's information")?.flavor();
    Ok([("unprivileged", Isolation::Shared), ("privileged", Isolation::Privileged)]
        .into_iter()
        .map(|(name, isolation)| case(name, isolation, flavor, kind))
        .collect())
}

fn case(name: &'static str, isolation: Isolation, flavor: Flavor, kind: &Kind) -> ValidationCase {
    let mut defaults = profile::kubeadm(
        isolation,
        flavor,
        &UnloadableModules::default(),
        &ProjectRestrictions::default(),
    );
    if let Kind::Haproxy = kind {
        // A load balancer needs no more than this.
        defaults.config.retain(|key, _| key == "security.nesting" || key == "security.privileged");
        defaults.devices.clear();
    }
    ValidationCase {
        name,
        unprivileged: isolation.is_unprivileged(),
        config: defaults.config,
        devices: defaults.devices,
    }
}

/// Prints the results.
pub(super) fn show(ui: &Ui, validated: &[Validated]) {
    for Validated { case, checks } in validated {
        for check in checks {
            ui.say(format!("{case}: {}: {}", check.name, check.observed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_images_are_validated_as_nodes_and_load_balancers_without_extra_privileges() {
        let node = case("privileged", Isolation::Privileged, Flavor::Incus, &Kind::Node);
        assert_eq!(node.config["security.privileged"], "true");
        assert!(node.config.contains_key("raw.lxc") && !node.unprivileged);
        assert!(node.devices.contains_key("kubeadm-host-boot"));
        let balancer = case("unprivileged", Isolation::Shared, Flavor::Lxd, &Kind::Haproxy);
        assert_eq!(balancer.config.keys().collect::<Vec<_>>(), ["security.nesting"]);
        assert!(balancer.devices.is_empty() && balancer.unprivileged);
    }
}
