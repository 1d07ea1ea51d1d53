use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{ListParams, WatchParams};
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Returns a self-signed certificate for 127.0.0.1 and its key, both as PEM.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Returns a kubeconfig for a server with a CA; `cluster` and `user` are additional lines of these
/// entries.
fn kubeconfig(server: &str, authority: &str, cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters:\n- name: a\n  cluster:\n    server: {server}\n    certificate-authority-data: {}\n{cluster}\
         contexts:\n- name: c\n  context: {{cluster: a, user: u}}\n\
         users:\n- name: u\n  user:\n    token: t0ken-{{secret\n{user}",
        STANDARD.encode(authority),
    )
}

fn refusal(kubeconfig: &str) -> String {
    match client(kubeconfig, Reach::Network, "a") {
        Ok(_) => panic!("taken: {kubeconfig}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn missing_fields_are_named() {
    let (ca, _) = certificate();
    let whole = kubeconfig("https://10.0.0.7:6443", &ca, "", "");
    for (with, without, named) in [
        ("{cluster: a, user: u}", "{}", "contexts[0].context.cluster"),
        ("{cluster: a, user: u}", "{user: u}", "contexts[0].context.cluster"),
        ("{cluster: a, user: u}", "{cluster: a}", "contexts[0].context.user"),
        ("server: https://10.0.0.7:6443", "extensions: []", "clusters[0].cluster.server"),
    ] {
        let told = refusal(&whole.replace(with, without));
        assert!(told.contains(named), "{told}");
    }
}

#[tokio::test]
async fn inline_certificates_keys_and_tokens_are_taken() {
    let (ca, key) = certificate();
    for server in ["https://10.0.0.7:6443", "https://[fd42::7]:6443", "https://x.example/k8s/a"] {
        let text = kubeconfig(server, &ca, "    extensions: []\n", "");
        assert!(client(&text, Reach::Network, "a").is_ok(), "{server}");
    }
    let pair = format!(
        "    client-certificate-data: {}\n    client-key-data: {}\n",
        STANDARD.encode(&ca),
        STANDARD.encode(&key)
    );
    let text = kubeconfig("https://10.0.0.7", &ca, "    insecure-skip-tls-verify: false\n", &pair);
    assert!(client(&text, Reach::Network, "a").is_ok());
}

#[tokio::test]
async fn only_validated_entries_are_copied() {
    let (certificate, _) = certificate();
    let text = kubeconfig("https://192.0.2.1:6443", &certificate, "", "");
    let mut all: serde_json::Value =
        capn_text::yaml::from_str(&text, capn_text::yaml::Bounds::FILE).unwrap();
    let more = |list: &str, entry: serde_json::Value, all: &mut serde_json::Value| {
        all[list].as_array_mut().unwrap().push(entry);
    };
    let evil = serde_json::json!({ "name": "production-admin", "user": { "exec": { "command": "/tmp/evil" } } });
    more("users", evil, &mut all);
    let evil = serde_json::json!({ "name": "production", "cluster": { "server": "https://evil.example" } });
    more("clusters", evil, &mut all);
    let rebuilt = rebuilt(&all.to_string(), Reach::ThisMachine, "team/demo").unwrap();
    let text = rebuilt.to_string();
    assert!(!text.contains("evil") && !text.contains("production"), "{text}");
    assert!(client(&text, Reach::ThisMachine, "a").is_ok(), "{text}");
    let names = ["/clusters/0/name", "/users/0/name", "/contexts/0/name", "/current-context"];
    let names = names.map(|at| rebuilt.pointer(at).and_then(|name| name.as_str()).unwrap());
    let context = "team/demo-admin@team/demo";
    assert_eq!(names, ["team/demo", "team/demo-admin", context, context]);
    for list in ["clusters", "users", "contexts"] {
        assert_eq!(rebuilt[list].as_array().map(Vec::len), Some(1), "{list}");
    }
}

#[tokio::test]
async fn fields_that_run_read_or_trust_something_are_rejected_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let marker = directory.path().join("marker");
    let exec = format!(
        "    exec:\n      apiVersion: client.authentication.k8s.io/v1\n      command: touch\n      args: [{}]\n      interactiveMode: Never\n",
        marker.display()
    );
    let (ca, _) = certificate();
    let host = "https://10.0.0.7:6443";
    for (user, field) in [
        (exec.as_str(), "users[0].user.exec"),
        ("    tokenFile: /etc/shadow\n", "users[0].user.tokenFile"),
        ("    client-certificate: /etc/shadow\n", "users[0].user.client-certificate"),
        ("    client-key: /etc/shadow\n", "users[0].user.client-key"),
        (
            "    auth-provider: {name: gcp, config: {cmd-path: touch}}\n",
            "users[0].user.auth-provider",
        ),
        ("    username: me\n", "users[0].user.username"),
        ("    as: root\n", "users[0].user.as"),
        ("    hunter2: x\n", "users[0].user.… (unknown)"),
    ] {
        let said = refusal(&kubeconfig(host, &ca, "", user));
        assert!(said.contains(field), "{said}");
        assert!(!said.contains("hunter2") && !said.contains("shadow"), "{said}");
    }
    for (cluster, field) in [
        ("    certificate-authority: /etc/shadow\n", "clusters[0].cluster.certificate-authority,"),
        ("    insecure-skip-tls-verify: true\n", "clusters[0].cluster.insecure-skip-tls-verify"),
        ("    proxy-url: http://10.0.0.1\n", "clusters[0].cluster.proxy-url"),
        ("    tls-server-name: other\n", "clusters[0].cluster.tls-server-name"),
    ] {
        let said = refusal(&kubeconfig(host, &ca, cluster, ""));
        assert!(said.contains(field), "{said}");
    }
    assert!(!marker.exists());
}

#[tokio::test]
async fn only_https_to_remote_hosts_with_a_ca_is_accepted() {
    let (ca, _) = certificate();
    for (server, part) in [
        ("http://10.0.0.7:6443", "https://"),
        ("unix:///run/x", "not a URL"),
        ("10.0.0.7:6443", "https://"),
        ("https://user:hunter2@10.0.0.7", "user name"),
        ("https://10.0.0.7/?a=b", "query"),
        ("https://127.0.0.1:6443", "loopback and link-local"),
        ("https://[::1]:6443", "loopback and link-local"),
        ("https://[::ffff:127.0.0.1]:6443", "loopback and link-local"),
        ("https://169.254.169.254", "link-local"),
        ("https://0.0.0.0:6443", "loopback and link-local"),
    ] {
        let said = refusal(&kubeconfig(server, &ca, "", ""));
        assert!(said.contains("clusters[0].cluster.server") && said.contains(part), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let without = kubeconfig("https://10.0.0.7", "", "", "");
    assert!(refusal(&without).contains("has no clusters[0].cluster.certificate-authority-data"));
    let broken = kubeconfig("https://10.0.0.7", "hunter2", "", "");
    assert!(refusal(&broken).contains("has no certificate"));
}

#[tokio::test]
async fn an_invalid_kubeconfig_is_reported_without_quoting_it() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (before, name) in ('a'..='h').zip('b'..='i') {
        let parts = vec![format!("*{before}"); 10].join(", ");
        bomb.push_str(&format!("{name}: &{name} [{parts}]\n"));
    }
    let deep = format!("a: {}{}", "[".repeat(50_000), "]".repeat(50_000));
    let long = format!("a: {}", "x".repeat(1 << 20));
    for text in
        ["hunter2", "token: 'hunter2", "hunter2: {", "", "- hunter2", bomb.as_str(), &deep, &long]
    {
        let said = refusal(text);
        assert!(!said.contains("hunter2"), "{said}");
        assert!(said.len() < 300, "{said}");
    }
}

/// Starts a TLS server on this host that returns the given responses one after the other.
async fn server(answers: Vec<Vec<u8>>) -> String {
    server_with(answers, true).await
}

/// Like [`server`]; connections are closed after the response, or stay open until the client closes
/// them.
async fn server_with(answers: Vec<Vec<u8>>, ends: bool) -> String {
    let (certificate, key) = certificate();
    let chain = rustls_pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![chain], key)
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        for answer in answers {
            let Ok((stream, _)) = listener.accept().await else { return };
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = Vec::new();
                let mut buffer = [0; 1024];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    let Ok(n @ 1..) = stream.read(&mut buffer).await else { return };
                    request.extend_from_slice(&buffer[..n]);
                }
                // The client closes the connection when it has read enough.
                stream.write_all(&answer).await.ok();
                if !ends {
                    while let Ok(1..) = stream.read(&mut buffer).await {}
                }
                stream.shutdown().await.ok();
            });
        }
    });
    kubeconfig(&url, &certificate, "", "")
}

fn http(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").into_bytes()
}

async fn list(answer: Vec<u8>) -> String {
    let text = server(vec![answer]).await;
    let client = client(&text, Reach::ThisMachine, "a").unwrap();
    let nodes: Api<Node> = Api::all(client);
    let mut said = String::new();
    let error = nodes.list(&ListParams::default()).await.unwrap_err();
    let mut next: Option<&dyn std::error::Error> = Some(&error);
    while let Some(link) = next {
        said.push_str(&format!("{link}; "));
        next = link.source();
    }
    said
}

#[tokio::test]
async fn a_response_is_limited() {
    let list_of = |names: usize| {
        let name = "n".repeat(1000);
        let item = format!(r#"{{"metadata":{{"name":"{name}"}}}}"#);
        format!(r#"{{"metadata":{{}},"items":[{}]}}"#, vec![item; names].join(","))
    };
    let text = server(vec![http("200 OK", &list_of(10)), http("200 OK", &list_of(1000))]).await;
    let nodes: Api<Node> = Api::all(client(&text, Reach::ThisMachine, "a").unwrap());
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 10);
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 1000);
    let name = "n".repeat(5 << 20);
    let said =
        list(http("200 OK", &format!(r#"{{"metadata":{{"continue":"{name}"}},"items":[]}}"#)))
            .await;
    assert!(said.contains("longer than 4194304 bytes"), "{said}");
}

#[tokio::test]
async fn a_line_of_a_watch_is_bounded_and_a_watch_is_not() {
    let event = |bytes: usize| {
        let name = "n".repeat(bytes);
        format!("{{\"type\":\"ADDED\",\"object\":{{\"metadata\":{{\"name\":\"{name}\"}}}}}}\n")
    };
    let lines: String = (0..10).map(|_| event(1 << 20)).collect();
    let text = server(vec![http("200 OK", &lines), http("200 OK", &event(3 << 20))]).await;
    let nodes: Api<Node> = Api::all(client(&text, Reach::ThisMachine, "a").unwrap());
    let watched = nodes.watch(&WatchParams::default(), "0").await.unwrap();
    assert_eq!(watched.filter(|event| std::future::ready(event.is_ok())).count().await, 10);
    let watched = nodes.watch(&WatchParams::default(), "0").await.unwrap();
    let events: Vec<_> = watched.collect().await;
    assert!(events.iter().all(Result::is_err) && !events.is_empty(), "{events:?}");
}

#[tokio::test]
async fn small_values_are_limited_by_their_memory() {
    let items = |count| format!(r#"{{"metadata":{{}},"items":[{}]}}"#, vec!["{}"; count].join(","));
    let said = list(http("200 OK", &items(3000))).await;
    assert!(said.contains("lists more than 2000 objects"), "{said}");
    let conditions = vec!["{}"; 100_000].join(",");
    let node = format!(r#"{{"metadata":{{"name":"n"}},"status":{{"conditions":[{conditions}]}}}}"#);
    let said = list(http("200 OK", &format!(r#"{{"metadata":{{}},"items":[{node}]}}"#))).await;
    assert!(said.contains("more than 600000 values"), "{said}");
    // An event split into arbitrary chunks, and two events in one chunk.
    let event = format!("{{\"type\":\"ADDED\",\"object\":{node}}}\n");
    for lines in [event.clone(), format!("{event}{event}")] {
        let text = server(vec![http("200 OK", &lines)]).await;
        let nodes: Api<Node> = Api::all(client(&text, Reach::ThisMachine, "a").unwrap());
        let watched = nodes.watch(&WatchParams::default(), "0").await.unwrap();
        let events: Vec<_> = watched.collect().await;
        assert!(events.iter().all(Result::is_err) && !events.is_empty());
    }
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_no_success() {
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    let said = list(answer.to_vec()).await;
    assert!(!said.is_empty() && !said.contains("EOF while parsing"), "{said}");
}

#[tokio::test]
async fn metrics_may_be_longer_than_an_answer() {
    use futures::{AsyncBufReadExt as _, TryStreamExt as _};
    let text = server(vec![http("200 OK", &"metric{label=\"value\"} 1\n".repeat(300_000))]).await;
    let client = client(&text, Reach::ThisMachine, "a").unwrap();
    let request = http::Request::get(METRICS).body(Vec::new()).unwrap();
    let lines = client.request_stream(request).await.unwrap().lines();
    let count = lines.try_fold(0, |count, _| std::future::ready(Ok(count + 1))).await.unwrap();
    assert_eq!(count, 300_000);
}

#[tokio::test]
async fn a_silent_watch_is_closed() {
    // Headers, one event, and nothing more: the connection stays open.
    let event = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"n\"}}}\n";
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = format!("{head}{:x}\r\n{event}\r\n", event.len()).into_bytes();
    let text = server_with(vec![answer], false).await;
    let silence = Duration::from_millis(200);
    let nodes: Api<Node> = Api::all(client_with(&text, Reach::ThisMachine, "a", silence).unwrap());
    let watched = nodes.watch(&WatchParams::default(), "0").await.unwrap();
    let events = tokio::time::timeout(Duration::from_secs(20), watched.collect::<Vec<_>>());
    let events = events.await.expect("the watch ends");
    assert!(events[0].is_ok(), "{events:?}");
    let error = events.last().unwrap().as_ref().unwrap_err();
    assert!(format!("{error:?}").contains("sent no complete event for too long"), "{error:?}");
}

#[tokio::test]
async fn only_a_status_is_shown_and_it_is_sanitized() {
    let said = list(http("403 Forbidden", "<h1>hunter2</h1>")).await;
    assert!(said.contains("responded with 403") && !said.contains("hunter2"), "{said}");
    let said = list(http("302 Found\r\nlocation: http://169.254.169.254/", "hunter2")).await;
    assert!(said.contains("responded with 302") && !said.contains("hunter2"), "{said}");
    let status = r#"{"kind":"Status","apiVersion":"v1","message":"nodes is forbidden\u001b[2J","reason":"Forbidden","code":403}"#;
    let said = list(http("403 Forbidden", status)).await;
    assert!(said.contains("nodes is forbidden�[2J"), "{said:?}");
    let long =
        format!(r#"{{"kind":"Status","apiVersion":"v1","message":"{}"}}"#, "x".repeat(60_000));
    let said = list(http("500 X", &long)).await;
    assert!(said.len() < 10_000, "{}", said.len());
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_with_another_certificate() {
    let text = server(vec![http("200 OK", "{}")]).await;
    let (other, _) = certificate();
    let begin = text.find("certificate-authority-data: ").unwrap() + 28;
    let end = begin + text[begin..].find('\n').unwrap();
    let text = format!("{}{}{}", &text[..begin], STANDARD.encode(other), &text[end..]);
    let nodes: Api<Node> = Api::all(client(&text, Reach::ThisMachine, "a").unwrap());
    let params = ListParams::default();
    let asked = tokio::time::timeout(Duration::from_secs(20), nodes.list(&params));
    assert!(asked.await.unwrap().is_err());
}

#[tokio::test]
async fn slow_large_responses_do_not_block_other_namespaces() {
    // A response large enough for a permit, that stops sending in the middle.
    let mut begun = http("200 OK", &"x".repeat(300 << 10));
    begun.truncate(begun.len() - 1);
    let slow = server_with(vec![begun.clone(), begun], false).await;
    let hostile: Vec<_> = (0..2)
        .map(|_| {
            let nodes: Api<Node> = Api::all(client(&slow, Reach::ThisMachine, "hostile").unwrap());
            tokio::spawn(async move { nodes.list(&ListParams::default()).await.is_ok() })
        })
        .collect();
    let turns = answers::turns("hostile");
    tokio::time::timeout(Duration::from_secs(20), async {
        while turns.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the slow answers have their turns");
    let item = format!(r#"{{"metadata":{{"name":"{}"}}}}"#, "n".repeat(1000));
    let list = format!(r#"{{"metadata":{{}},"items":[{}]}}"#, vec![item; 1000].join(","));
    let text = server(vec![http("200 OK", &list)]).await;
    let nodes: Api<Node> = Api::all(client(&text, Reach::ThisMachine, "other").unwrap());
    let params = ListParams::default();
    let listed = nodes.list(&params);
    let listed = tokio::time::timeout(Duration::from_secs(20), listed).await;
    assert_eq!(listed.expect("it does not wait").unwrap().items.len(), 1000);
    hostile.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn incomplete_lines_of_watches_take_the_permits_of_their_namespace() {
    let line = format!("{{\"type\":\"ADDED\",\"object\":\"{}", "x".repeat(200 << 10));
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let begun = format!("{head}{:x}\r\n{line}\r\n", line.len()).into_bytes();
    let event = "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"n\"}}}\n";
    let small = format!("{head}{:x}\r\n{event}\r\n", event.len()).into_bytes();
    let text = server_with(vec![begun.clone(), begun, small], false).await;
    let watch = || async {
        let nodes: Api<Node> = Api::all(client(&text, Reach::ThisMachine, "watching").unwrap());
        nodes.watch(&WatchParams::default(), "0").await.unwrap().boxed()
    };
    let hostile: Vec<_> = [watch().await, watch().await]
        .map(|mut watched| tokio::spawn(async move { watched.next().await.is_some() }))
        .into();
    let turns = answers::turns("watching");
    tokio::time::timeout(Duration::from_secs(20), async {
        while turns.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the incomplete lines have the permits");
    let next = async { watch().await.next().await.unwrap().unwrap() };
    tokio::time::timeout(Duration::from_secs(20), next)
        .await
        .expect("a short line needs no permit");
    hostile.iter().for_each(tokio::task::JoinHandle::abort);
}
