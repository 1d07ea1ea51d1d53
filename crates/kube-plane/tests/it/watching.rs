//! Watches.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt;
use http::Request;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent},
    runtime::{WatchStreamExt, watcher},
};
use kube_plane::{Plane, PlaneOptions};
use serde_json::{Value, json};

use crate::support::{failure, plane};

fn map(name: &str, label: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"l": label}}})).unwrap()
}

/// Deadline of all waits, on a machine that is busy with other tests too.
const DEADLINE: Duration = Duration::from_secs(60);

fn maps(client: &Client) -> Api<ConfigMap> {
    Api::default_namespaced(client.clone())
}

/// `(type, object)` of the next event.
async fn next<S>(stream: &mut S) -> (String, Value)
where
    S: futures::Stream<Item = Result<WatchEvent<Value>, kube::Error>> + Unpin,
{
    let event = tokio::time::timeout(DEADLINE, stream.next())
        .await
        .expect("an event within a minute")
        .expect("an open watch")
        .unwrap();
    match event {
        WatchEvent::Added(object) => ("ADDED".to_owned(), object),
        WatchEvent::Modified(object) => ("MODIFIED".to_owned(), object),
        WatchEvent::Deleted(object) => ("DELETED".to_owned(), object),
        WatchEvent::Bookmark(bookmark) => {
            ("BOOKMARK".to_owned(), serde_json::to_value(bookmark).unwrap())
        }
        WatchEvent::Error(status) => ("ERROR".to_owned(), serde_json::to_value(status).unwrap()),
    }
}

type Events = futures::stream::BoxStream<'static, Result<WatchEvent<Value>, kube::Error>>;

async fn watch(client: &Client, query: &str) -> Result<Events, kube::Error> {
    let path = format!("/api/v1/namespaces/default/configmaps?watch=1&{query}");
    let request = Request::get(path).body(Vec::new()).unwrap();
    Ok(client.request_events::<Value>(request).await?.boxed())
}

#[tokio::test]
async fn a_watch_resumes_after_a_revision() {
    let client = plane().await.client();
    let api = maps(&client);
    let first = api.create(&PostParams::default(), &map("a", "x")).await.unwrap();
    api.create(&PostParams::default(), &map("b", "x")).await.unwrap();
    let revision = first.resource_version().unwrap();
    let mut stream = watch(&client, &format!("resourceVersion={revision}")).await.unwrap();
    let (kind, object) = next(&mut stream).await;
    assert_eq!((kind.as_str(), &object["metadata"]["name"]), ("ADDED", &json!("b")));
    let patch = Patch::Merge(json!({"data": {"k": "v"}}));
    api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    let deleted = api.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(deleted.is_right());
    let (kind, modified) = next(&mut stream).await;
    assert_eq!(kind, "MODIFIED");
    let (kind, gone) = next(&mut stream).await;
    assert_eq!(kind, "DELETED");
    assert_eq!(gone["data"]["k"], "v", "the last state");
    let revision = |value: &Value| {
        value["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap()
    };
    assert!(revision(&gone) > revision(&modified), "a delete has its own revision");
}

#[tokio::test]
async fn no_longer_matching_a_selector_is_a_delete_event() {
    let client = plane().await.client();
    let api = maps(&client);
    let mut stream = watch(&client, "labelSelector=l%3Dx&resourceVersion=0").await.unwrap();
    api.create(&PostParams::default(), &map("a", "y")).await.unwrap();
    let label = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"l": value}}}));
    api.patch("a", &PatchParams::default(), &label("x")).await.unwrap();
    api.patch("a", &PatchParams::default(), &label("z")).await.unwrap();
    let (kind, object) = next(&mut stream).await;
    assert_eq!((kind.as_str(), &object["metadata"]["labels"]["l"]), ("ADDED", &json!("x")));
    let (kind, gone) = next(&mut stream).await;
    assert_eq!((kind.as_str(), &gone["metadata"]["labels"]["l"]), ("DELETED", &json!("x")));
    assert_ne!(gone["metadata"]["resourceVersion"], object["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let client = plane().await.client();
    let api = maps(&client);
    api.create(&PostParams::default(), &map("a", "x")).await.unwrap();
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut stream = watch(&client, query).await.unwrap();
    assert_eq!(next(&mut stream).await.0, "ADDED");
    let (kind, bookmark) = next(&mut stream).await;
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    api.create(&PostParams::default(), &map("b", "x")).await.unwrap();
    assert_eq!(next(&mut stream).await.1["metadata"]["name"], "b");
    let missing = watch(&client, "sendInitialEvents=true").await;
    assert_eq!(failure(missing.map(|_| ())).0, 422);
}

#[tokio::test]
async fn a_watch_ends_after_its_time_with_a_bookmark() {
    let client = plane().await.client();
    let mut stream = watch(&client, "timeoutSeconds=1&allowWatchBookmarks=true").await.unwrap();
    assert_eq!(next(&mut stream).await.0, "BOOKMARK");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn old_revisions_are_expired() {
    let plane = Plane::open(PlaneOptions { history: Some(5), ..PlaneOptions::default() });
    let client = plane.await.unwrap().client();
    let api = maps(&client);
    let first = api.create(&PostParams::default(), &map("a", "x")).await.unwrap();
    for n in 0..10 {
        let patch = Patch::Merge(json!({"data": {"n": n.to_string()}}));
        api.patch("a", &PatchParams::default(), &patch).await.unwrap();
    }
    // The first revision is too old, the second comes from another plane.
    for revision in [first.resource_version().unwrap().as_str(), "99999"] {
        let mut stream = watch(&client, &format!("resourceVersion={revision}")).await.unwrap();
        let (kind, status) = next(&mut stream).await;
        assert_eq!(kind, "ERROR");
        assert_eq!((&status["code"], &status["reason"]), (&json!(410), &json!("Expired")));
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn a_watch_that_falls_behind_gets_an_expired_error() {
    let plane = Plane::open(PlaneOptions { history: Some(5), ..PlaneOptions::default() });
    let client = plane.await.unwrap().client();
    let api = maps(&client);
    let mut stream = watch(&client, "resourceVersion=0").await.unwrap();
    for n in 0..10 {
        api.create(&PostParams::default(), &map(&format!("m{n}"), "x")).await.unwrap();
    }
    let mut last = String::new();
    while let Ok(Some(event)) = tokio::time::timeout(DEADLINE, stream.next()).await {
        if let WatchEvent::Error(status) = event.unwrap() {
            assert_eq!(status.code, 410);
            last = status.reason.clone();
            break;
        }
    }
    assert_eq!(last, "Expired");
}

#[tokio::test]
async fn the_kube_watcher_works_with_list_and_streaming() {
    let client = plane().await.client();
    let api = maps(&client);
    api.create(&PostParams::default(), &map("a", "x")).await.unwrap();
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let name = format!("b{}", u8::from(config == watcher::Config::default()));
        let mut stream = std::pin::pin!(watcher(api.clone(), config).applied_objects());
        let first = tokio::time::timeout(DEADLINE, stream.next()).await.unwrap();
        assert_eq!(first.unwrap().unwrap().name_any(), "a");
        api.create(&PostParams::default(), &map(&name, "x")).await.unwrap();
        loop {
            let seen = tokio::time::timeout(DEADLINE, stream.next()).await.unwrap();
            if seen.unwrap().unwrap().name_any() == name {
                break;
            }
        }
    }
}

#[tokio::test]
async fn closing_ends_watches() {
    let plane = plane().await;
    let client = plane.client();
    let mut stream = watch(&client, "resourceVersion=0").await.unwrap();
    plane.close().await;
    let end = tokio::time::timeout(DEADLINE, stream.next()).await;
    assert!(end.expect("the watch ends").is_none());
    let result = maps(&client).create(&PostParams::default(), &map("a", "x")).await;
    assert_eq!(failure(result).0, 503);
}

#[tokio::test]
async fn a_large_state_comes_page_by_page_and_misses_no_event() {
    let plane = plane().await;
    let client = plane.client();
    let api = maps(&client);
    let (count, large) = (500, "x".repeat(20 << 10));
    let create = |n: usize| {
        let mut map = map(&format!("m{n:03}"), "x");
        if n.is_multiple_of(50) {
            map.data = Some([("x".to_owned(), large.clone())].into());
        }
        let api = api.clone();
        async move { api.create(&PostParams::default(), &map).await }
    };
    futures::future::try_join_all((0..count).map(create)).await.unwrap();
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    for accept in ["application/json", "application/json;as=Table;v=v1;g=meta.k8s.io"] {
        let path = format!("/api/v1/namespaces/default/configmaps?watch=1&{query}");
        let request = Request::get(path).header("accept", accept).body(Vec::new()).unwrap();
        let mut stream = client.request_events::<Value>(request).await.unwrap().boxed();
        // During the initial events: one object already sent, one not yet sent, one deleted, one
        // created.
        for name in ["m000", "m499"] {
            let patch = Patch::Merge(json!({"data": {"n": accept}}));
            api.patch(name, &PatchParams::default(), &patch).await.unwrap();
        }
        api.delete("m498", &DeleteParams::default()).await.unwrap();
        api.create(&PostParams::default(), &map("new", "x")).await.unwrap();
        let wanted: BTreeMap<String, u64> = api
            .list(&Default::default())
            .await
            .unwrap()
            .iter()
            .map(|map| (map.name_any(), map.resource_version().unwrap().parse().unwrap()))
            .collect();
        let (mut state, mut ended) = (BTreeMap::new(), false);
        while !ended || state != wanted {
            let (kind, object) = next(&mut stream).await;
            let object =
                if object["kind"] == "Table" { &object["rows"][0]["object"] } else { &object };
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            match kind.as_str() {
                "BOOKMARK" => ended = true,
                "DELETED" => drop(state.remove(text("name"))),
                _ => {
                    let revision = text("resourceVersion").parse::<u64>().unwrap();
                    let before = state.insert(text("name").to_owned(), revision);
                    assert!(before.is_none_or(|before| before < revision), "{kind} {object}");
                }
            }
        }
        api.delete("new", &DeleteParams::default()).await.unwrap();
        api.create(&PostParams::default(), &map("m498", "x")).await.unwrap();
    }
}

#[tokio::test]
async fn a_large_list_is_whole_in_all_its_forms() {
    let plane = plane().await;
    let client = plane.client();
    let api = maps(&client);
    let large = "\"\u{e9}".repeat(10 << 10);
    let create = |n: usize| {
        let mut map = map(&format!("m{n:03}"), "x");
        if n.is_multiple_of(30) {
            map.data = Some([("x".to_owned(), large.clone())].into());
        }
        let api = api.clone();
        async move { api.create(&PostParams::default(), &map).await }
    };
    futures::future::try_join_all((0..300).map(create)).await.unwrap();
    for (accept, kind, items) in [
        ("application/json", "ConfigMapList", "items"),
        ("application/json;as=Table;v=v1;g=meta.k8s.io", "Table", "rows"),
        (
            "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            "PartialObjectMetadataList",
            "items",
        ),
    ] {
        for count in [300, 1] {
            let path = format!("/api/v1/namespaces/default/configmaps?limit={count}");
            let request = Request::get(path).header("accept", accept).body(Vec::new()).unwrap();
            let list: Value = client.request(request).await.unwrap();
            assert_eq!(list["kind"], kind);
            let items = list[items].as_array().unwrap();
            assert_eq!(items.len(), count);
            let object = items[0].get("object").unwrap_or(&items[0]);
            assert_eq!(object["metadata"]["name"], "m000");
        }
    }
}
