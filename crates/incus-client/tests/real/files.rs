//! Files of instances.

use incus_client::FileOptions;
use incus_client::api::{FileKind, InstanceAction};

use crate::support::{MINUTE, in_project, instance};

#[tokio::test]
async fn files_are_written_read_and_deleted_in_a_stopped_and_a_running_instance() {
    let test = "files_are_written_read_and_deleted_in_a_stopped_and_a_running_instance";
    in_project(test, |_, client| async move {
        let Some(name) = instance(test, &client).await else { return };
        for round in ["stopped", "running"] {
            if round == "running" {
                let start = client.set_state(&name, InstanceAction::Start, false, None).await;
                start.unwrap().wait(MINUTE).await.unwrap();
            }
            let path = format!("/{round}/a b/ü.conf");
            let plain = FileOptions::default();
            let error = client.push_file(&name, &path, "x", &plain).await.unwrap_err();
            assert!(error.is_not_found(), "no parents: {error}");
            let options = FileOptions {
                mode: Some(0o640),
                uid: Some(1000),
                gid: Some(2000),
                make_parents: true,
            };
            client.push_file(&name, &path, "first", &options).await.unwrap();
            let found = client.pull_file(&name, &path).await.unwrap().unwrap();
            assert_eq!(found.content, "first");
            assert_eq!(found.headers.kind, FileKind::File);
            assert_eq!(found.headers.mode, Some(0o640));
            assert_eq!((found.headers.uid, found.headers.gid), (Some(1000), Some(2000)));

            let options = FileOptions { mode: Some(0o600), uid: Some(0), ..options };
            client.push_file(&name, &path, "2", &options).await.unwrap();
            let found = client.pull_file(&name, &path).await.unwrap().unwrap();
            assert_eq!(found.content, "2", "{round}: written anew");
            assert_eq!((found.headers.mode, found.headers.uid), (Some(0o600), Some(0)), "{round}");
            client.push_file(&name, &path, "", &plain).await.unwrap();
            assert_eq!(client.pull_file(&name, &path).await.unwrap().unwrap().content, "");

            let directory = format!("/{round}/folder");
            client.make_directory(&name, &directory, &plain).await.unwrap();
            client.make_directory(&name, &directory, &plain).await.unwrap();
            let link = format!("/{round}/link");
            for target in ["/etc/one", "/etc/two", "/etc/two"] {
                client.symlink(&name, &link, target, &plain).await.unwrap();
                let found = client.pull_file(&name, &link).await.unwrap().unwrap();
                assert_eq!(found.headers.kind, FileKind::Symlink);
                assert_eq!(found.content, target);
            }
            let names = client.list_dir(&name, &format!("/{round}")).await.unwrap().unwrap();
            assert_eq!(names, ["a b", "folder", "link"]);

            client.delete_file(&name, &path).await.unwrap();
            client.delete_file(&name, &path).await.unwrap();
            assert!(client.pull_file(&name, &path).await.unwrap().is_none());
            assert!(client.list_dir(&name, &path).await.unwrap().is_none());
            let full = client.delete_file(&name, &format!("/{round}")).await.unwrap_err();
            assert!(!full.is_not_found(), "{full}");
        }
    })
    .await;
}
