//! Instances, operations, events, metadata.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use incus_client::api::{
    EventKind, InstanceAction, InstanceFilter, InstanceSource, InstancesPost, StatusCode,
};
use incus_client::{Error, EventItem};

use crate::support::{MINUTE, in_project, instance, running, unique, wait_for};

#[tokio::test]
async fn an_instance_is_created_started_stopped_and_deleted() {
    let test = "an_instance_is_created_started_stopped_and_deleted";
    in_project(test, |_, client| async move {
        let Some(name) = instance(test, &client).await else { return };
        let found = client.instance(&name).await.unwrap().unwrap();
        assert!(found.is_stopped() && found.etag.is_some());
        assert_eq!(found.profiles, ["default"]);
        assert!(found.expanded_devices.contains_key("root"));

        let again = InstancesPost {
            name: name.clone(),
            source: InstanceSource::none(),
            ..InstancesPost::default()
        };
        let error = match client.create_instance(&again, None).await {
            Ok(operation) => operation.wait(MINUTE).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.is_conflict(), "{error}");

        let start = client.set_state(&name, InstanceAction::Start, false, None).await.unwrap();
        let mut states = Vec::new();
        start.wait_with(MINUTE, |o| states.push(o.status_code)).await.unwrap();
        assert_eq!(states.last(), Some(&StatusCode::Success));
        let error = client.set_state(&name, InstanceAction::Start, false, None).await;
        let error = match error {
            Ok(operation) => operation.wait(MINUTE).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.server_text().unwrap().contains("already running"), "{error}");

        let address = wait_for("an address", || async {
            let state = client.instance_state(&name).await.unwrap().unwrap();
            state.global_addresses().first().map(|(_, a)| a.address.clone())
        })
        .await;
        let full = client.instances_full(&InstanceFilter::new()).await.unwrap();
        let state = full[0].state.as_ref().unwrap();
        assert_eq!(state.global_addresses()[0].1.address, address);
        let network = full[0].expanded_devices["eth0"]["network"].clone();
        let leases = client.network_leases(&network).await.unwrap();
        assert!(leases.iter().any(|lease| lease.address == address), "{leases:?}");

        let error = client.delete_instance(&name).await;
        let error = match error {
            Ok(operation) => operation.wait(MINUTE).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.server_text().unwrap().contains("running"), "{error}");
        let stop =
            client.set_state(&name, InstanceAction::Stop, false, Some(MINUTE)).await.unwrap();
        stop.wait(MINUTE).await.unwrap();
        client.delete_instance(&name).await.unwrap().wait(MINUTE).await.unwrap();
        assert!(client.instance(&name).await.unwrap().is_none());
        assert!(client.instance_state(&name).await.unwrap().is_none());
        assert!(client.delete_instance(&name).await.unwrap_err().is_not_found());
    })
    .await;
}

#[tokio::test]
async fn a_missing_image_file_is_named() {
    in_project("a_missing_image_file_is_named", |_, client| async move {
        let post = InstancesPost {
            name: unique("i"),
            source: InstanceSource::alias("capn/none"),
            ..InstancesPost::default()
        };
        let error = match client.create_instance(&post, None).await {
            Ok(operation) => operation.wait(MINUTE).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(!error.is_transient(), "{error}");
        println!("    {error}");
    })
    .await;
}

#[tokio::test]
async fn an_instance_is_found_by_owner_after_a_rename() {
    let test = "an_instance_is_found_by_owner_after_a_rename";
    in_project(test, |_, client| async move {
        let Some(name) = instance(test, &client).await else { return };
        let uid =
            client.instance(&name).await.unwrap().unwrap().config["user.capn.owner-uid"].clone();
        let renamed = unique("r");
        client.rename_instance(&name, &renamed).await.unwrap().wait(MINUTE).await.unwrap();
        let found = client.find_instance("user.capn.owner-uid", &uid).await.unwrap().unwrap();
        assert_eq!(found.name, renamed);
        assert!(client.find_instance("user.capn.owner-uid", "other").await.unwrap().is_none());
        let filter = InstanceFilter::new().config("user.capn.owner-uid", &uid).name(&renamed);
        assert_eq!(client.instances(&filter).await.unwrap().len(), 1);
        assert_eq!(client.instances_full(&filter).await.unwrap().len(), 1);
        let nothing = InstanceFilter::new().config("user.capn.owner-uid", "a b \"c\"");
        assert!(client.instances(&nothing).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_patch_sets_keys_and_a_stale_tag_is_refused() {
    let test = "a_patch_sets_keys_and_a_stale_tag_is_refused";
    in_project(test, |_, client| async move {
        let Some(name) = instance(test, &client).await else { return };
        let before = client.instance(&name).await.unwrap().unwrap();
        let etag = before.etag.as_deref();
        let patch = serde_json::json!({"config": {"user.capn.phase": "created"}});
        client.patch_instance(&name, &patch, etag).await.unwrap();
        let error = client.patch_instance(&name, &patch, etag).await.unwrap_err();
        assert!(error.is_precondition_failed(), "{error}");
        let after = client.instance(&name).await.unwrap().unwrap();
        assert_eq!(after.config["user.capn.phase"], "created");
        assert_eq!(after.config["user.capn.owner-uid"], before.config["user.capn.owner-uid"]);

        let mut put = after.to_put();
        put.config.remove("user.capn.phase");
        let operation = client.put_instance(&name, &put, after.etag.as_deref()).await.unwrap();
        operation.wait(MINUTE).await.unwrap();
        let last = client.instance(&name).await.unwrap().unwrap();
        assert!(!last.config.contains_key("user.capn.phase"));
    })
    .await;
}

#[tokio::test]
async fn operations_are_found_by_resource() {
    let test = "operations_are_found_by_resource";
    in_project(test, |_, client| async move {
        let Some(name) = running(test, &client).await else { return };
        // A stop without a time limit: the init of this instance is stopped and cannot react.
        let pid = client.instance_state(&name).await.unwrap().unwrap().pid;
        let freeze = std::process::Command::new("kill").args(["-STOP", &pid.to_string()]).status();
        assert!(freeze.unwrap().success());
        let stop =
            client.set_state(&name, InstanceAction::Stop, false, Some(MINUTE)).await.unwrap();
        let resource = format!("/1.0/instances/{name}");
        let found = client.operations_for(&resource).await.unwrap();
        assert_eq!(found.iter().map(|o| o.id()).collect::<Vec<_>>(), [stop.id()]);
        assert!(client.operations_for("/1.0/instances/other").await.unwrap().is_empty());

        let error = found[0].wait(Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error, Error::OperationDeadline { .. }), "{error:?}");
        let thaw = std::process::Command::new("kill").args(["-CONT", &pid.to_string()]).status();
        assert!(thaw.unwrap().success());
        found[0].wait(MINUTE).await.unwrap();
        stop.wait(MINUTE).await.unwrap();
        assert!(client.operations_for(&resource).await.unwrap().is_empty());
        let unknown = client.operation("00000000-0000-0000-0000-000000000000").await.unwrap_err();
        assert!(unknown.is_not_found(), "{unknown}");
    })
    .await;
}

#[tokio::test]
async fn lifecycle_events_report_start_and_stop() {
    let test = "lifecycle_events_report_start_and_stop";
    in_project(test, |_, client| async move {
        let Some(name) = instance(test, &client).await else { return };
        let mut events = client.events(&[EventKind::Lifecycle]);
        assert!(matches!(events.next().await, Some(EventItem::Connected)));
        let start = client.set_state(&name, InstanceAction::Start, false, None).await.unwrap();
        start.wait(MINUTE).await.unwrap();
        let stop = client.set_state(&name, InstanceAction::Stop, true, None).await.unwrap();
        stop.wait(MINUTE).await.unwrap();
        let mut seen = Vec::new();
        let watching = async {
            while let Some(item) = events.next().await {
                let EventItem::Event(event) = item else { continue };
                let lifecycle = event.lifecycle().unwrap();
                if lifecycle.instance() == Some(name.as_str()) {
                    seen.push(lifecycle.action.clone());
                }
                if lifecycle.action == "instance-stopped" {
                    return;
                }
            }
        };
        tokio::time::timeout(MINUTE, watching).await.expect("the stop is reported");
        assert!(seen.contains(&"instance-started".to_owned()), "{seen:?}");
    })
    .await;
}

#[tokio::test]
async fn metadata_and_templates_are_read_and_written() {
    let test = "metadata_and_templates_are_read_and_written";
    in_project(test, |_, client| async move {
        let Some(name) = running(test, &client).await else { return };
        let metadata = client.metadata(&name).await.unwrap();
        assert_eq!(metadata.templates["/etc/hostname"].template, "hostname.tpl");
        assert_eq!(client.template_files(&name).await.unwrap(), ["hostname.tpl"]);
        let file = client.template_file(&name, "hostname.tpl").await.unwrap().unwrap();
        assert_eq!(file, "{{ container.name }}\n");
        let hostname = client.pull_file(&name, "/etc/hostname").await.unwrap().unwrap();
        assert_eq!(hostname.content, format!("{name}\n"), "the template was applied");

        let text = Bytes::from_static(b"one");
        client.put_template_file(&name, "other.tpl", text).await.unwrap();
        client.put_template_file(&name, "other.tpl", "two".into()).await.unwrap();
        assert_eq!(client.template_file(&name, "other.tpl").await.unwrap().unwrap(), "two");
        let mut changed = metadata.value.clone();
        changed.properties.insert("added".into(), "yes".into());
        client.set_metadata(&name, &changed, metadata.etag.as_deref()).await.unwrap();
        assert_eq!(client.metadata(&name).await.unwrap().properties["added"], "yes");
        client.delete_template_file(&name, "other.tpl").await.unwrap();
        assert!(client.template_file(&name, "other.tpl").await.unwrap().is_none());
    })
    .await;
}
