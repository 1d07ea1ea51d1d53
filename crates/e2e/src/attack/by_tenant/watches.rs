//! Thousands of watches and lists.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;

use crate::attack::client::ApiClient;
use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("watches and lists", Attacker::Tenant, Target::Serve)
        .gate("requests in flight are counted, by user and in all")
        .add("10,000 watches of one list", |s| watches(s, 10, 1000, "watch=true"))
        .add("100 lists of a large collection at once", lists)
        .add("lists whose answers nobody reads", unread)
        .add("400 tables of a large object that nobody reads", |s| tables(s, 4, 100, ""))
        .gate("what watches tell is made as it is taken, and once for all of them")
        .add("2,000 watches that want the list first", |s| {
            watches(s, 4, 500, "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
        })
        .add("190 watches of a large object as tables", |s| tables(s, 2, 95, "watch=true&"))
        .add("watches that nobody reads while much is written", unread_watches)
        .end()
}

/// A large collection: 12 objects of 300 kB.
async fn fill(fixture: &Fixture) -> AttackResult {
    for number in 0..12 {
        let map = json!({
            "metadata": { "name": format!("large-{number}") }, "data": { "a": "x".repeat(300_000) },
        });
        fixture.tenant.post(&fixture.core("configmaps"), &map).await?.granted()?;
    }
    Ok(())
}

/// Opens HTTP/2 streams for a request and does not read the responses.
pub(super) async fn open(
    caller: &ApiClient,
    streams: usize,
    path: &str,
) -> anyhow::Result<Streams> {
    open_as(caller, streams, path, "application/json").await
}

async fn open_as(
    caller: &ApiClient,
    streams: usize,
    path: &str,
    accept: &str,
) -> anyhow::Result<Streams> {
    let stream = caller.stream_h2().await?;
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await?;
    let running = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        drop(connection.await);
    }));
    let uri = format!("https://plane{path}");
    let mut answers = Vec::new();
    for _ in 0..streams {
        let mut sender = sender.clone();
        let request = Request::builder().uri(&uri).header("accept", accept);
        let request = request.body(Empty::<Bytes>::new())?;
        answers.push(tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
            if sender.ready().await.is_ok()
                && let Ok(answer) = sender.send_request(request).await
            {
                let mut body = answer.into_body();
                // Read the first part, so that the response has started.
                drop(body.frame().await);
                std::future::pending::<()>().await;
            }
        })));
    }
    Ok(Streams { _running: running, _answers: answers })
}

pub(super) struct Streams {
    _running: tokio_util::task::AbortOnDropHandle<()>,
    _answers: Vec<tokio_util::task::AbortOnDropHandle<()>>,
}

async fn watches(
    fixture: Arc<Fixture>,
    connections: usize,
    each: usize,
    query: &str,
) -> AttackResult {
    fill(&fixture).await?;
    let path = format!("{}?{query}", fixture.core("configmaps"));
    for _ in 0..connections {
        if let Ok(streams) = open(&fixture.tenant, each, &path).await {
            fixture.keep(streams);
        }
    }
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    Ok(())
}

async fn lists(fixture: Arc<Fixture>) -> AttackResult {
    fill(&fixture).await?;
    let path = fixture.core("configmaps");
    let all = (0..100).map(|_| {
        let (caller, path) = (fixture.tenant.again(), path.clone());
        async move { drop(caller.get(&path).await) }
    });
    futures::future::join_all(all).await;
    Ok(())
}

async fn unread(fixture: Arc<Fixture>) -> AttackResult {
    fill(&fixture).await?;
    let path = fixture.core("configmaps");
    for _ in 0..4 {
        if let Ok(streams) = open(&fixture.tenant, 100, &path).await {
            fixture.keep(streams);
        }
    }
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    Ok(())
}

/// A table is rendered separately for each object and contains the whole object.
async fn tables(
    fixture: Arc<Fixture>,
    connections: usize,
    each: usize,
    query: &str,
) -> AttackResult {
    let map = json!({ "metadata": { "name": "large" }, "data": { "a": "x".repeat(1_400_000) } });
    fixture.tenant.post(&fixture.core("configmaps"), &map).await?.granted()?;
    let path = format!("{}?{query}includeObject=Object", fixture.core("configmaps"));
    for _ in 0..connections {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        if let Ok(streams) = open_as(&fixture.tenant, each, &path, table).await {
            fixture.keep(streams);
        }
    }
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    Ok(())
}

async fn unread_watches(fixture: Arc<Fixture>) -> AttackResult {
    let path = format!("{}?watch=true", fixture.core("configmaps"));
    if let Ok(streams) = open(&fixture.tenant, 100, &path).await {
        fixture.keep(streams);
    }
    let map = json!({ "metadata": { "name": "map" } });
    fixture.tenant.post(&fixture.core("configmaps"), &map).await?.granted()?;
    for number in 0..60 {
        let text = format!("{number}{}", "y".repeat(200_000));
        let change = json!({ "data": { "a": text } });
        drop(fixture.tenant.merge(&format!("{}/map", fixture.core("configmaps")), &change).await);
    }
    Ok(())
}
