//! Authorization tests.

use axum::{body::Body, http::Request};
use http::{Method, Response as HttpResponse};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;

/// Returns an API server that knows two tokens: `reader` may get /metrics, and `stranger` may do
/// nothing.
fn api_server() -> Client {
    let answer = |request: http::Request<kube::client::Body>| async move {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect_bytes().await.unwrap();
        let review: Value = serde_json::from_slice(&body).unwrap();
        let status = match path.as_str() {
            "/apis/authentication.k8s.io/v1/tokenreviews" => match review["spec"]["token"].as_str()
            {
                Some(name @ ("reader" | "stranger")) => json!({
                    "authenticated": true, "user": {"username": name, "groups": ["g"]},
                }),
                _ => json!({"authenticated": false}),
            },
            "/apis/authorization.k8s.io/v1/subjectaccessreviews" => json!({
                "allowed": review["spec"]["user"] == "reader"
                    && review["spec"]["nonResourceAttributes"] == json!({"path": "/metrics", "verb": "get"}),
            }),
            other => panic!("unexpected request to {other}"),
        };
        let mut answer = review;
        answer["status"] = status;
        let body = kube::client::Body::from(serde_json::to_vec(&answer).unwrap());
        let answer = HttpResponse::builder().status(201).body(body).unwrap();
        Ok::<_, std::convert::Infallible>(answer)
    };
    Client::new(tower::service_fn(answer), "default")
}

fn options(insecure: bool) -> DiagnosticsOptions {
    DiagnosticsOptions {
        address: ([127, 0, 0, 1], 0).into(),
        insecure,
        tls: TlsOptions::default(),
        certificate: None,
        metrics: Arc::new(|_| Ok(("capn_up 1\n".to_owned(), "text/plain"))),
        set_verbosity: Arc::new(|level| match level {
            "4" => Ok(()),
            _ => Err("no such level".to_owned()),
        }),
    }
}

async fn ask(insecure: bool, method: Method, path: &str, token: Option<&str>) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Body::from("4")).unwrap();
    let answer = routes(&options(insecure), api_server()).oneshot(request).await.unwrap();
    let code = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
    (code, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn metrics_require_authorization_by_the_api_server() {
    let get = |token| ask(false, Method::GET, "/metrics", token);
    assert_eq!(get(None).await, (401, "a bearer token is required\n".to_owned()));
    assert_eq!(get(Some("unknown")).await.0, 401);
    let (code, why) = get(Some("stranger")).await;
    assert_eq!(
        (code, why.as_str()),
        (403, "stranger is not allowed to get the nonResourceURL /metrics\n")
    );
    assert_eq!(get(Some("reader")).await, (200, "capn_up 1\n".to_owned()));
    let put = ask(false, Method::PUT, "/debug/flags/v", Some("reader")).await;
    assert_eq!(put.0, 403, "{}", put.1);
}

#[tokio::test]
async fn insecure_diagnostics_are_the_metrics_alone() {
    assert_eq!(ask(true, Method::GET, "/metrics", None).await, (200, "capn_up 1\n".to_owned()));
    assert_eq!(ask(true, Method::PUT, "/debug/flags/v", None).await.0, 404);
}
