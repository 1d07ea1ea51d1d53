//! A Secret `<cluster>-kubeconfig` written by the tenant.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::attack::fixture::Fixture;
use crate::attack::hostile::{Hostile, Reply, json_reply, reply};
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::text::{items, nested};

/// How long to watch for a forbidden action of a controller; it would happen within half a second.
const WATCHED: Duration = Duration::from_secs(1);

/// Without a new connection for this long, nothing connects any more: the longest delay between two
/// attempts is 5 s.
const QUIET: Duration = Duration::from_secs(6);

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("foreign kubeconfigs", Attacker::Tenant, Target::Both)
        .gate("one constructor for clients of workload clusters, which takes inline certificates, keys and tokens and an https server")
        .add("a kubeconfig that runs a command", exec)
        .add("a kubeconfig that runs a command of an auth provider", provider)
        .add("a kubeconfig that sends a file of the host as its token", token_file)
        .add("a kubeconfig whose client key is a file of the host", key_file)
        .add("a kubeconfig whose certificate authority is /dev/zero", zero_authority)
        .add("a kubeconfig whose token file is a pipe that nobody writes", pipe)
        .add("a kubeconfig with a server over plain HTTP", plain)
        .add("a kubeconfig that names a proxy", proxy)
        .add("a workload server that sends the token elsewhere", redirect)
        .gate("a kubeconfig must not point to a loopback address")
        .add("a kubeconfig that leads to the loopback address", loopback)
        .gate("the size, depth and aliases of a kubeconfig are checked before it is parsed")
        .add("a kubeconfig of aliases of aliases", aliases)
        .add("a kubeconfig of 20,000 nested lists", depth)
        .add("a kubeconfig with 20,000 contexts", contexts)
        .add("kubeconfigs that lack a part", parts)
        .gate("what is kept in memory for a cluster goes with the cluster")
        .add("a cluster that is deleted while it is paused", paused)
        .gate("answers of workload clusters are bounded in size and time")
        .who(Attacker::Server)
        .add("a workload server whose answer has no end", endless)
        .add("a workload server whose headers have no end", headers)
        .add("a workload server that sends a byte each second", slow)
        .add("a workload server that never answers", silent)
        .add("a workload server whose nodes are nested 100,000 deep", deep_nodes)
        .add("a workload server with 250,000 nodes", many_nodes)
        .end()
}

/// A kubeconfig for a server with this certificate; `user` is YAML on one line.
fn kubeconfig(server: &str, authority: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n\
         contexts: [{{name: a, context: {{cluster: a, user: a}}}}]\n\
         clusters: [{{name: a, cluster: {{server: '{server}', {authority}}}}}]\n\
         users: [{{name: a, user: {user}}}]\n"
    )
}

fn inline(certificate: &str) -> String {
    format!("certificate-authority-data: {}", STANDARD.encode(certificate))
}

async fn plant(fixture: &Fixture, kubeconfig: &str) -> AttackResult {
    fixture.secret("attack-kubeconfig", json!({ "value": kubeconfig })).await?;
    let cluster = fixture.cluster().await?;
    // The lifecycle connects to clusters that have an endpoint and are initialized; the provider's
    // pod network connects to all.
    let ready = json!({ "status": { "initialization": {
        "infrastructureProvisioned": true, "controlPlaneInitialized": true,
    } } });
    let path = format!("{}/{}/status", fixture.clusters(), "attack");
    fixture.tenant.merge(&path, &ready).await?.granted()?;
    drop(cluster);
    Ok(())
}

/// Creates a kubeconfig for a test server with this user.
async fn plant_user(fixture: &Fixture, hostile: &Hostile, user: &str) -> AttackResult {
    plant(fixture, &kubeconfig(&hostile.url(), &inline(&hostile.pair.certificate), user)).await
}

fn not_found(_: &str) -> Reply {
    reply("404 Not Found", "text/plain", b"no")
}

async fn runs(fixture: Arc<Fixture>, user: impl Fn(&Path) -> String) -> AttackResult {
    let hostile = Hostile::start(not_found).await?;
    let marker = fixture.file("ran")?;
    plant_user(&fixture, &hostile, &user(&marker)).await?;
    fixture.never(WATCHED, "a command of the kubeconfig ran on the host", || marker.exists()).await
}

async fn exec(fixture: Arc<Fixture>) -> AttackResult {
    runs(fixture, |marker| {
        format!(
            "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: touch, args: ['{}'], interactiveMode: Never}}}}",
            marker.display()
        )
    })
    .await
}

async fn provider(fixture: Arc<Fixture>) -> AttackResult {
    runs(fixture, |marker| {
        format!(
            "{{auth-provider: {{name: gcp, config: {{cmd-path: touch, cmd-args: '{}'}}}}}}",
            marker.display()
        )
    })
    .await
}

async fn token_file(fixture: Arc<Fixture>) -> AttackResult {
    let hostile = Hostile::start(not_found).await?;
    let file = fixture.file("token")?;
    std::fs::write(&file, &fixture.secret)?;
    plant_user(&fixture, &hostile, &format!("{{tokenFile: '{}'}}", file.display())).await?;
    let told = "a file of the host was sent to the server that the kubeconfig names";
    fixture.never(WATCHED, told, || hostile.heard().contains(&fixture.secret)).await
}

async fn key_file(fixture: Arc<Fixture>) -> AttackResult {
    let hostile = Hostile::start(not_found).await?;
    let (certificate, key) = (fixture.file("client.crt")?, fixture.file("client.key")?);
    std::fs::write(&certificate, &hostile.pair.certificate)?;
    std::fs::write(&key, &hostile.pair.key)?;
    let user = format!(
        "{{client-certificate: '{}', client-key: '{}'}}",
        certificate.display(),
        key.display()
    );
    plant_user(&fixture, &hostile, &user).await?;
    let told = "a connection was made with a key that is a file of the host";
    fixture.never(WATCHED, told, || hostile.connections() > 0).await
}

async fn zero_authority(fixture: Arc<Fixture>) -> AttackResult {
    let hostile = Hostile::start(not_found).await?;
    let text = kubeconfig(&hostile.url(), "certificate-authority: /dev/zero", "{token: a}");
    plant(&fixture, &text).await?;
    fixture.never(WATCHED, "a connection was made", || hostile.connections() > 0).await
}

async fn pipe(fixture: Arc<Fixture>) -> AttackResult {
    let hostile = Hostile::start(not_found).await?;
    let pipe = fixture.file("pipe")?;
    std::process::Command::new("mkfifo").arg(&pipe).status()?;
    plant_user(&fixture, &hostile, &format!("{{tokenFile: '{}'}}", pipe.display())).await?;
    // Opening it for writing only succeeds if somebody reads it.
    fixture
        .never(WATCHED, "a file of the host is read", || {
            std::fs::OpenOptions::new().write(true).custom_flags(NONBLOCK).open(&pipe).is_ok()
        })
        .await
}

/// `O_NONBLOCK`.
const NONBLOCK: i32 = 0o4000;
use std::os::unix::fs::OpenOptionsExt as _;

async fn plain(fixture: Arc<Fixture>) -> AttackResult {
    let hostile = Hostile::plain(not_found).await?;
    let server = format!("http://{}", hostile.address);
    let text = kubeconfig(&server, "insecure-skip-tls-verify: true", "{token: abc}");
    plant(&fixture, &text).await?;
    let told = "the token was sent over plain HTTP";
    fixture.never(WATCHED, told, || hostile.connections() > 0).await
}

async fn proxy(fixture: Arc<Fixture>) -> AttackResult {
    let hostile = Hostile::plain(not_found).await?;
    let proxy = format!("proxy-url: 'http://{}'", hostile.address);
    plant(&fixture, &kubeconfig("https://192.0.2.1:6443", &proxy, "{token: abc}")).await?;
    let told = "the proxy of a kubeconfig was asked";
    fixture.never(WATCHED, told, || hostile.connections() > 0).await
}

async fn loopback(fixture: Arc<Fixture>) -> AttackResult {
    let hostile = Hostile::on_loopback(not_found).await?;
    plant_user(&fixture, &hostile, "{token: abc}").await?;
    let told = "a loopback service was queried";
    fixture.never(WATCHED, told, || hostile.connections() > 0).await
}

async fn paused(fixture: Arc<Fixture>) -> AttackResult {
    let hostile = Hostile::start(not_found).await?;
    plant_user(&fixture, &hostile, "{token: abc}").await?;
    let deadline = Instant::now() + Duration::from_secs(4) * fixture.slower;
    while hostile.connections() == 0 {
        ensure!(Instant::now() < deadline, "nothing connects to the cluster");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let cluster = format!("{}/attack", fixture.clusters());
    let paused = json!({ "spec": { "paused": true }, "metadata": { "finalizers": null } });
    fixture.tenant.merge(&cluster, &paused).await?.granted()?;
    // The controllers see that it is paused before they could see that it is gone.
    let is_paused = |cluster: &Value| {
        let conditions = cluster["status"]["conditions"].as_array();
        let is_true = |it: &Value| it["type"] == "Paused" && it["status"] == "True";
        conditions.is_some_and(|all| all.iter().any(is_true))
    };
    let found = fixture.until(&cluster, is_paused).await?;
    ensure!(is_paused(&found), "the cluster is not seen as paused");
    fixture.tenant.delete(&cluster).await?.granted()?;
    let deadline = Instant::now() + QUIET * 2;
    let (mut count, mut since) = (hostile.connections(), Instant::now());
    while since.elapsed() < QUIET {
        ensure!(Instant::now() < deadline, "connections to a deleted cluster are still opened");
        if hostile.connections() > count {
            (count, since) = (hostile.connections(), Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn redirect(fixture: Arc<Fixture>) -> AttackResult {
    let other = Arc::new(Hostile::plain(not_found).await?);
    let target = format!("http://{}/", other.address);
    let hostile = Hostile::start(move |_| {
        Reply::Whole(
            format!(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            .into_bytes(),
        )
    })
    .await?;
    plant_user(&fixture, &hostile, "{token: abc}").await?;
    let told = "a redirect of a workload server was followed";
    fixture.never(WATCHED, told, || other.connections() > 0).await
}

async fn aliases(fixture: Arc<Fixture>) -> AttackResult {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{},", level - 1).repeat(9);
        text.push_str(&format!("a{level}: &a{level} [{before}*a{}]\n", level - 1));
    }
    plant(&fixture, &text).await?;
    tokio::time::sleep(WATCHED).await;
    Ok(())
}

async fn depth(fixture: Arc<Fixture>) -> AttackResult {
    let deep = nested("[", 20_000, "", "]");
    plant(&fixture, &format!("apiVersion: v1\nkind: Config\nextensions: {deep}\n")).await?;
    tokio::time::sleep(WATCHED).await;
    Ok(())
}

/// Each part is omitted once, or has another type.
async fn parts(fixture: Arc<Fixture>) -> AttackResult {
    plant(&fixture, "{}").await?;
    let path = format!("{}/attack-kubeconfig", fixture.core("secrets"));
    let whole = kubeconfig("https://192.0.2.1:6443", &inline("a"), "{token: abc}");
    for (with, without) in [
        ("context: {cluster: a, user: a}", "context: {}"),
        ("context: {cluster: a, user: a}", "context: {cluster: 5, user: [a]}"),
        ("name: a, context", "context"),
        ("current-context: a", "current-context: {}"),
        ("server: 'https://192.0.2.1:6443', ", ""),
        ("user: {token: abc}", "user: []"),
        ("users: [", "users: [null, 5, {}, "),
        ("clusters: [", "clusters: [[[]], "),
    ] {
        let change = json!({ "stringData": { "value": whole.replace(with, without) } });
        fixture.tenant.merge(&path, &change).await?.granted()?;
        let touch = json!({ "metadata": { "annotations": { "touched": without } } });
        let cluster = format!("{}/attack", fixture.clusters());
        fixture.tenant.merge(&cluster, &touch).await?.granted()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn contexts(fixture: Arc<Fixture>) -> AttackResult {
    let many = items(20_000, |n| format!("{{name: c{n}, context: {{cluster: a, user: a}}}}"));
    plant(
        &fixture,
        &format!("apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: {many}\n"),
    )
    .await?;
    tokio::time::sleep(WATCHED).await;
    Ok(())
}

/// A scripted workload server that capn connects to.
async fn server(
    fixture: Arc<Fixture>,
    script: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> AttackResult {
    let hostile = Hostile::start(script).await?;
    plant_user(&fixture, &hostile, "{token: abc}").await?;
    let asked = || hostile.connections() > 0;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while !asked() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(asked(), "the workload server was not queried, so nothing was tested");
    tokio::time::sleep(WATCHED).await;
    fixture.keep(hostile);
    Ok(())
}

/// The same for a response that is slow to arrive.
async fn large(
    fixture: Arc<Fixture>,
    script: impl Fn(&str) -> Reply + Send + Sync + 'static,
) -> AttackResult {
    server(fixture, script).await?;
    tokio::time::sleep(3 * WATCHED).await;
    Ok(())
}

async fn endless(fixture: Arc<Fixture>) -> AttackResult {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{\"a\": \"b\r\n";
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(65536));
    large(fixture, move |_| Reply::Endless(head.into(), chunk.clone().into_bytes())).await
}

async fn headers(fixture: Arc<Fixture>) -> AttackResult {
    let line = format!("x-a: {}\r\n", "a".repeat(1000)).into_bytes();
    server(fixture, move |_| Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), line.clone())).await
}

async fn slow(fixture: Arc<Fixture>) -> AttackResult {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";
    server(fixture, move |_| Reply::Slow(head.to_vec(), vec![b' '; 1000])).await
}

async fn silent(fixture: Arc<Fixture>) -> AttackResult {
    server(fixture, |_| Reply::Silent).await
}

async fn deep_nodes(fixture: Arc<Fixture>) -> AttackResult {
    let deep = nested("[", 100_000, "", "]");
    let body = format!(
        r#"{{"kind":"NodeList","apiVersion":"v1","metadata":{{"resourceVersion":"1"}},"items":[{{"metadata":{{"name":"a"}},"x":{deep}}}]}}"#
    );
    server(fixture, move |_| json_reply(&body)).await
}

async fn many_nodes(fixture: Arc<Fixture>) -> AttackResult {
    let nodes = items(250_000, |n| {
        format!(r#"{{"metadata":{{"name":"node-{n}","resourceVersion":"1"}}}}"#)
    });
    let body = format!(
        r#"{{"kind":"NodeList","apiVersion":"v1","metadata":{{"resourceVersion":"1"}},"items":{nodes}}}"#
    );
    large(fixture, move |_| json_reply(&body)).await
}
