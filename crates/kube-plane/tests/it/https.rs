//! A kube-rs client over HTTPS.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::{core::v1::ConfigMap, rbac::v1::RoleBinding};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{WatchStreamExt, watcher},
};
use kube_plane::{Pki, Plane, PlaneOptions};
use serde_json::json;
use tokio::net::TcpListener;

async fn get_me(client: &Client) -> serde_json::Value {
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let review = crate::support::call(client, "POST", path, "application/json", "{}").await;
    review.unwrap()["status"]["userInfo"].clone()
}

#[tokio::test]
async fn only_clients_with_a_certificate_are_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let plane = Plane::open(PlaneOptions::default()).await.unwrap();
    let pki = Pki::open(dir.path(), &[]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let tls = pki.server_tls().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = plane.clone();
    let server = tokio::spawn(async move {
        serving.serve_https(listener, &tls, async { stopped.await.unwrap_or_default() }).await
    });
    let kubeconfig = Kubeconfig::from_yaml(&pki.kubeconfig("plane", &url)).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    let client = Client::try_from(config.clone()).unwrap();
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "m"}})).unwrap();
    let mut stream = watcher(api.clone(), watcher::Config::default()).applied_objects().boxed();
    let params = PostParams::default();
    let (seen, created) = tokio::join!(stream.next(), api.create(&params, &map));
    assert_eq!(seen.unwrap().unwrap().name_any(), created.unwrap().name_any());

    let mut unauthenticated = config;
    unauthenticated.auth_info = kube::config::AuthInfo::default();
    let api: Api<ConfigMap> = Api::default_namespaced(Client::try_from(unauthenticated).unwrap());
    let (code, reason, _) = crate::support::failure(api.list(&ListParams::default()).await);
    assert_eq!((code, reason.as_str()), (401, "Unauthorized"));

    // A client with another name has the permissions of its groups.
    let certificate = pki.client("jane", &["one", "two"]).unwrap();
    let kubeconfig =
        Kubeconfig::from_yaml(&pki.kubeconfig_for(&certificate, "plane", &url)).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let who = get_me(&client).await;
    assert_eq!(who["username"], "jane");
    assert_eq!(who["groups"], json!(["one", "two", "system:authenticated"]));
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    assert_eq!(crate::support::failure(api.list(&ListParams::default()).await).0, 403);
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "two"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "cluster-admin"},
        "subjects": [{"kind": "Group", "name": "two"}],
    }))
    .unwrap();
    let bindings: Api<RoleBinding> = Api::default_namespaced(plane.client());
    bindings.create(&params, &binding).await.unwrap();
    api.list(&ListParams::default()).await.unwrap();
    assert_eq!(
        crate::support::failure(
            Api::<ConfigMap>::all(api.into_client()).list(&ListParams::default()).await
        )
        .0,
        403
    );

    // A connection and a watch do not outlive the certificate.
    let lifetime = Duration::from_secs(5);
    let certificate = pki.client_with_lifetime("late", &["two"], lifetime).unwrap();
    let kubeconfig =
        Kubeconfig::from_yaml(&pki.kubeconfig_for(&certificate, "plane", &url)).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    api.list(&ListParams::default()).await.unwrap();
    let path = "/api/v1/namespaces/default/configmaps?watch=1";
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    let watch = client.request_events::<serde_json::Value>(request).await.unwrap();
    let watched = tokio::time::timeout(Duration::from_secs(60), watch.collect::<Vec<_>>()).await;
    let events = watched.expect("the watch ends with the certificate");
    assert!(events.iter().all(Result::is_ok), "{events:?}");
    match api.list(&ListParams::default()).await {
        Ok(_) => panic!("the certificate is still accepted"),
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 401, "{status:?}"),
        // A new connection is refused during the handshake.
        Err(_) => {}
    }

    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    plane.close().await;
}
