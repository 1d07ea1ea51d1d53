//! Responses of an Incus server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::attack::fixture::Fixture;
use crate::attack::hostile::{Hostile, Reply, identity, json_reply, reply};
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::text::{items, nested};
use crate::attack::tls::self_signed;

/// Time after which a server's response has been processed.
const LOOKED: Duration = Duration::from_secs(1);

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("answers of Incus servers", Attacker::Server, Target::Both)
        .gate("bodies of servers are bounded by route, and in time")
        .add("an answer to /1.0 without an end", |s| first(s, endless))
        .add("headers of /1.0 without an end", |s| {
            first(s, || Reply::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), format!("x-a: {}\r\n", "a".repeat(1000)).into_bytes()))
        })
        .add("an answer to /1.0 that is nested 100,000 deep", |s| {
            first(s, || json_reply(&format!(r#"{{"type":"sync","metadata":{}}}"#, nested("[", 100_000, "", "]"))))
        })
        .add("an answer to /1.0 a byte each second", |s| {
            first(s, || Reply::Slow(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec(), vec![b' '; 1000]))
        })
        .on(Target::Serve)
        .add("an answer to /1.0 with 200,000 extensions", |s| {
            first(s, || {
                let names = items(200_000, |n| format!("\"e{n}\""));
                json_reply(&format!(r#"{{"type":"sync","metadata":{{"api_extensions":{names},"auth":"trusted"}}}}"#))
            })
        })
        .add("an answer to /1.0 of wrong types", |s| {
            first(s, || json_reply(r#"{"type":5,"metadata":{"api_extensions":{},"auth":[],"environment":"incus","config":7}}"#))
        })
        .add("an empty answer to /1.0", |s| first(s, || Reply::Whole(Vec::new())))
        .on(Target::Both)
        .add("an answer about instances without an end", |s| async move {
            later(s, endless).await?;
            // It is slow to arrive.
            tokio::time::sleep(5 * LOOKED).await;
            Ok(())
        })
        .on(Target::Serve)
        .add("an answer about instances that is nested 100,000 deep", |s| {
            later(s, || json_reply(&format!(r#"{{"type":"sync","metadata":{}}}"#, nested("[", 100_000, "", "]"))))
        })
        .add("an answer about instances of 100,000 instances", |s| {
            later(s, || {
                let all = items(100_000, |n| format!(r#"{{"name":"i{n}","config":{{"a":"b"}},"status":"Running"}}"#));
                json_reply(&format!(r#"{{"type":"sync","status_code":200,"metadata":{all}}}"#))
            })
        })
        .add("an operation that never ends", |s| {
            later(s, || reply("202 Accepted", "application/json", br#"{"type":"async","status_code":100,"operation":"/1.0/operations/a","metadata":{"id":"a","class":"task","status":"Running","status_code":103}}"#))
        })
        .add("an operation at another address", |s| {
            later(s, || reply("202 Accepted", "application/json", br#"{"type":"async","status_code":100,"operation":"/../../../1.0/instances/a?x=\r\ny: z","metadata":{"id":"../a","status_code":103}}"#))
        })
        .gate("redirects of a server are not followed, and its certificate is pinned")
        .on(Target::Both)
        .add("a redirect to another service", redirect)
        .add("a server that shows another certificate", other_certificate)
        .gate("control characters never reach a condition or an event")
        .add("escape sequences in what a server says", escapes)
        .gate("what a server said is shortened")
        .on(Target::Serve)
        .add("an error text of a megabyte", |s| long_error(s, 500_000))
        .add("an error text of 60 kB", |s| long_error(s, 30_000))
        .end()
}

fn endless() -> Reply {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"type\":\"sync\",\"metadata\":{\"a\":\"";
    Reply::Endless(head.to_vec(), vec![b'a'; 65536])
}

/// What a real server reports about itself.
pub(crate) fn about() -> Value {
    json!({ "type": "sync", "status": "Success", "status_code": 200, "metadata": {
        "api_extensions": ["instances", "projects", "api_filtering", "event_lifecycle", "operation_wait", "instance_create_start"],
        "api_status": "stable", "api_version": "1.0", "auth": "trusted", "auth_methods": ["tls"], "config": {},
        "environment": {
            "server": "incus", "server_version": "6.0.4", "server_name": "hostile", "server_clustered": false,
            "architectures": ["x86_64"], "driver": "lxc", "kernel": "Linux", "storage": "dir",
        },
    } })
}

/// Points a cluster to a server and waits until the server was queried and a condition reports the
/// result.
pub(super) async fn point(fixture: &Fixture, hostile: &Hostile) -> AttackResult {
    fixture.secret("identity", identity(&hostile.url(), &hostile.pair)?).await?;
    let spec = json!({
        "secretRef": { "name": "identity" }, "unprivileged": true,
        "loadBalancer": { "lxc": { "instanceSpec": { "image": { "name": "capn/test" } } } },
    });
    fixture.lxc_cluster(spec).await?;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while hostile.connections() == 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(hostile.connections() > 0, "the server was not queried, so nothing was tested");
    tokio::time::sleep(LOOKED).await;
    Ok(())
}

/// The attack is the first response.
async fn first(fixture: Arc<Fixture>, make: fn() -> Reply) -> AttackResult {
    let hostile = Hostile::start(move |_| make()).await?;
    point(&fixture, &hostile).await?;
    fixture.keep(hostile);
    Ok(())
}

/// The server looks valid at first.
async fn later(fixture: Arc<Fixture>, make: fn() -> Reply) -> AttackResult {
    let hostile = Hostile::start(move |path| match path.split('?').next() {
        Some("/1.0") => json_reply(&about().to_string()),
        _ => make(),
    })
    .await?;
    point(&fixture, &hostile).await?;
    fixture.keep(hostile);
    Ok(())
}

async fn redirect(fixture: Arc<Fixture>) -> AttackResult {
    let other = Hostile::plain(|_| reply("200 OK", "text/plain", b"a")).await?;
    let target = format!("http://{}/1.0", other.address);
    let hostile = Hostile::start(move |_| {
        Reply::Whole(
            format!("HTTP/1.1 301 Moved\r\nlocation: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").into_bytes(),
        )
    })
    .await?;
    point(&fixture, &hostile).await?;
    ensure!(other.connections() == 0, "a redirect was followed");
    Ok(())
}

async fn other_certificate(fixture: Arc<Fixture>) -> AttackResult {
    let mut hostile = Hostile::start(|_| json_reply(&about().to_string())).await?;
    hostile.pair = self_signed("another server", &[])?;
    point(&fixture, &hostile).await?;
    ensure!(hostile.heard().is_empty(), "a request was sent to a server with another certificate");
    Ok(())
}

const EVIL: &str = "\\u001b]0;owned\\u0007\\u001b[2J\\u009b31m\\u202e";

async fn escapes(fixture: Arc<Fixture>) -> AttackResult {
    let hostile = Hostile::start(|path| match path.split('?').next() {
        Some("/1.0") => {
            json_reply(&about().to_string().replace("\"hostile\"", &format!("\"{EVIL}\"")))
        }
        _ => reply(
            "400 Bad Request",
            "application/json",
            format!(r#"{{"type":"error","error":"no {EVIL}","error_code":400}}"#).as_bytes(),
        ),
    })
    .await?;
    point(&fixture, &hostile).await?;
    let shown = fixture.shown().await?;
    let found = ["\\u001b", "\\u0007", "\u{9b}", "\\u009b", "\u{202e}", "\u{1b}"];
    let found = found.iter().find(|text| shown.contains(*text));
    ensure!(found.is_none(), "a control character of the server is in a condition or an event");
    Ok(())
}

async fn long_error(fixture: Arc<Fixture>, words: usize) -> AttackResult {
    let hostile = Hostile::start(move |path| match path.split('?').next() {
        Some("/1.0") => json_reply(&about().to_string()),
        _ => reply(
            "400 Bad Request",
            "application/json",
            format!(r#"{{"type":"error","error":"{}","error_code":400}}"#, "e ".repeat(words))
                .as_bytes(),
        ),
    })
    .await?;
    point(&fixture, &hostile).await?;
    let shown = fixture.shown().await?.len();
    ensure!(shown < 100_000, "conditions and events hold {shown} bytes of what the server said");
    Ok(())
}
