//! TokenReview and SubjectAccessReview.

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};

use crate::election::chain;

/// Authorizes a request if the API server knows its bearer token and allows its user this verb on
/// this path (`nonResourceURLs` of a ClusterRole).
pub(super) async fn authorize(
    State(client): State<Client>,
    request: Request,
    next: Next,
) -> Response {
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(|token| token.trim().to_owned());
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return refused(StatusCode::UNAUTHORIZED, "a bearer token is required");
    };
    let user = match authenticate(&client, token).await {
        Ok(Some(user)) => user,
        Ok(None) => {
            return refused(StatusCode::UNAUTHORIZED, "the API server does not know this token");
        }
        Err(error) => return unanswered(&error),
    };
    let path = request.uri().path().to_owned();
    match may(&client, &user, verb(request.method()), &path).await {
        Ok(true) => next.run(request).await,
        Ok(false) => {
            let name = user.username.unwrap_or_default();
            let verb = verb(request.method());
            refused(
                StatusCode::FORBIDDEN,
                &format!("{name} is not allowed to {verb} the nonResourceURL {path}"),
            )
        }
        Err(error) => unanswered(&error),
    }
}

async fn authenticate(client: &Client, token: String) -> kube::Result<Option<UserInfo>> {
    let review =
        TokenReview { spec: TokenReviewSpec { token, audiences: None }, ..TokenReview::default() };
    let review = Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    let status = review.status.unwrap_or_default();
    Ok(status.user.filter(|_| status.authenticated == Some(true)))
}

async fn may(client: &Client, user: &UserInfo, verb: &str, path: &str) -> kube::Result<bool> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username.clone(),
            groups: user.groups.clone(),
            uid: user.uid.clone(),
            extra: user.extra.clone(),
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(path.to_owned()),
                verb: Some(verb.to_owned()),
            }),
            resource_attributes: None,
        },
        ..SubjectAccessReview::default()
    };
    let review: SubjectAccessReview =
        Api::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(review.status.is_some_and(|status| status.allowed))
}

/// Returns the Kubernetes verb for an HTTP method on a non-resource path.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::PUT => "put",
        Method::POST => "post",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

fn refused(code: StatusCode, why: &str) -> Response {
    (code, format!("{why}\n")).into_response()
}

/// The cause is logged, and not revealed to an unauthenticated client.
fn unanswered(error: &kube::Error) -> Response {
    tracing::warn!(error = chain(error), "cannot review a request for diagnostics");
    refused(StatusCode::INTERNAL_SERVER_ERROR, "the API server could not review the token")
}
