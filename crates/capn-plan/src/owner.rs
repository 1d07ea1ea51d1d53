//! Ownership of instances: every instance records its owner in `user.*` keys, and capn changes
//! nothing that has another owner.

use capn_api::keys;
use incus_api::Config;

/// Role of an instance in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A control plane node.
    ControlPlane,
    /// A worker node.
    Worker,
    /// The load balancer in front of the control plane.
    LoadBalancer,
    /// Not an instance: the network that the cluster's instances use.
    Network,
}

impl Role {
    /// Returns the value of `user.cluster-role`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => keys::ROLE_CONTROL_PLANE,
            Self::Worker => keys::ROLE_WORKER,
            Self::LoadBalancer => keys::ROLE_LOAD_BALANCER,
            Self::Network => keys::ROLE_NETWORK,
        }
    }
}

/// The object that owns an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Namespace of the LXCMachine or LXCCluster, and of the Cluster.
    pub namespace: String,
    /// Name of the LXCMachine or LXCCluster.
    pub name: String,
    /// UID of the LXCMachine or LXCCluster.
    pub uid: String,
    /// Name of the Cluster.
    pub cluster: String,
    /// Name of the Machine; `None` for a load balancer.
    pub machine: Option<String>,
    /// Role of the instance in the cluster.
    pub role: Role,
}

/// Ownership of an instance, as seen from one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The owner owns it.
    Ours,
    /// The owner owns it according to all other keys: it was created by the Go provider, or by capn
    /// for the same object before the object moved to another management cluster. Holds the missing
    /// keys.
    Adoptable(Config),
    /// Another object owns it. Holds a description.
    Foreign(String),
}

impl Owner {
    /// Returns the config keys that mark an instance as owned by this owner.
    pub fn config(&self) -> Config {
        let mut config = self.upstream();
        config.insert(keys::INSTANCE_OWNER_UID.into(), self.uid.clone());
        config.insert(keys::INSTANCE_OWNER.into(), self.full_name());
        config
    }

    /// Returns `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Returns the ownership of the instance with this config.
    ///
    /// `vouched` is true if a field of the owner that only the provider writes (the provider ID,
    /// the endpoint) names this instance. It decides if all names agree and only the UID differs:
    /// then the object either was moved and got a new UID, or is another object with the same names
    /// in another management cluster.
    pub fn of(&self, config: &Config, vouched: bool) -> Ownership {
        let missing = || {
            let wanted = self.config();
            let differs = wanted.into_iter().filter(|(key, value)| config.get(key) != Some(value));
            Ownership::Adoptable(differs.collect())
        };
        let same_names =
            self.identifying().iter().all(|(key, value)| config.get(key) == Some(value));
        match config.get(keys::INSTANCE_OWNER_UID) {
            Some(uid) if *uid == self.uid => Ownership::Ours,
            Some(_) if vouched && same_names && self.is_named_by(config) => missing(),
            None if same_names => missing(),
            _ => Ownership::Foreign(describe(config)),
        }
    }

    fn is_named_by(&self, config: &Config) -> bool {
        config.get(keys::INSTANCE_OWNER).is_some_and(|owner| *owner == self.full_name())
    }

    fn upstream(&self) -> Config {
        let mut config = self.identifying();
        config.insert(keys::INSTANCE_CLUSTER_ROLE.into(), self.role.as_str().into());
        config
    }

    /// Returns the keys of the Go provider that identify an instance. The role is only needed for
    /// load balancers, which have no machine.
    fn identifying(&self) -> Config {
        let mut config = Config::from([
            (keys::INSTANCE_CLUSTER_NAME.to_owned(), self.cluster.clone()),
            (keys::INSTANCE_CLUSTER_NAMESPACE.to_owned(), self.namespace.clone()),
        ]);
        match &self.machine {
            Some(machine) => {
                config.insert(keys::INSTANCE_MACHINE_NAME.into(), machine.clone());
            }
            None => {
                config.insert(keys::INSTANCE_CLUSTER_ROLE.into(), self.role.as_str().into());
            }
        }
        config
    }
}

/// Describes the owner of an instance for a message.
fn describe(config: &Config) -> String {
    let get = |key| config.get(key).map(String::as_str);
    match (
        get(keys::INSTANCE_OWNER),
        get(keys::INSTANCE_CLUSTER_NAMESPACE),
        get(keys::INSTANCE_CLUSTER_NAME),
    ) {
        (Some(owner), _, _) => {
            let uid = get(keys::INSTANCE_OWNER_UID).unwrap_or("unknown");
            format!("it belongs to {owner} (UID {uid})")
        }
        (None, Some(namespace), Some(cluster)) => match get(keys::INSTANCE_MACHINE_NAME) {
            Some(machine) => {
                format!("it belongs to machine {machine} of cluster {namespace}/{cluster}")
            }
            None => format!("it belongs to cluster {namespace}/{cluster}"),
        },
        _ => "it was not created by a Cluster API provider".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Owner {
        Owner {
            namespace: "default".into(),
            name: "demo-md-0-abc".into(),
            uid: "uid-1".into(),
            cluster: "demo".into(),
            machine: Some("demo-md-0-abc".into()),
            role: Role::Worker,
        }
    }

    fn with(mut config: Config, changes: &[(&str, Option<&str>)]) -> Config {
        for (key, value) in changes {
            match value {
                Some(value) => config.insert((*key).to_owned(), (*value).to_owned()),
                None => config.remove(*key),
            };
        }
        config
    }

    #[test]
    fn an_instance_belongs_to_the_uid_it_names() {
        let owner = machine();
        assert_eq!(owner.of(&owner.config(), false), Ownership::Ours);
        let other = with(owner.config(), &[("user.capn.owner-uid", Some("uid-2"))]);
        assert_eq!(
            owner.of(&other, false),
            Ownership::Foreign("it belongs to default/demo-md-0-abc (UID uid-2)".into())
        );
    }

    #[test]
    fn a_moved_object_takes_its_instance_along() {
        let owner = machine();
        let before = with(owner.config(), &[("user.capn.owner-uid", Some("uid-0"))]);
        let Ownership::Adoptable(missing) = owner.of(&before, true) else {
            panic!("not adoptable");
        };
        assert_eq!(missing, Config::from([("user.capn.owner-uid".into(), "uid-1".into())]));

        let other = with(before, &[("user.cluster-name", Some("other"))]);
        assert!(matches!(owner.of(&other, true), Ownership::Foreign(_)));
    }

    #[test]
    fn an_instance_of_the_go_provider_is_adopted_only_with_the_same_names() {
        let owner = machine();
        let upstream =
            with(owner.config(), &[("user.capn.owner-uid", None), ("user.capn.owner", None)]);
        let Ownership::Adoptable(missing) = owner.of(&upstream, false) else {
            panic!("not adoptable");
        };
        assert_eq!(missing.len(), 2);
        for key in ["user.cluster-name", "user.cluster-namespace", "user.machine-name"] {
            let other = with(upstream.clone(), &[(key, Some("other"))]);
            assert!(matches!(owner.of(&other, true), Ownership::Foreign(_)), "{key}");
        }
    }

    #[test]
    fn a_load_balancer_is_distinguished_from_a_machine_by_its_role() {
        let balancer = Owner { machine: None, role: Role::LoadBalancer, ..machine() };
        let upstream =
            with(balancer.config(), &[("user.capn.owner-uid", None), ("user.capn.owner", None)]);
        assert!(matches!(balancer.of(&upstream, false), Ownership::Adoptable(_)));
        let node = with(upstream, &[("user.cluster-role", Some("worker"))]);
        assert!(matches!(balancer.of(&node, false), Ownership::Foreign(_)));
    }

    #[test]
    fn an_instance_without_marks_is_nobodys() {
        assert_eq!(
            machine().of(&Config::new(), true),
            Ownership::Foreign("it was not created by a Cluster API provider".into())
        );
    }
}
