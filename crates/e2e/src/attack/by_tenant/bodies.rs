//! Bodies that are expensive to parse, with each verb and content type.

use std::sync::Arc;

use anyhow::ensure;
use bytes::Bytes;
use serde_json::json;

use crate::attack::client::{
    APPLY_PATCH, JSON, JSON_PATCH, MERGE_PATCH, PROTOBUF, STRATEGIC_PATCH, YAML,
};
use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::text::{items, members, nested};

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("bodies", Attacker::Tenant, Target::Serve)
        .gate("one gate before the store: depth at most 100, size, number of values")
        .add("an object that is nested 100,000 deep, in each verb", |s| {
            everywhere(s, nested("[", 100_000, "", "]"))
        })
        .add("an object of maps that is nested 50,000 deep, in each verb", |s| {
            everywhere(s, nested(r#"{"a":"#, 50_000, "1", "}"))
        })
        .add("an object that is nested 123 deep, in each verb", |s| {
            everywhere(s, nested("[", 123, "1", "]"))
        })
        .add("an object with 100,000 empty lists, in each verb", |s| {
            everywhere(s, items(100_000, |_| "[]".to_owned()))
        })
        .add("an object with 350,000 maps of one field, in each verb", |s| {
            everywhere(s, items(350_000, |_| r#"{"a":1}"#.to_owned()))
        })
        .add("an object with 15,000 fields, in each verb", |s| {
            everywhere(s, members(15_000, |n| (format!("f{n}"), "1".into())))
        })
        .add("a body that opens a million lists and closes none", |s| {
            everywhere(s, "[".repeat(1_000_000))
        })
        .add("a body with a number of a million digits", |s| everywhere(s, "9".repeat(1_000_000)))
        .add("a body with a number that is too large to be one", |s| {
            everywhere(s, "1e999999999".to_owned())
        })
        .add("a body with the same field 20,000 times", |s| {
            everywhere(s, members(20_000, |_| ("f".to_owned(), "1".into())))
        })
        .gate("depth, size and aliases of YAML are checked before it is parsed")
        .add("YAML of aliases of aliases", aliases)
        .add("YAML that merges maps again and again", merges)
        .add("YAML that is nested 50,000 deep", |s| {
            yaml(s, format!("data: {}", nested("[", 50_000, "", "]")))
        })
        .add("YAML that is nested 3,000 deep by indentation", |s| {
            let lines: Vec<String> = (0..1500).map(|n| format!("{}a:", " ".repeat(n))).collect();
            yaml(s, lines.join("\n"))
        })
        .add("YAML of 100,000 documents", |s| yaml(s, "--- {}\n".repeat(100_000)))
        .add("YAML whose alias is its own anchor", |s| yaml(s, "data: &a {a: *a}".into()))
        .gate("protobuf messages are bounded in depth and size")
        .add("protobuf whose message says it is larger than it is", protobuf_length)
        .add("protobuf that is nested 100,000 deep", protobuf_depth)
        .add("protobuf with 700,000 owners of two bytes", protobuf_owners)
        .gate("a body is at most 3 MiB")
        .add("bodies of 30 MiB", |s| size(s, JSON, 4, 30))
        .add("patches of 30 MiB", |s| size(s, MERGE_PATCH, 4, 30))
        .add("a body of 400 MiB", |s| size(s, JSON, 1, 400))
        .end()
}

/// Sends JSON in an unstructured field of objects, with each verb and content type.
async fn everywhere(fixture: Arc<Fixture>, value: String) -> AttackResult {
    let (core, path) = (fixture.core("configmaps"), fixture.infrastructure("lxcmachinetemplates"));
    let map = json!({ "metadata": { "name": "map" } });
    fixture.tenant.post(&core, &map).await?.granted()?;
    let object = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"map","annotations":{{"a":"b"}}}},"data":{value}}}"#
    );
    let clusters = fixture.clusters();
    // The existing object has a free-form field in its status; another kind has one in its spec.
    let plain = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
        "metadata": { "name": "deep", "finalizers": ["attack.example.com/held"] },
        "spec": { "paused": true },
    });
    fixture.tenant.post(&clusters, &plain).await?.granted()?;
    let cluster = format!(
        r#"{{"apiVersion":"cluster.x-k8s.io/v1beta2","kind":"Cluster","metadata":{{"name":"deep"}},"status":{{"deprecated":{{"a":{value}}}}}}}"#
    );
    let topology = format!(
        r#"{{"apiVersion":"cluster.x-k8s.io/v1beta2","kind":"Cluster","metadata":{{"name":"other"}},"spec":{{"topology":{{"classRef":{{"name":"c"}},"version":"v1.36.0","variables":[{{"name":"a","value":{value}}}]}}}}}}"#
    );
    let one = format!("{core}/map");
    let deep = format!("{clusters}/deep");
    let status = format!("{deep}/status");
    let apply = "?fieldManager=a&force=true";
    let patch = format!(r#"[{{"op":"add","path":"/status/deprecated","value":{{"a":{value}}}}}]"#);
    let tries: [(&str, String, &str, &str); 14] = [
        ("POST", core.clone(), JSON, &object),
        ("POST", core.clone(), YAML, &object),
        ("PUT", one.clone(), JSON, &object),
        ("PATCH", one.clone(), MERGE_PATCH, &object),
        ("PATCH", one.clone(), STRATEGIC_PATCH, &object),
        ("PATCH", format!("{one}{apply}"), APPLY_PATCH, &object),
        ("POST", clusters.clone(), JSON, &topology),
        ("PUT", status.clone(), JSON, &cluster),
        ("PATCH", status.clone(), MERGE_PATCH, &cluster),
        ("PATCH", status.clone(), JSON_PATCH, &patch),
        ("PATCH", format!("{status}{apply}"), APPLY_PATCH, &cluster),
        ("PUT", format!("{path}/a/scale"), JSON, &cluster),
        ("DELETE", one, JSON, &object),
        ("DELETE", deep.clone(), JSON, &object),
    ];
    for (method, path, kind, body) in tries {
        // A refusal or a closed connection is a good outcome.
        drop(fixture.tenant.call(method, &path, kind, body.to_owned()).await);
    }
    // Its finalizer must hold it, whatever was stored and however it was deleted.
    drop(fixture.tenant.delete(&deep).await);
    readable(&fixture, &clusters, "deep").await
}

/// The object is listed and can be read by name.
async fn readable(fixture: &Fixture, collection: &str, name: &str) -> AttackResult {
    let list = fixture.tenant.get(collection).await?.granted()?.json();
    let all = list["items"].as_array().cloned().unwrap_or_default();
    ensure!(all.iter().any(|one| one["metadata"]["name"] == name), "the list lacks the object");
    let one = fixture.tenant.get(&format!("{collection}/{name}")).await?;
    ensure!(
        one.json()["metadata"]["uid"].is_string(),
        "the object reads back as {}",
        one.text().chars().take(60).collect::<String>()
    );
    Ok(())
}

async fn yaml(fixture: Arc<Fixture>, text: String) -> AttackResult {
    let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: map}}\n{text}\n");
    drop(fixture.tenant.call("POST", &fixture.core("configmaps"), YAML, text.clone()).await);
    drop(fixture.tenant.apply(&format!("{}/map", fixture.core("configmaps")), text).await);
    Ok(())
}

async fn aliases(fixture: Arc<Fixture>) -> AttackResult {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{},", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    yaml(fixture, text).await
}

async fn merges(fixture: Arc<Fixture>) -> AttackResult {
    let mut text = "m0: &m0 {a: 1, b: 2, c: 3, d: 4}\n".to_owned();
    for level in 1..200 {
        let all: Vec<String> = (0..level).map(|n| format!("*m{n}")).collect();
        text.push_str(&format!("m{level}: &m{level} {{<<: [{}], f{level}: 1}}\n", all.join(",")));
    }
    yaml(fixture, text).await
}

/// Prefix of Kubernetes' protobuf bodies.
const MAGIC: [u8; 4] = *b"k8s\0";

async fn protobuf(fixture: Arc<Fixture>, message: Vec<u8>) -> AttackResult {
    let body = Bytes::from([MAGIC.as_slice(), &message].concat());
    drop(fixture.tenant.call("POST", &fixture.core("configmaps"), PROTOBUF, body.clone()).await);
    drop(fixture.tenant.call("POST", &fixture.core("secrets"), PROTOBUF, body.clone()).await);
    let one = format!("{}/map", fixture.core("configmaps"));
    drop(fixture.tenant.call("DELETE", &one, PROTOBUF, body).await);
    Ok(())
}

async fn protobuf_length(fixture: Arc<Fixture>) -> AttackResult {
    // Field 1, bytes with length 2^62.
    let claims = vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f];
    protobuf(fixture, claims).await
}

async fn protobuf_depth(fixture: Arc<Fixture>) -> AttackResult {
    // Groups (wire type 3) within groups.
    protobuf(fixture, vec![0x0b; 100_000]).await
}

/// A message of a known kind that takes much more memory than it has bytes.
async fn protobuf_owners(fixture: Arc<Fixture>) -> AttackResult {
    let kind = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
    let metadata = [field(1, b"map"), [13 << 3 | 2, 2, 6 << 3, 1].repeat(700_000)].concat();
    let object = field(1, &metadata);
    protobuf(fixture, [field(1, &kind), field(2, &object)].concat()).await
}

/// A protobuf field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        field.push(0x80 | u8::try_from(length & 0x7f).unwrap_or_default());
        length >>= 7;
    }
    field.push(u8::try_from(length).unwrap_or_default());
    [field.as_slice(), bytes].concat()
}

async fn size(fixture: Arc<Fixture>, kind: &'static str, count: usize, mib: usize) -> AttackResult {
    let body =
        format!(r#"{{"metadata":{{"name":"map"}},"data":{{"a":"{}"}}}}"#, "a".repeat(mib << 20));
    let body = Bytes::from(body);
    let (method, path) = match kind {
        JSON => ("POST", fixture.core("configmaps")),
        _ => ("PATCH", format!("{}/map", fixture.core("configmaps"))),
    };
    let bodies = (0..count).map(|_| {
        let (caller, path, body) = (fixture.tenant.again(), path.clone(), body.clone());
        async move { drop(caller.call(method, &path, kind, body).await) }
    });
    futures::future::join_all(bodies).await;
    Ok(())
}
