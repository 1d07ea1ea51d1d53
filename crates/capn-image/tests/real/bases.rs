//! Ubuntu as base, images that fail validation, and nodes that are installed at boot.

use std::collections::BTreeMap;

use capn_image::{
    BuildRequest, Kind, build,
    build::{Base, BuildError, ValidationCase, remove_validation},
    cri::check_sandbox,
    install::InstallScript,
};
use incus_client::{
    Client, ExecRequest, FileOptions,
    api::{Config, Devices, InstanceFilter},
};

use super::images::{containerd_status, settings};
use super::support::{MINUTE, cache, has_ubuntu, in_one_project, launched, restart_with, sh};

const BINARIES: &str = "/var/lib/capn/kubernetes";

fn ubuntu() -> BuildRequest {
    BuildRequest { base: Some(Base::Ubuntu2404), ..BuildRequest::new(Kind::Node, cache()) }
}

#[tokio::test]
async fn an_ubuntu_node_has_containerd_2_which_follows_its_mode() {
    if !has_ubuntu("ubuntu node") {
        return;
    }
    in_one_project("ubuntu node", |client| async move {
        let image = build(&ubuntu(), &client, &mut |_| {}).await.unwrap();
        let name = "capn-t-img-u";
        launched(&client, name, &image.alias, &[("security.nesting", "true")]).await;
        assert_eq!(settings(&client, name).await, [true, true, true]);
        let status = containerd_status(&client, name).await;
        assert!(status.contains("config.unprivileged.toml"), "{status}");
        let check = check_sandbox(&client, name).await.unwrap();
        assert!(check.runtime.starts_with("containerd 2."), "{check:?}");

        restart_with(&client, name, "security.privileged", "true").await;
        let status = containerd_status(&client, name).await;
        let restricted = status.contains("config.restricted.toml");
        assert!(restricted || status.contains("config.default.toml"), "{status}");
        assert_eq!(settings(&client, name).await, [false, restricted, false]);
        check_sandbox(&client, name).await.unwrap();

        restart_with(&client, name, "security.privileged", "false").await;
        let status = containerd_status(&client, name).await;
        assert!(status.contains("config.unprivileged.toml"), "{status}");
        assert_eq!(settings(&client, name).await, [true, true, true]);
        check_sandbox(&client, name).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_image_that_fails_validation_is_removed() {
    in_one_project("validation", |client| async move {
        // It claims to be unprivileged but is not.
        let config = ["security.nesting", "security.privileged"];
        let wrong = ValidationCase {
            name: "unprivileged",
            unprivileged: true,
            config: config.map(|key| (key.to_owned(), "true".to_owned())).into(),
            devices: Devices::new(),
        };
        let mut request = BuildRequest::new(Kind::Haproxy, cache());
        request.validate = vec![wrong];
        let refused = build(&request, &client, &mut |_| {}).await;
        let Err(BuildError::Invalid { failures }) = refused else { panic!("{refused:?}") };
        assert!(failures[0].contains("user namespace"), "{failures:?}");
        assert!(client.image_alias("capn/haproxy").await.unwrap().is_none());
        assert!(client.images().await.unwrap().is_empty());
        assert!(client.instances(&InstanceFilter::new()).await.unwrap().is_empty());

        // A leftover instance is found by its mark.
        request.validate = Vec::new();
        request.manifest = true;
        let image = build(&request, &client, &mut |_| {}).await.unwrap();
        let manifest: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(image.manifest.as_deref().unwrap()).unwrap();
        assert_eq!(manifest["recipe"], image.recipe);
        let mark = [("user.capn.validates", "capn/haproxy")];
        launched(&client, "capn-t-img-left", &image.alias, &mark).await;
        remove_validation(&client, "capn/haproxy").await.unwrap();
        assert!(client.instances(&InstanceFilter::new()).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_node_is_made_at_boot_from_checked_downloads() {
    if !std::path::Path::new(BINARIES).join("kubeadm").exists() {
        println!("SKIPPED: at boot: no binaries in {BINARIES}");
        return;
    }
    let on_ubuntu = has_ubuntu("at boot, on Ubuntu").then(|| ("capn-t-img-n", ubuntu()));
    let debian = ("capn-t-img-d", BuildRequest::new(Kind::Node, cache()));
    let wanted: Vec<_> = std::iter::once(debian).chain(on_ubuntu).collect();
    in_one_project("at boot", |client| {
        let wanted = wanted.clone();
        async move {
            for (name, request) in wanted {
                let image = build(&request, &client, &mut |_| {}).await.unwrap();
                installed_in(&client, name, &image.alias).await;
            }
        }
    })
    .await;
}

/// Serves the binaries to the instance on its own loopback, and installs them.
async fn installed_in(client: &Client, name: &str, image: &str) {
    launched(client, name, image, &[("security.nesting", "true")]).await;
    let disk = [("type", "disk"), ("source", BINARIES), ("path", "/srv/bin"), ("readonly", "true")];
    let disk: Config = disk.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let change = serde_json::json!({ "devices": { "binaries": disk } });
    client.patch_instance(name, &change, None).await.unwrap();
    let version = sh(client, name, "/srv/bin/kubeadm version -o short").await.trim().to_owned();
    let mirror = format!(
        "set -eu; at=/srv/mirror/{version}/bin/linux/$(dpkg --print-architecture); mkdir -p $at; \
         for name in kubeadm kubelet kubectl; do ln -s /srv/bin/$name $at/$name; \
         sha256sum /srv/bin/$name | cut -c 1-64 >$at/$name.sha256; done; \
         systemd-run -q python3 -m http.server --bind 127.0.0.1 --directory /srv/mirror 8000; \
         until (: </dev/tcp/127.0.0.1/8000) 2>/dev/null; do :; done"
    );
    let mirror = ExecRequest::new(["bash", "-c", &mirror]).deadline(MINUTE);
    assert!(client.exec(name, mirror).await.unwrap().success());

    // Remove what the image has, to show that it comes from the script.
    sh(client, name, "rm -r /etc/containerd/* /usr/local/lib/capn /opt/cni").await;
    let script = InstallScript {
        kubernetes_url: "http://127.0.0.1:8000".to_owned(),
        ..InstallScript::new(version.as_str())
    };
    let path = "/opt/cluster-api/install-kubeadm.sh";
    let options = FileOptions { mode: Some(0o755), make_parents: true, ..FileOptions::default() };
    client.push_file(name, path, script.text(), &options).await.unwrap();
    let text = sh(client, name, path).await;
    assert!(text.contains("config.unprivileged.toml"), "{text}");
    assert_eq!(sh(client, name, "kubelet --version").await.trim(), format!("Kubernetes {version}"));
    assert_eq!(sh(client, name, "systemctl is-enabled kubelet").await.trim(), "enabled");
    assert_eq!(settings(client, name).await, [true, true, true]);
    sh(client, name, "systemctl is-active containerd && [ -x /opt/cni/bin/bridge ]").await;
    let text = sh(client, name, path).await;
    assert!(text.contains(&format!("kubeadm {version} is there")), "{text}");

    // A file with a wrong digest is not installed.
    let spoil = "rm /usr/bin/kubectl; head -c 64 /dev/zero | tr '\\0' 0 | \
                 tee /srv/mirror/*/bin/linux/*/kubectl.sha256";
    sh(client, name, spoil).await;
    let refused = client.exec(name, ExecRequest::new([path]).deadline(MINUTE)).await.unwrap();
    let errors = refused.stderr_text();
    assert!(!refused.success() && errors.contains("is not the file with SHA-256"), "{errors}");
    sh(client, name, "[ ! -e /usr/bin/kubectl ]").await;
}
