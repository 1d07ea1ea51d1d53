//! Requirements of a test, a project per test, and running instances.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use camino::Utf8PathBuf;
use capn_image::{
    BuildRequest, BuiltImage, Event, Kind,
    binaries::{Programs, RuntimeDirectory, find_directory},
    build,
};
use futures::FutureExt;
use incus_client::{
    Client, ExecRequest,
    api::{
        Config, InstanceAction, InstanceFilter, InstanceSource, InstancesPost, ProjectPut,
        ProjectsPost,
    },
};

static PROJECTS: AtomicU32 = AtomicU32::new(0);

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// Servers for which images can be built here; prints why there are none.
pub(crate) fn servers(test: &str) -> Vec<(&'static str, Client)> {
    use std::os::unix::fs::MetadataExt;
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("SKIPPED: {test}: images are built as root");
        return Vec::new();
    }
    for tool in ["/usr/sbin/debootstrap", "/usr/bin/mksquashfs"] {
        if !Path::new(tool).exists() {
            println!("SKIPPED: {test}: {tool} is missing");
            return Vec::new();
        }
    }
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

/// Runs `test` on every server, each in a new project, and cleans up.
pub(crate) async fn in_project<F, Fut>(name: &str, test: F)
where
    F: Fn(Client) -> Fut,
    Fut: Future<Output = ()>,
{
    in_projects(servers(name), name, test).await;
}

/// As [`in_project`], on one server only, for tests that do not depend on the server.
pub(crate) async fn in_one_project<F, Fut>(name: &str, test: F)
where
    F: Fn(Client) -> Fut,
    Fut: Future<Output = ()>,
{
    in_projects(servers(name).into_iter().take(1).collect(), name, test).await;
}

async fn in_projects<F, Fut>(servers: Vec<(&'static str, Client)>, name: &str, test: F)
where
    F: Fn(Client) -> Fut,
    Fut: Future<Output = ()>,
{
    for (server, client) in servers {
        let number = PROJECTS.fetch_add(1, Ordering::Relaxed);
        let project = format!("capn-t-img-{}-{number}", std::process::id());
        let config = Config::from([
            ("features.images".to_owned(), "true".to_owned()),
            ("features.profiles".to_owned(), "false".to_owned()),
        ]);
        let put = ProjectPut { description: format!("test {name}"), config };
        client.create_project(&ProjectsPost { name: project.clone(), put }).await.unwrap();
        println!("{name} on {server}, project {project}");
        let scoped = client.with_project(&project);
        let result = AssertUnwindSafe(test(scoped.clone())).catch_unwind().await;
        clean(&scoped).await;
        client.delete_project(&project).await.unwrap();
        if let Err(panic) = result {
            println!("{name} failed on {server}");
            std::panic::resume_unwind(panic);
        }
    }
}

async fn clean(client: &Client) {
    for instance in client.instances(&InstanceFilter::new()).await.unwrap() {
        delete(client, &instance.name).await;
    }
    for image in client.images().await.unwrap() {
        client.delete_image(&image.fingerprint).await.unwrap().wait(MINUTE).await.unwrap();
    }
}

/// Stops and deletes an instance.
pub(crate) async fn delete(client: &Client, name: &str) {
    // A stopped instance returns an error.
    if let Ok(stop) = client.set_state(name, InstanceAction::Stop, true, None).await {
        stop.wait(MINUTE).await.ok();
    }
    client.delete_instance(name).await.unwrap().wait(MINUTE).await.unwrap();
}

/// The cache directory of the test.
pub(crate) fn cache() -> String {
    std::env::var("CAPN_TEST_CACHE").unwrap_or_else(|_| "/var/cache/capn".to_owned())
}

/// The directory of these programs on this machine; prints a message if there is none.
pub(crate) fn directory_of(programs: Programs) -> Option<Utf8PathBuf> {
    let (variable, default) = (programs.variable(), programs.default_directory());
    let value = std::env::var(variable).unwrap_or_default();
    let found = find_directory(programs, None, Some(value.as_str().into()), default).unwrap();
    if found.is_none() {
        println!("SKIPPED: what needs {programs:?} binaries: no {variable} and no {default}");
    }
    found
}

/// Builds an image. Also returns the events.
pub(crate) async fn built(client: &Client, kind: Kind) -> (BuiltImage, Vec<Event>) {
    let mut request = BuildRequest::new(kind, cache());
    if let Some(path) = directory_of(Programs::Runtime) {
        request.runtime = Some(RuntimeDirectory::open(path).await.unwrap());
    }
    let mut events = Vec::new();
    let image = build(&request, client, &mut |event| events.push(event)).await.unwrap();
    println!("{}: {:.1?}, reused: {}", image.alias, image.elapsed, image.reused);
    (image, events)
}

/// Launches an instance and waits until it is up, even with failed units.
pub(crate) async fn launched(
    client: &Client,
    name: &str,
    alias: &str,
    config: &[(&str, &str)],
) -> Duration {
    let started = Instant::now();
    let config = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let post = InstancesPost {
        name: name.to_owned(),
        source: InstanceSource::alias(alias),
        config,
        ..InstancesPost::default()
    };
    client.create_instance(&post, None).await.unwrap().wait(3 * MINUTE).await.unwrap();
    start(client, name).await;
    let elapsed = started.elapsed();
    println!("{name} is up after {elapsed:.1?}");
    elapsed
}

/// Starts an instance and waits until systemd has finished starting.
pub(crate) async fn start(client: &Client, name: &str) {
    let start = client.set_state(name, InstanceAction::Start, false, None).await.unwrap();
    start.wait(MINUTE).await.unwrap();
    // Both "running" and "degraded" mean that it has finished; the test decides which one is right.
    let script = "systemctl is-system-running --wait";
    let deadline = Instant::now() + 2 * MINUTE;
    loop {
        let state = client.exec(name, ExecRequest::shell(script).deadline(MINUTE)).await;
        let state = state.map(|output| output.stdout_text().trim().to_owned()).unwrap_or_default();
        if ["running", "degraded"].contains(&state.as_str()) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} did not come to rest: {state:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Stops an instance, changes its configuration and starts it.
pub(crate) async fn restart_with(client: &Client, name: &str, key: &str, value: &str) {
    let stop = client.set_state(name, InstanceAction::Stop, true, None).await.unwrap();
    stop.wait(MINUTE).await.unwrap();
    let change = serde_json::json!({ "config": { key: value } });
    client.patch_instance(name, &change, None).await.unwrap();
    start(client, name).await;
}

/// Runs a script in an instance, which must succeed. Returns its output.
pub(crate) async fn sh(client: &Client, name: &str, script: &str) -> String {
    let request = ExecRequest::shell(script).deadline(4 * MINUTE);
    let output = client.exec(name, request).await.unwrap();
    let text = output.stdout_text().into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.success(), "{name}: {script}\n{text}\n{errors}");
    text
}

/// Repeats a script until it succeeds.
pub(crate) async fn until(client: &Client, name: &str, what: &str, script: &str) -> String {
    let deadline = Instant::now() + 2 * MINUTE;
    loop {
        let output = client.exec(name, ExecRequest::shell(script)).await.unwrap();
        let text = output.stdout_text().into_owned();
        if output.success() {
            return text;
        }
        assert!(Instant::now() < deadline, "{what} did not happen in {name}: {text}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Whether images can be built from Ubuntu here; prints why not.
pub(crate) fn has_ubuntu(test: &str) -> bool {
    let keys = "/usr/share/keyrings/ubuntu-archive-keyring.gpg";
    if !Path::new(keys).exists() {
        println!("SKIPPED: {test}: {keys} is missing (package ubuntu-keyring)");
        return false;
    }
    let url = "http://archive.ubuntu.com/ubuntu/dists/noble/Release";
    let answer = std::process::Command::new("curl")
        .args(["--head", "--fail", "--silent", "--max-time", "20", "--output", "/dev/null", url])
        .status();
    let reachable = answer.is_ok_and(|status| status.success());
    if !reachable {
        println!("SKIPPED: {test}: {url} cannot be reached");
    }
    reachable
}
