//! Registry mirrors and drop-in settings of containerd, in a node whose image has crictl.

use std::time::Duration;

use capn_image::{Kind, binaries::Programs};
use incus_client::FileOptions;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc,
    time::timeout,
};

use super::support::{built, directory_of, in_one_project, launched, sh};

const NODE: &str = "capn-t-img-mirror";

#[tokio::test]
async fn pulls_use_the_registry_mirror_and_drop_in_settings() {
    let Some(directory) = directory_of(Programs::Runtime) else { return };
    if !directory.join("crictl").exists() {
        println!("SKIPPED: registry mirror: {directory} has no crictl");
        return;
    }
    in_one_project("registry mirror", |client| async move {
        let client = &client;
        let (image, _) = built(client, Kind::Node).await;
        launched(client, NODE, &image.alias, &[("security.nesting", "true")]).await;
        let address = sh(client, NODE, "ip -4 route show default | cut -d' ' -f3").await;
        let listener = TcpListener::bind((address.trim(), 0)).await.unwrap();
        let mirror = format!("http://{}", listener.local_addr().unwrap());
        let (asked, mut questions) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                stream.read_line(&mut line).await.ok();
                asked.send(line).ok();
                stream.write_all(b"HTTP/1.0 404 Not Found\r\n\r\n").await.ok();
            }
        });
        // The registry itself does not exist.
        let hosts = format!(
            "server = \"{mirror}\"\n[host.\"{mirror}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
        );
        let settings = "version = 2\noom_score = -1\n";
        for (path, text) in [
            ("/etc/containerd/certs.d/registry.invalid/hosts.toml", hosts.as_str()),
            ("/etc/containerd/conf.d/mine.toml", settings),
        ] {
            let directory = path.rsplit_once('/').unwrap().0;
            sh(client, NODE, &format!("mkdir -p {directory}")).await;
            client
                .push_file(NODE, path, text.as_bytes().to_vec(), &FileOptions::default())
                .await
                .unwrap();
        }
        let pull = "crictl pull registry.invalid/team/app:1 2>&1; true";
        let said = sh(client, NODE, pull).await;
        let question = timeout(Duration::from_secs(10), questions.recv()).await;
        let question = question.ok().flatten().unwrap_or_default();
        assert!(
            question.contains("/v2/team/app/manifests/1?ns=registry.invalid"),
            "{question:?}: {said}"
        );
        let dump = sh(client, NODE, "containerd config dump").await;
        assert!(dump.contains("oom_score = -1"), "{dump}");
    })
    .await;
}
