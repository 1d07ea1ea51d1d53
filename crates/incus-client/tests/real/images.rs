//! Images and aliases.

use std::sync::{Arc, Mutex};

use incus_client::api::ImageAliasesPost;
use incus_client::{Error, ImageFiles, UploadProgress};

use crate::support::{MINUTE, in_project, tiny_image};

#[tokio::test]
async fn a_split_image_is_imported_once_with_properties_and_aliases() {
    let test = "a_split_image_is_imported_once_with_properties_and_aliases";
    in_project(test, |_, client| async move {
        let Some(image) = tiny_image(test) else { return };
        let upload = image.upload(&["capn/kubeadm/v1.36.0", "tiny"]);
        let steps = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&steps);
        let first = client
            .import_image(&upload, MINUTE, move |step| seen.lock().unwrap().push(step))
            .await
            .unwrap();
        assert!(!first.existed);
        {
            let steps = steps.lock().unwrap();
            let sent = steps.iter().rev().find_map(|step| match step {
                UploadProgress::Sending { bytes, total } => Some((*bytes, *total)),
                _ => None,
            });
            let (bytes, total) = sent.unwrap();
            assert_eq!(bytes, total, "everything was announced and sent");
            assert!(matches!(steps[0], UploadProgress::Hashing { .. }));
            assert_eq!(steps.last(), Some(&UploadProgress::Importing));
        }

        let found = client.image_by_alias("capn/kubeadm/v1.36.0").await.unwrap().unwrap();
        assert_eq!(found.fingerprint, first.fingerprint);
        assert_eq!(found.properties["capn.kind"], "test & more=1");
        assert_eq!(found.properties["os"], "tiny");
        assert!(!found.public);
        let mut aliases: Vec<_> = found.aliases.iter().map(|a| a.name.as_str()).collect();
        aliases.sort_unstable();
        assert_eq!(aliases, ["capn/kubeadm/v1.36.0", "tiny"]);

        client.delete_image_alias("tiny").await.unwrap();
        let mut changed = upload.clone();
        changed.properties.insert("capn.recipe".into(), "abc".into());
        let second = client.import_image(&changed, MINUTE, |_| {}).await.unwrap();
        assert!(second.existed, "the same files are not sent again");
        assert_eq!(second.fingerprint, first.fingerprint);
        let found = client.image_by_alias("tiny").await.unwrap().unwrap();
        assert_eq!(found.properties["capn.recipe"], "abc", "what lacked was added");

        client.delete_image(&first.fingerprint).await.unwrap().wait(MINUTE).await.unwrap();
        assert!(client.image(&first.fingerprint).await.unwrap().is_none());
        assert!(client.image_by_alias("tiny").await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_unified_image_is_imported() {
    let test = "a_unified_image_is_imported";
    in_project(test, |_, client| async move {
        let Some(image) = tiny_image(test) else { return };
        let mut upload = image.upload(&["unified"]);
        upload.files = ImageFiles::Unified(image.unified.clone());
        upload.public = true;
        let imported = client.import_image(&upload, MINUTE, |_| {}).await.unwrap();
        let found = client.image(&imported.fingerprint).await.unwrap().unwrap();
        assert!(found.public);
        assert_eq!(found.architecture, "x86_64");
    })
    .await;
}

#[tokio::test]
async fn an_alias_of_another_image_is_not_moved() {
    let test = "an_alias_of_another_image_is_not_moved";
    in_project(test, |_, client| async move {
        let (Some(one), Some(two)) = (tiny_image(test), tiny_image(test)) else { return };
        let one = client.import_image(&one.upload(&["name"]), MINUTE, |_| {}).await.unwrap();
        let error = client.import_image(&two.upload(&["name"]), MINUTE, |_| {}).await.unwrap_err();
        let Error::AliasTaken { found, wanted, .. } = &error else { panic!("{error:?}") };
        assert_eq!(found, &one.fingerprint);
        assert!(client.image(wanted).await.unwrap().is_some(), "the image itself exists");
        let post = ImageAliasesPost {
            name: "name".into(),
            target: wanted.clone(),
            ..ImageAliasesPost::default()
        };
        assert!(client.create_image_alias(&post).await.unwrap_err().is_conflict());
        client.move_image_alias("name", wanted).await.unwrap();
        assert_eq!(&client.image_by_alias("name").await.unwrap().unwrap().fingerprint, wanted);
    })
    .await;
}

#[tokio::test]
async fn importing_an_invalid_image_fails_with_the_server_message() {
    let test = "importing_an_invalid_image_fails_with_the_server_message";
    in_project(test, |_, client| async move {
        let Some(image) = tiny_image(test) else { return };
        let junk = image.directory.path().join("junk.tar.gz");
        std::fs::write(&junk, "not a tarball").unwrap();
        let mut upload = image.upload(&[]);
        upload.files = ImageFiles::Split { metadata: junk, rootfs: image.rootfs.clone() };
        let error = client.import_image(&upload, MINUTE, |_| {}).await.unwrap_err();
        assert!(matches!(error, Error::OperationFailed { .. }), "{error:?}");
        assert!(!error.is_transient(), "{error}");

        upload.files = ImageFiles::Unified(image.directory.path().join("absent"));
        let error = client.import_image(&upload, MINUTE, |_| {}).await.unwrap_err();
        assert!(matches!(error, Error::ReadFile { .. }), "{error:?}");
    })
    .await;
}
