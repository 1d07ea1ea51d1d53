//! Access of users with one role in one namespace, checked on a plane.

use http::{Method, Request, StatusCode};
use kube::Client;
use serde_json::json;

use super::*;
use crate::session::{Need, Session, open_plane};
use crate::state::StateDir;

const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/team/rolebindings";

async fn ask(client: &Client, method: Method, path: &str, body: serde_json::Value) -> u16 {
    let body = if method == Method::GET { Vec::new() } else { serde_json::to_vec(&body).unwrap() };
    let request = Request::builder().method(&method).uri(path);
    let content_type = match method {
        Method::PATCH => "application/merge-patch+json",
        _ => "application/json",
    };
    let request = request.header("content-type", content_type).body(body).unwrap();
    match client.request::<serde_json::Value>(request).await {
        Ok(_) => StatusCode::OK.as_u16(),
        Err(kube::Error::Api(status)) => status.code,
        Err(error) => panic!("{method} {path}: {error}"),
    }
}

#[tokio::test]
async fn roles_grant_access_in_one_namespace_only() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::at(camino::Utf8Path::from_path(dir.path()).unwrap());
    let plane = open_plane(&state, Default::default()).await.ok().unwrap();
    let root = plane.client();
    for namespace in ["team", "other"] {
        let body = json!({"metadata": {"name": namespace}});
        assert_eq!(ask(&root, Method::POST, "/api/v1/namespaces", body).await, 200);
    }
    for short in ROLES {
        let binding = json!({
            "metadata": {"name": short},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                "name": cluster_role(short)},
            "subjects": [{"kind": "User", "name": short}],
        });
        assert_eq!(ask(&root, Method::POST, BINDINGS, binding).await, 200);
    }
    let core = |namespace: &str, what: &str| format!("/api/v1/namespaces/{namespace}/{what}");
    let capi = |namespace: &str, group: &str, version: &str, what: &str| {
        format!("/apis/{group}.cluster.x-k8s.io/{version}/namespaces/{namespace}/{what}")
            .replace("/apis/core.", "/apis/")
    };
    let clusters = |namespace: &str| capi(namespace, "core", "v1beta2", "clusters");
    let cluster = |name: &str| {
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": {"name": name}, "spec": {"paused": true},
        })
    };
    let map = || json!({"metadata": {"generateName": "m"}});
    let get = || (Method::GET, json!({}));
    let machine = capi("team", "infrastructure", "v1alpha2", "lxcmachines/m");
    let machine_status = format!("{machine}/status");
    // The request, and whether view, edit and admin are allowed.
    let table: Vec<(String, (Method, serde_json::Value), [bool; 3])> = vec![
        (clusters("team"), get(), [true, true, true]),
        (clusters("other"), get(), [false; 3]),
        ("/apis/cluster.x-k8s.io/v1beta2/clusters".to_owned(), get(), [false; 3]),
        (clusters("team"), (Method::POST, cluster("new")), [false, true, true]),
        (clusters("other"), (Method::POST, cluster("new")), [false; 3]),
        (core("team", "configmaps"), get(), [true; 3]),
        (core("team", "configmaps"), (Method::POST, map()), [false, true, true]),
        (core("team", "events"), get(), [true; 3]),
        (core("team", "secrets"), get(), [false, true, true]),
        (core("team", "secrets"), (Method::POST, map()), [false, true, true]),
        (core("other", "secrets"), get(), [false; 3]),
        ("/api/v1/secrets".to_owned(), get(), [false; 3]),
        (core("other", "configmaps"), get(), [false; 3]),
        ("/api/v1/namespaces".to_owned(), get(), [false; 3]),
        ("/api/v1/namespaces/team".to_owned(), get(), [true; 3]),
        ("/api/v1/namespaces/other".to_owned(), get(), [false; 3]),
        ("/api/v1/namespaces/team".to_owned(), (Method::DELETE, json!({})), [false; 3]),
        (machine_status, (Method::PATCH, json!({"status": {}})), [false; 3]),
        (BINDINGS.to_owned(), get(), [false, false, true]),
        (BINDINGS.replace("team", "other"), get(), [false; 3]),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings".to_owned(),
            (
                Method::POST,
                json!({"metadata": {"name": "mine"}, "roleRef": {"kind": "ClusterRole",
                "name": "cluster-admin", "apiGroup": "rbac.authorization.k8s.io"}}),
            ),
            [false; 3],
        ),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned(), get(), [false; 3]),
    ];
    for (path, (method, body), may) in table {
        for (short, may) in ROLES.into_iter().zip(may) {
            let client = plane.client_as(short, &[]);
            let mut body = body.clone();
            if body["metadata"]["name"] == "new" {
                body["metadata"]["name"] = json!(format!("by-{short}"));
            }
            let code = ask(&client, method.clone(), &path, body).await;
            // An allowed request may still fail because the object is missing or invalid.
            assert_eq!(code != 403, may, "{short}: {method} {path}: {code}");
        }
    }
    plane.close().await;
    // The next start restores the roles.
    let session = Session::open(&state, Need::Objects).await.unwrap();
    session.close().await.unwrap();
}
