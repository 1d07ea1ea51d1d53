//! The node and load balancer images: built, reused, started, and validated.

use std::{io::Write, time::Duration};

use capn_image::{
    BuildRequest, Event, Kind,
    binaries::Programs,
    build,
    build::{BuildError, Stage},
    cri::check_sandbox,
};
use incus_client::{Client, FileOptions, ImageFiles, ImageUpload, api::ImageAlias};

use super::support::{
    MINUTE, built, cache, directory_of, in_one_project, in_project, launched, restart_with, sh,
    until,
};

const USER_DATA: &str = "## template: jinja
#cloud-config
write_files:
- path: /etc/capn-test
  content: '{{ v1.local_hostname }} {% raw %}{{ braces }}{% endraw %}'
runcmd:
- cp /etc/capn-test /run/capn-test
";

const SETTINGS: [&str; 3] =
    ["disable_apparmor", "restrict_oom_score_adj", "disable_hugetlb_controller"];

#[tokio::test]
async fn a_node_image_boots_in_a_user_namespace_and_runs_a_pod_sandbox() {
    in_project("node image", |client| async move {
        let (image, _) = built(&client, Kind::Node).await;
        for (name, key) in
            [("capn-t-img-a", "cloud-init.user-data"), ("capn-t-img-b", "user.user-data")]
        {
            let config = [("security.nesting", "true"), (key, USER_DATA)];
            launched(&client, name, &image.alias, &config).await;
            let failed = sh(&client, name, "systemctl list-units --failed --plain --no-legend");
            assert_eq!(failed.await, "", "failed units in {name}");
            assert_eq!(sh(&client, name, "hostname").await.trim(), name);
            // The server must not render braces of user data.
            let expected = format!("{name} {{{{ braces }}}}");
            assert_eq!(sh(&client, name, "cat /run/capn-test").await.trim(), expected);
            assert_eq!(settings(&client, name).await, [true, true, true]);
            let status = containerd_status(&client, name).await;
            assert!(status.contains("config.unprivileged.toml"), "{status}");
            let check = check_sandbox(&client, name).await.unwrap();
            let old = directory_of(Programs::Runtime).is_none();
            assert_eq!(check.runtime.starts_with("containerd 1.7"), old, "{check:?}");
            assert_eq!(check.image, "registry.k8s.io/pause:3.10.1");
            assert_eq!(sh(&client, name, "ctr -n k8s.io containers list -q").await, "");
        }
        let map = sh(&client, "capn-t-img-a", "cat /proc/self/uid_map").await;
        assert!(!map.split_whitespace().eq(["0", "0", "4294967295"]), "{map}");
        let ids =
            ["capn-t-img-a", "capn-t-img-b"].map(|name| sh(&client, name, "cat /etc/machine-id"));
        let [a, b] = ids;
        assert_ne!(a.await, b.await, "two instances with one machine id");
    })
    .await;
}

#[tokio::test]
async fn containerd_follows_when_a_node_becomes_privileged_and_back() {
    in_project("privileged node", |client| async move {
        let name = "capn-t-img-mode";
        let (image, _) = built(&client, Kind::Node).await;
        launched(&client, name, &image.alias, &[("security.nesting", "true")]).await;
        assert_eq!(settings(&client, name).await, [true, true, true]);

        restart_with(&client, name, "security.privileged", "true").await;
        let status = containerd_status(&client, name).await;
        // If the server cannot lower OOM scores itself, neither can its instances.
        let restricted = status.contains("config.restricted.toml");
        assert!(restricted || status.contains("config.default.toml"), "{status}");
        assert_eq!(settings(&client, name).await, [false, restricted, false]);
        check_sandbox(&client, name).await.unwrap();

        restart_with(&client, name, "security.privileged", "false").await;
        assert_eq!(settings(&client, name).await, [true, true, true]);
        check_sandbox(&client, name).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_load_balancer_image_starts_idle_and_reloads() {
    in_project("haproxy image", |client| async move {
        let name = "capn-t-img-lb";
        let (image, _) = built(&client, Kind::Haproxy).await;
        launched(&client, name, &image.alias, &[]).await;
        assert_eq!(sh(&client, name, "systemctl is-active haproxy").await.trim(), "active");
        let failed = sh(&client, name, "systemctl list-units --failed --plain --no-legend").await;
        assert_eq!(failed, "");
        let listening = "ss -Hltn | grep -v 127.0.0";
        assert_eq!(sh(&client, name, &format!("{listening} || true")).await, "");

        let config = "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 5s\n    \
                      timeout server 5s\nfrontend f\n    bind :6443\n    default_backend b\n\
                      backend b\n    server s 192.0.2.1:6443\n";
        let path = "/etc/haproxy/haproxy.cfg";
        client.push_file(name, path, config, &FileOptions::default()).await.unwrap();
        sh(&client, name, "systemctl reload haproxy").await;
        // A reload is a signal: the new worker binds long after the command has returned.
        let ports = until(&client, name, "listening", listening).await;
        assert!(ports.contains(":6443") && ports.lines().count() == 1, "{ports}");
    })
    .await;
}

#[tokio::test]
async fn unchanged_inputs_build_nothing_and_restore_a_lost_alias() {
    in_one_project("reuse", |client| async move {
        let (first, _) = built(&client, Kind::Node).await;
        let (second, events) = built(&client, Kind::Node).await;
        assert!(second.reused && events.is_empty(), "{events:?}");
        assert_eq!(second.fingerprint, first.fingerprint);

        client.delete_image_alias(&first.alias).await.unwrap();
        let (third, _) = built(&client, Kind::Node).await;
        assert_eq!((third.reused, &third.fingerprint), (true, &first.fingerprint));

        // The server has lost the image: it is sent again from the cache without a build.
        let gone = client.delete_image(&first.fingerprint).await.unwrap();
        gone.wait(MINUTE).await.unwrap();
        let (fourth, events) = built(&client, Kind::Node).await;
        assert_eq!(fourth.fingerprint, first.fingerprint);
        let made: Vec<Stage> = events
            .iter()
            .filter_map(|event| match event {
                Event::StageFinished { stage, cached: false, .. } => Some(*stage),
                _ => None,
            })
            .collect();
        assert_eq!(made, [Stage::Import]);
    })
    .await;
}

#[tokio::test]
async fn aliases_of_others_are_not_changed() {
    in_project("alias clash", |client| async move {
        let foreign = foreign_image(&client, "capn/node").await;
        let request = BuildRequest::new(Kind::Node, cache());
        let refused = build(&request, &client, &mut |_| {}).await;
        assert!(matches!(refused, Err(BuildError::AliasTaken { .. })), "{refused:?}");
        let alias = client.image_alias("capn/node").await.unwrap().unwrap();
        assert_eq!(alias.value.target, foreign);
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_build_leaves_no_mounts() {
    in_one_project("interrupted build", |client| async move {
        let cache = tempfile::tempdir().unwrap();
        // A colon prevents overlays, to test copied layers too.
        let directory = format!("{}/co:lon", cache.path().display());
        let request = BuildRequest::new(Kind::Haproxy, directory.clone());
        let (seen, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let build_client = client.clone();
        let running = tokio::spawn(async move {
            let mut tell = |event| {
                if let Event::Line { text, .. } = event {
                    seen.send(text).ok();
                }
            };
            build(&request, &build_client, &mut tell).await
        });
        // In the middle: the base system is being unpacked, with mounts in it.
        while let Some(line) = tokio::time::timeout(5 * MINUTE, lines.recv()).await.unwrap() {
            if line.contains("Configuring") {
                break;
            }
        }
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());

        let deadline = std::time::Instant::now() + MINUTE;
        while processes_in(&directory) > 0 {
            assert!(
                std::time::Instant::now() < deadline,
                "the build is still running in {directory}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(&directory), "{mounts}");
        assert!(client.images().await.unwrap().is_empty());
        // The directory is unlocked again, and leftover data does not interfere.
        let request = BuildRequest::new(Kind::Haproxy, directory.clone());
        build(&request, &client, &mut |_| {}).await.unwrap();
    })
    .await;
}

/// Processes whose command line contains the directory.
fn processes_in(directory: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(directory))
        .count()
}

/// An image with the alias that capn did not build; returns its fingerprint.
async fn foreign_image(client: &Client, alias: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("foreign.tar.gz");
    let gz = flate2::write::GzEncoder::new(
        std::fs::File::create(&path).unwrap(),
        flate2::Compression::fast(),
    );
    let mut tar = tar::Builder::new(gz);
    let metadata = format!(
        "architecture: {}\ncreation_date: 1700000000\nproperties: {{os: foreign}}\n",
        std::env::consts::ARCH
    );
    for (path, text) in [("metadata.yaml", metadata.as_str()), ("rootfs/etc/issue", "foreign\n")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
    let upload = ImageUpload {
        files: ImageFiles::Unified(path),
        public: false,
        properties: std::collections::BTreeMap::new(),
        aliases: vec![ImageAlias::named(alias)],
    };
    client.import_image(&upload, MINUTE, |_| {}).await.unwrap().fingerprint
}

/// The values of [`SETTINGS`] in the running containerd.
pub(crate) async fn settings(client: &Client, name: &str) -> [bool; 3] {
    let dump = sh(client, name, "containerd config dump").await;
    SETTINGS.map(|setting| {
        let line = dump.lines().find(|line| line.trim().starts_with(setting)).expect(setting);
        line.ends_with("= true")
    })
}

pub(crate) async fn containerd_status(client: &Client, name: &str) -> String {
    sh(client, name, "systemctl status containerd").await
}
