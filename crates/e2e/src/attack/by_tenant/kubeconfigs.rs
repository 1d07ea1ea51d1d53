//! A Secret `<cluster>-kubeconfig` of the tenant's own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::attack::hostile::{Hostile, Reply, json_reply, reply};
use crate::attack::scene::Scene;
use crate::attack::table::{Attack, Class, Done, On, Who};
use crate::attack::text::{items, nested};

/// How long a controller has for what it must not do; it does it within half a second.
const WATCHED: Duration = Duration::from_secs(1);

pub(super) fn all() -> Vec<Attack> {
    Class::new("foreign kubeconfigs", Who::Tenant, On::Both)
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
        .gate("a kubeconfig leads to no address of this machine alone")
        .add("a kubeconfig that leads to the loopback address", loopback)
        .gate("the size, depth and aliases of a kubeconfig are checked before it is parsed")
        .add("a kubeconfig of aliases of aliases", aliases)
        .add("a kubeconfig of 20,000 nested lists", depth)
        .add("a kubeconfig with 20,000 contexts", contexts)
        .add("kubeconfigs that lack a part", parts)
        .gate("answers of workload clusters are bounded in size and time")
        .who(Who::Server)
        .add("a workload server whose answer has no end", endless)
        .add("a workload server whose headers have no end", headers)
        .add("a workload server that sends a byte each second", slow)
        .add("a workload server that never answers", silent)
        .add("a workload server whose nodes are nested 100,000 deep", deep_nodes)
        .add("a workload server with 250,000 nodes", many_nodes)
        .end()
}

/// A kubeconfig for a server that shows this certificate; `user` is YAML of one line.
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

async fn plant(scene: &Scene, kubeconfig: &str) -> Done {
    scene.secret("attack-kubeconfig", json!({ "value": kubeconfig })).await?;
    let cluster = scene.cluster().await?;
    // The lifecycle looks at clusters that have an endpoint and are initialized, the provider's pod
    // network at all of them.
    let ready = json!({ "status": { "initialization": {
        "infrastructureProvisioned": true, "controlPlaneInitialized": true,
    } } });
    let path = format!("{}/{}/status", scene.clusters(), "attack");
    scene.tenant.merge(&path, &ready).await?.granted()?;
    drop(cluster);
    Ok(())
}

/// Plants a kubeconfig for a server of ours with such a user.
async fn plant_user(scene: &Scene, hostile: &Hostile, user: &str) -> Done {
    plant(scene, &kubeconfig(&hostile.url(), &inline(&hostile.pair.certificate), user)).await
}

fn not_found(_: &str) -> Reply {
    reply("404 Not Found", "text/plain", b"no")
}

async fn runs(scene: Arc<Scene>, user: impl Fn(&Path) -> String) -> Done {
    let hostile = Hostile::start(not_found).await?;
    let marker = scene.file("ran")?;
    plant_user(&scene, &hostile, &user(&marker)).await?;
    scene.never(WATCHED, "a command of the kubeconfig ran on the host", || marker.exists()).await
}

async fn exec(scene: Arc<Scene>) -> Done {
    runs(scene, |marker| {
        format!(
            "{{exec: {{apiVersion: client.authentication.k8s.io/v1, command: touch, args: ['{}'], interactiveMode: Never}}}}",
            marker.display()
        )
    })
    .await
}

async fn provider(scene: Arc<Scene>) -> Done {
    runs(scene, |marker| {
        format!(
            "{{auth-provider: {{name: gcp, config: {{cmd-path: touch, cmd-args: '{}'}}}}}}",
            marker.display()
        )
    })
    .await
}

async fn token_file(scene: Arc<Scene>) -> Done {
    let hostile = Hostile::start(not_found).await?;
    let file = scene.file("token")?;
    std::fs::write(&file, &scene.secret)?;
    plant_user(&scene, &hostile, &format!("{{tokenFile: '{}'}}", file.display())).await?;
    let told = "a file of the host was sent to the server that the kubeconfig names";
    scene.never(WATCHED, told, || hostile.heard().contains(&scene.secret)).await
}

async fn key_file(scene: Arc<Scene>) -> Done {
    let hostile = Hostile::start(not_found).await?;
    let (certificate, key) = (scene.file("client.crt")?, scene.file("client.key")?);
    std::fs::write(&certificate, &hostile.pair.certificate)?;
    std::fs::write(&key, &hostile.pair.key)?;
    let user = format!(
        "{{client-certificate: '{}', client-key: '{}'}}",
        certificate.display(),
        key.display()
    );
    plant_user(&scene, &hostile, &user).await?;
    let told = "a connection was made with a key that is a file of the host";
    scene.never(WATCHED, told, || hostile.connections() > 0).await
}

async fn zero_authority(scene: Arc<Scene>) -> Done {
    let hostile = Hostile::start(not_found).await?;
    let text = kubeconfig(&hostile.url(), "certificate-authority: /dev/zero", "{token: a}");
    plant(&scene, &text).await?;
    scene.never(WATCHED, "a connection was made", || hostile.connections() > 0).await
}

async fn pipe(scene: Arc<Scene>) -> Done {
    let hostile = Hostile::start(not_found).await?;
    let pipe = scene.file("pipe")?;
    std::process::Command::new("mkfifo").arg(&pipe).status()?;
    plant_user(&scene, &hostile, &format!("{{tokenFile: '{}'}}", pipe.display())).await?;
    // Who opens it to write gets through only if somebody reads.
    scene
        .never(WATCHED, "a file of the host is read", || {
            std::fs::OpenOptions::new().write(true).custom_flags(NONBLOCK).open(&pipe).is_ok()
        })
        .await
}

/// `O_NONBLOCK`.
const NONBLOCK: i32 = 0o4000;
use std::os::unix::fs::OpenOptionsExt as _;

async fn plain(scene: Arc<Scene>) -> Done {
    let hostile = Hostile::plain(not_found).await?;
    let server = format!("http://{}", hostile.address);
    let text = kubeconfig(&server, "insecure-skip-tls-verify: true", "{token: abc}");
    plant(&scene, &text).await?;
    let told = "the token was sent over plain HTTP";
    scene.never(WATCHED, told, || hostile.connections() > 0).await
}

async fn proxy(scene: Arc<Scene>) -> Done {
    let hostile = Hostile::plain(not_found).await?;
    let proxy = format!("proxy-url: 'http://{}'", hostile.address);
    plant(&scene, &kubeconfig("https://192.0.2.1:6443", &proxy, "{token: abc}")).await?;
    let told = "the proxy of a kubeconfig was asked";
    scene.never(WATCHED, told, || hostile.connections() > 0).await
}

async fn loopback(scene: Arc<Scene>) -> Done {
    let hostile = Hostile::on_loopback(not_found).await?;
    plant_user(&scene, &hostile, "{token: abc}").await?;
    let told = "a service of this machine alone was asked";
    scene.never(WATCHED, told, || hostile.connections() > 0).await
}

async fn redirect(scene: Arc<Scene>) -> Done {
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
    plant_user(&scene, &hostile, "{token: abc}").await?;
    let told = "a redirect of a workload server was followed";
    scene.never(WATCHED, told, || other.connections() > 0).await
}

async fn aliases(scene: Arc<Scene>) -> Done {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{},", level - 1).repeat(9);
        text.push_str(&format!("a{level}: &a{level} [{before}*a{}]\n", level - 1));
    }
    plant(&scene, &text).await?;
    tokio::time::sleep(WATCHED).await;
    Ok(())
}

async fn depth(scene: Arc<Scene>) -> Done {
    let deep = nested("[", 20_000, "", "]");
    plant(&scene, &format!("apiVersion: v1\nkind: Config\nextensions: {deep}\n")).await?;
    tokio::time::sleep(WATCHED).await;
    Ok(())
}

/// Each part is left out once, or of another type.
async fn parts(scene: Arc<Scene>) -> Done {
    plant(&scene, "{}").await?;
    let path = format!("{}/attack-kubeconfig", scene.core("secrets"));
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
        scene.tenant.merge(&path, &change).await?.granted()?;
        let touch = json!({ "metadata": { "annotations": { "touched": without } } });
        let cluster = format!("{}/attack", scene.clusters());
        scene.tenant.merge(&cluster, &touch).await?.granted()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

async fn contexts(scene: Arc<Scene>) -> Done {
    let many = items(20_000, |n| format!("{{name: c{n}, context: {{cluster: a, user: a}}}}"));
    plant(&scene, &format!("apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: {many}\n"))
        .await?;
    tokio::time::sleep(WATCHED).await;
    Ok(())
}

/// A workload server of ours that answers by a script, asked by capn.
async fn server(scene: Arc<Scene>, script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Done {
    let hostile = Hostile::start(script).await?;
    plant_user(&scene, &hostile, "{token: abc}").await?;
    let asked = || hostile.connections() > 0;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while !asked() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(asked(), "the workload server was not asked, so nothing was tried");
    tokio::time::sleep(WATCHED).await;
    scene.keep(hostile);
    Ok(())
}

/// The same for an answer that takes its time to come in.
async fn large(scene: Arc<Scene>, script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Done {
    server(scene, script).await?;
    tokio::time::sleep(3 * WATCHED).await;
    Ok(())
}

async fn endless(scene: Arc<Scene>) -> Done {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{\"a\": \"b\r\n";
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(65536));
    large(scene, move |_| Reply::Endless(head.into(), chunk.clone().into_bytes())).await
}

async fn headers(scene: Arc<Scene>) -> Done {
    let line = format!("x-a: {}\r\n", "a".repeat(1000)).into_bytes();
    server(scene, move |_| Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), line.clone())).await
}

async fn slow(scene: Arc<Scene>) -> Done {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";
    server(scene, move |_| Reply::Slow(head.to_vec(), vec![b' '; 1000])).await
}

async fn silent(scene: Arc<Scene>) -> Done {
    server(scene, |_| Reply::Silent).await
}

async fn deep_nodes(scene: Arc<Scene>) -> Done {
    let deep = nested("[", 100_000, "", "]");
    let body = format!(
        r#"{{"kind":"NodeList","apiVersion":"v1","metadata":{{"resourceVersion":"1"}},"items":[{{"metadata":{{"name":"a"}},"x":{deep}}}]}}"#
    );
    server(scene, move |_| json_reply(&body)).await
}

async fn many_nodes(scene: Arc<Scene>) -> Done {
    let nodes = items(250_000, |n| {
        format!(r#"{{"metadata":{{"name":"node-{n}","resourceVersion":"1"}}}}"#)
    });
    let body = format!(
        r#"{{"kind":"NodeList","apiVersion":"v1","metadata":{{"resourceVersion":"1"}},"items":{nodes}}}"#
    );
    large(scene, move |_| json_reply(&body)).await
}
