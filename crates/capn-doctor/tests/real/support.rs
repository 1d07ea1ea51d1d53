//! Servers with a node image, and nodes that are removed afterwards.

use std::time::{Duration, Instant};

use incus_client::api::{InstanceAction, InstanceSource, InstancesPost};
use incus_client::{Client, ExecRequest};

const MINUTE: Duration = Duration::from_secs(60);
const IMAGES: [&str; 1] = ["capn/node"];

/// A server and the image it has.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) client: Client,
    image: String,
}

/// Servers of this machine that have an image; prints why there are none.
pub(crate) async fn servers(test: &str) -> Vec<Server> {
    let sockets = [("Incus", "/var/lib/incus/unix.socket"), ("LXD", "/var/lib/lxd/unix.socket")];
    let mut found = Vec::new();
    for (name, socket) in sockets {
        if let Err(error) = std::os::unix::net::UnixStream::connect(socket) {
            println!("SKIPPED: {test} on {name}: {socket}: {error}");
            continue;
        }
        let client = Client::unix(socket);
        let mut image = None;
        for alias in IMAGES {
            if client.image_by_alias(alias).await.unwrap().is_some() {
                image = Some(alias.to_owned());
                break;
            }
        }
        match image {
            Some(image) => found.push(Server { name, client, image }),
            None => println!(
                "SKIPPED: {test} on {name}: no image {}; `capn image build node` makes it",
                IMAGES.join(" or ")
            ),
        }
    }
    found
}

/// A running instance.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) server: &'static str,
    pub(crate) client: Client,
}

impl Node {
    /// Launches an instance and waits until commands run in it.
    pub(crate) async fn launch(server: &Server, mode: &str, config: &[(&str, &str)]) -> Self {
        let name = format!("capn-t-doctor-{mode}-{}", std::process::id());
        let client = server.client.clone();
        let config = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let post = InstancesPost {
            name: name.clone(),
            source: InstanceSource::alias(&server.image),
            config,
            ..InstancesPost::default()
        };
        client.create_instance(&post, None).await.unwrap().wait(3 * MINUTE).await.unwrap();
        let node = Self { name, server: server.name, client };
        let start = node.client.set_state(&node.name, InstanceAction::Start, false, None);
        let started = start.await.unwrap().wait(MINUTE).await;
        if let Err(error) = started {
            node.delete().await;
            std::panic::resume_unwind(Box::new(format!(
                "{mode} on {} does not start: {error}",
                server.name
            )));
        }
        let deadline = Instant::now() + MINUTE;
        loop {
            let up = node.client.exec(&node.name, ExecRequest::new(["true"])).await;
            if up.is_ok_and(|output| output.success()) {
                return node;
            }
            assert!(Instant::now() < deadline, "no command runs in {}", node.name);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Files that the probes left behind, one path per line.
    pub(crate) async fn files_of_the_probes(&self) -> String {
        let find = "find /run /tmp /var/tmp /root /dev -xdev -name 'capn-doors*' 2>/dev/null; true";
        let output = self.client.exec(&self.name, ExecRequest::shell(find)).await.unwrap();
        output.stdout_text().into_owned()
    }

    /// Stops and deletes the instance.
    pub(crate) async fn delete(&self) {
        // A stopped instance returns an error.
        if let Ok(stop) = self.client.set_state(&self.name, InstanceAction::Stop, true, None).await
        {
            stop.wait(MINUTE).await.ok();
        }
        self.client.delete_instance(&self.name).await.unwrap().wait(MINUTE).await.expect("deleted");
    }
}

/// Settings of the host that an open vector could have changed.
pub(crate) fn host_settings() -> Vec<(&'static str, String)> {
    [
        "/proc/sys/kernel/panic",
        "/proc/sys/kernel/printk",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/randomize_va_space",
        "/proc/sys/kernel/keys/maxkeys",
        "/proc/sys/vm/swappiness",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/fs/file-max",
        "/proc/swaps",
        "/sys/devices/system/cpu/online",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/mm/ksm/run",
        "/proc/sys/kernel/hostname",
    ]
    .map(|path| (path, std::fs::read_to_string(path).unwrap_or_default()))
    .to_vec()
}

/// Whether the host's lxcfs is writable from nodes: mounted writable, no AppArmor, and older than
/// 6.0.
pub(crate) fn lxcfs_writes() -> bool {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let writable = mounts
        .lines()
        .filter(|line| line.contains(" /var/lib/lxcfs fuse.lxcfs "))
        .any(|line| line.contains(" rw,"));
    let version = std::process::Command::new("lxcfs").arg("--version").output();
    // It prints its quoted version to stderr.
    let text = version.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let major = text.trim().trim_matches('"').split('.').next().and_then(|m| m.parse().ok());
    let major: u32 = major.unwrap_or(6);
    let armored = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    writable && major < 6 && !armored.is_ok_and(|text| text.trim() == "Y")
}
