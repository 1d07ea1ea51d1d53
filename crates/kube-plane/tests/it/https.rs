//! A kube-rs client over HTTPS.

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config, ResourceExt,
    api::{ListParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{WatchStreamExt, watcher},
};
use kube_plane::{Pki, Plane, PlaneOptions};
use serde_json::json;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_client_with_the_certificate_is_let_in_and_others_are_not() {
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

    let mut stranger = config;
    stranger.auth_info = kube::config::AuthInfo::default();
    let api: Api<ConfigMap> = Api::default_namespaced(Client::try_from(stranger).unwrap());
    let (code, reason, _) = crate::support::failure(api.list(&ListParams::default()).await);
    assert_eq!((code, reason.as_str()), (401, "Unauthorized"));

    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
    plane.close().await;
}
