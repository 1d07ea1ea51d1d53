//! Finding daemons, a project per test, a tiny image.

use std::future::Future;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt;
use incus_client::api::{
    Config, InstanceAction, InstanceFilter, InstanceSource, InstancesPost, ProjectPut, ProjectsPost,
};
use incus_client::{Client, ImageFiles, ImageUpload};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// The daemons of this machine; prints which ones are missing.
pub(crate) fn daemons(test: &str) -> Vec<(&'static str, Client)> {
    let sockets = [("Incus", "/var/lib/incus/unix.socket"), ("LXD", "/var/lib/lxd/unix.socket")];
    let mut found = Vec::new();
    for (name, socket) in sockets {
        match std::os::unix::net::UnixStream::connect(socket) {
            Ok(_) => found.push((name, Client::unix(socket))),
            Err(error) => println!("SKIPPED: {test} on {name}: {socket}: {error}"),
        }
    }
    found
}

/// A unique name.
pub(crate) fn unique(what: &str) -> String {
    format!("capn-t-{what}-{}", &uuid::Uuid::new_v4().simple().to_string()[..6])
}

/// Runs `test` on every daemon, each in a new project, and cleans up.
pub(crate) async fn in_project<F, Fut>(name: &str, test: F)
where
    F: Fn(&'static str, Client) -> Fut,
    Fut: Future<Output = ()>,
{
    for (daemon, client) in daemons(name) {
        let project = unique("p");
        let config = Config::from([
            ("features.images".to_owned(), "true".to_owned()),
            ("features.profiles".to_owned(), "false".to_owned()),
        ]);
        let put = ProjectPut { description: format!("test {name}"), config };
        client.create_project(&ProjectsPost { name: project.clone(), put }).await.unwrap();
        println!("{name} on {daemon}, project {project}");
        let scoped = client.with_project(&project);
        let result = AssertUnwindSafe(test(daemon, scoped.clone())).catch_unwind().await;
        clean(&scoped).await;
        client.delete_project(&project).await.unwrap();
        if let Err(panic) = result {
            eprintln!("{name} failed on {daemon}");
            std::panic::resume_unwind(panic);
        }
    }
}

async fn clean(client: &Client) {
    for instance in client.instances(&InstanceFilter::new()).await.unwrap() {
        if !instance.is_stopped() {
            let stop = client.set_state(&instance.name, InstanceAction::Stop, true, None).await;
            stop.unwrap().wait(MINUTE).await.unwrap();
        }
        client.delete_instance(&instance.name).await.unwrap().wait(MINUTE).await.unwrap();
    }
    for image in client.images().await.unwrap() {
        client.delete_image(&image.fingerprint).await.unwrap().wait(MINUTE).await.unwrap();
    }
}

/// Files of a tiny image: busybox, an init that stops on request, and DHCP.
pub(crate) struct TinyImage {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) metadata: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) unified: PathBuf,
}

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 17] = [
    "sh", "cat", "echo", "sleep", "ls", "ip", "udhcpc", "id", "pwd", "env", "head", "stat", "wc",
    "mkdir", "rm", "kill", "ps",
];
const INIT: &str = "#!/bin/sh\n\
    trap 'exit 0' PWR TERM\n\
    : > /run/up\n\
    ip link set lo up\n\
    ip link set eth0 up && udhcpc -b -q -i eth0 -s /etc/udhcpc >/dev/null 2>&1 &\n\
    while :; do sleep 1 & wait $!; done\n";
const UDHCPC: &str = "#!/bin/sh\n[ \"$1\" = bound ] && ip addr add $ip/$mask dev eth0\n";
const METADATA: &str = "architecture: x86_64\n\
    creation_date: 1700000000\n\
    properties:\n  os: tiny\n  description: tiny test image\n\
    templates:\n  /etc/hostname:\n    when: [create, copy]\n    template: hostname.tpl\n";
const TEMPLATE: &str = "{{ container.name }}\n";

/// Creates the files; prints a message and returns `None` without busybox.
///
/// Every call creates different files, so that tests do not share a fingerprint.
pub(crate) fn tiny_image(test: &str) -> Option<TinyImage> {
    if !Path::new(BUSYBOX).exists() {
        println!("SKIPPED: {test}: {BUSYBOX} is missing (package busybox-static)");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let image = TinyImage {
        metadata: path("metadata.tar.gz"),
        rootfs: path("rootfs.tar.gz"),
        unified: path("unified.tar.gz"),
        directory,
    };
    let serial = format!("serial: {}\n", uuid::Uuid::new_v4());
    let metadata = METADATA.replace("templates:", &format!("  {serial}templates:"));
    archive(&image.metadata, |tar| add_metadata(tar, &metadata));
    archive(&image.rootfs, |tar| add_rootfs(tar, ""));
    archive(&image.unified, |tar| {
        add_metadata(tar, &metadata);
        add_rootfs(tar, "rootfs/");
    });
    Some(image)
}

type Tar = tar::Builder<flate2::write::GzEncoder<std::fs::File>>;

fn archive(path: &Path, fill: impl Fn(&mut Tar)) {
    let file = std::fs::File::create(path).unwrap();
    let mut tar = Tar::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast()));
    fill(&mut tar);
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
}

fn add_metadata(tar: &mut Tar, metadata: &str) {
    add(tar, "metadata.yaml", 0o644, metadata.as_bytes());
    add(tar, "templates/hostname.tpl", 0o644, TEMPLATE.as_bytes());
}

fn add_rootfs(tar: &mut Tar, prefix: &str) {
    for directory in ["bin", "sbin", "etc", "proc", "sys", "dev", "root", "tmp", "run"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        tar.append_data(&mut header, format!("{prefix}{directory}/"), std::io::empty()).unwrap();
    }
    add(tar, &format!("{prefix}bin/busybox"), 0o755, &std::fs::read(BUSYBOX).unwrap());
    add(tar, &format!("{prefix}sbin/init"), 0o755, INIT.as_bytes());
    add(tar, &format!("{prefix}etc/udhcpc"), 0o755, UDHCPC.as_bytes());
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_link(&mut header, format!("{prefix}bin/{applet}"), "busybox").unwrap();
    }
}

fn add(tar: &mut Tar, path: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).unwrap();
}

impl TinyImage {
    pub(crate) fn upload(&self, aliases: &[&str]) -> ImageUpload {
        ImageUpload {
            files: ImageFiles::Split {
                metadata: self.metadata.clone(),
                rootfs: self.rootfs.clone(),
            },
            public: false,
            properties: Config::from([("capn.kind".to_owned(), "test & more=1".to_owned())]),
            aliases: aliases
                .iter()
                .map(|name| incus_client::api::ImageAlias::named(*name))
                .collect(),
        }
    }
}

/// An instance of the tiny image, created but not started; `None` without busybox.
pub(crate) async fn instance(test: &str, client: &Client) -> Option<String> {
    let image = tiny_image(test)?;
    let imported = client.import_image(&image.upload(&[]), MINUTE, |_| {}).await.unwrap();
    let post = InstancesPost {
        name: unique("i"),
        source: InstanceSource::fingerprint(imported.fingerprint),
        config: Config::from([(
            "user.capn.owner-uid".to_owned(),
            uuid::Uuid::new_v4().to_string(),
        )]),
        ..InstancesPost::default()
    };
    client.create_instance(&post, None).await.unwrap().wait(MINUTE).await.unwrap();
    Some(post.name)
}

/// As [`instance`], and running.
pub(crate) async fn running(test: &str, client: &Client) -> Option<String> {
    let name = instance(test, client).await?;
    let start = client.set_state(&name, InstanceAction::Start, false, None).await.unwrap();
    start.wait(MINUTE).await.unwrap();
    // Before its trap is set, init ignores a clean stop.
    wait_for("init", || async { client.pull_file(&name, "/run/up").await.unwrap() }).await;
    Some(name)
}

/// Polls `look` until it returns something, for at most one minute.
pub(crate) async fn wait_for<T, Fut>(what: &str, mut look: impl FnMut() -> Fut) -> T
where
    Fut: Future<Output = Option<T>>,
{
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    match tokio::time::timeout(3 * MINUTE, looking).await {
        Ok(found) => found,
        Err(_) => panic!("waited three minutes for {what}"),
    }
}
