//! Server, profiles, networks, pools, projects.

use incus_client::api::{
    Config, Flavor, NetworkPut, NetworksPost, ProfilePut, ProfilesPost, StoragePoolPut,
    StoragePoolsPost,
};
use incus_client::{Client, Error};

use crate::support::{daemons, in_project, unique, wait_for};

#[tokio::test]
async fn server_flavor_and_features_are_reported() {
    for (daemon, client) in daemons("server_flavor_and_features_are_reported") {
        let server = client.server().await.unwrap();
        assert!(server.is_trusted(), "{daemon}");
        let expected = if daemon == "LXD" { Flavor::Lxd } else { Flavor::Incus };
        assert_eq!(server.flavor(), expected);
        assert_eq!(client.flavor().await.unwrap(), expected);
        assert!(server.version().unwrap() >= (5, 0), "{daemon}");
        assert!(client.supports("instances").await.unwrap());
        assert!(!client.supports("no_such_extension").await.unwrap());
        assert!(!client.cluster().await.unwrap().enabled);
        assert!(client.cluster_members().await.unwrap().is_empty());
        assert!(client.resources().await.unwrap().get("cpu").is_some());
        assert!(client.get_project("default").await.unwrap().is_some());
        assert!(client.projects().await.unwrap().iter().any(|p| p.name == "default"));
        assert!(client.get_project("capn-t-none").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_missing_socket_is_named_with_a_hint() {
    let client = Client::unix("/nonexistent/unix.socket");
    let error = client.server().await.unwrap_err();
    assert_eq!(error.to_string(), "GET /1.0: cannot connect to /nonexistent/unix.socket");
    assert!(error.hint().unwrap().contains("start Incus"), "{:?}", error.hint());
    assert!(error.is_transient());
}

#[tokio::test]
async fn profiles_are_created_changed_and_deleted() {
    for (_, client) in daemons("profiles_are_created_changed_and_deleted") {
        let name = unique("prof");
        let put = ProfilePut {
            description: "one".into(),
            config: Config::from([("limits.cpu".into(), "1".into())]),
            ..ProfilePut::default()
        };
        client
            .create_profile(&ProfilesPost { name: name.clone(), put: put.clone() })
            .await
            .unwrap();
        let again = client
            .create_profile(&ProfilesPost { name: name.clone(), put: put.clone() })
            .await
            .unwrap_err();
        let found = client.profile(&name).await.unwrap().unwrap();
        let changed = ProfilePut { description: "two".into(), ..put };
        client.put_profile(&name, &changed, found.etag.as_deref()).await.unwrap();
        let stale = client.put_profile(&name, &changed, found.etag.as_deref()).await.unwrap_err();
        let seen = client.profile(&name).await.unwrap().unwrap().value;
        let listed = client.profiles().await.unwrap().iter().any(|p| p.name == name);
        client.delete_profile(&name).await.unwrap();
        assert!(again.is_conflict(), "{again}");
        assert!(stale.is_precondition_failed(), "{stale}");
        assert_eq!((seen.description.as_str(), listed), ("two", true));
        assert!(client.profile(&name).await.unwrap().is_none());
        assert!(client.delete_profile(&name).await.unwrap_err().is_not_found());
    }
}

/// The daemons list the host's interfaces while they create or delete a bridge, and fail when one
/// disappears meanwhile. An incomplete action counts as done the next time.
fn steady(result: Result<(), Error>) -> Option<()> {
    match result {
        Ok(()) => Some(()),
        Err(error) if error.to_string().contains("does not exist") => None,
        Err(error) if error.is_conflict() || error.is_not_found() => Some(()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn networks_are_created_read_and_deleted() {
    for (_, client) in daemons("networks_are_created_read_and_deleted") {
        // The name of a bridge has at most 15 characters.
        let name = unique("n");
        let config = Config::from([
            ("ipv4.address".to_owned(), "none".to_owned()),
            ("ipv6.address".to_owned(), "none".to_owned()),
        ]);
        let put = NetworkPut { config, description: "test".into() };
        let post = NetworksPost { name: name.clone(), kind: "bridge".into(), put: put.clone() };
        wait_for("a network", || async { steady(client.create_network(&post).await) }).await;
        let again = client.create_network(&post).await.unwrap_err();
        let state = client.network_state(&name).await.unwrap().unwrap();
        let leases = client.network_leases(&name).await.unwrap();
        let changed = NetworkPut { description: "changed".into(), ..put };
        client.put_network(&name, &changed, None).await.unwrap();
        let seen = client.network(&name).await.unwrap().unwrap().value;
        wait_for("its end", || async { steady(client.delete_network(&name).await) }).await;
        assert!(again.is_conflict(), "{again}");
        assert_eq!(state.kind, "broadcast");
        assert!(leases.is_empty(), "{leases:?}");
        assert_eq!((seen.description.as_str(), seen.managed), ("changed", true));
        assert!(client.network(&name).await.unwrap().is_none());
        let lo = client.networks().await.unwrap().into_iter().find(|n| n.name == "lo");
        assert!(lo.is_some_and(|lo| !lo.managed));
    }
}

#[tokio::test]
async fn storage_pools_are_created_measured_and_deleted() {
    for (_, client) in daemons("storage_pools_are_created_measured_and_deleted") {
        let name = unique("s");
        let post = StoragePoolsPost {
            name: name.clone(),
            driver: "dir".into(),
            put: StoragePoolPut::default(),
        };
        client.create_storage_pool(&post).await.unwrap();
        let again = client.create_storage_pool(&post).await.unwrap_err();
        let space = client.storage_pool_resources(&name).await.unwrap();
        let seen = client.storage_pool(&name).await.unwrap().unwrap().value;
        let put = StoragePoolPut { config: seen.config.clone(), description: "changed".into() };
        client.put_storage_pool(&name, &put, None).await.unwrap();
        let listed = client.storage_pools().await.unwrap().into_iter().find(|p| p.name == name);
        client.delete_storage_pool(&name).await.unwrap();
        assert!(again.is_conflict(), "{again}");
        assert!(space.free_bytes() > 0);
        assert_eq!(seen.driver, "dir");
        assert_eq!(listed.unwrap().description, "changed");
        let gone = client.storage_pool_resources(&name).await.unwrap_err();
        assert!(gone.server_text().unwrap().contains("not found"), "{gone}");
    }
}

#[tokio::test]
async fn projects_are_isolated() {
    in_project("projects_are_isolated", |_, client| async move {
        let name = client.project().unwrap().to_owned();
        let project = client.get_project(&name).await.unwrap().unwrap();
        assert_eq!(project.config["features.images"], "true");
        assert!(client.images().await.unwrap().is_empty());
        assert!(client.instances(&Default::default()).await.unwrap().is_empty());
        let put = incus_client::api::ProjectPut {
            description: "changed".into(),
            config: project.config.clone(),
        };
        client.put_project(&name, &put, project.etag.as_deref()).await.unwrap();
        assert_eq!(client.get_project(&name).await.unwrap().unwrap().description, "changed");
    })
    .await;
}
