//! Requests and answers of the API.

mod access;
mod read;
pub(crate) mod request;
mod response;
mod review;
mod scale;
mod watch;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, request::Parts};
use tokio_util::sync::CancellationToken;

use self::request::{Form, Query, ResourcePath};
pub(crate) use self::response::failed;
use crate::{
    api::{Api, Subresource},
    discovery,
    identity::Identity,
    names, openapi,
    registry::{Access, Resource},
    service::ResponseBody,
    status::{ApiError, Result},
};

/// A request with its whole body.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Query,
    pub(crate) body: Bytes,
    pub(crate) identity: Identity,
}

/// Answers a request of somebody.
pub(crate) async fn serve(
    api: &Arc<Api>,
    shutdown: &CancellationToken,
    identity: Identity,
    parts: Parts,
    body: Bytes,
) -> Response<ResponseBody> {
    let path = parts.uri.path().to_owned();
    let method = parts.method.clone();
    let request = Request {
        method: parts.method,
        headers: parts.headers,
        query: Query::parse(parts.uri.query().unwrap_or_default()),
        body,
        identity,
    };
    match answer(api, shutdown, &path, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(%method, path, error = %error, "request refused");
            response::failed(&error)
        }
    }
}

async fn answer(
    api: &Arc<Api>,
    shutdown: &CancellationToken,
    path: &str,
    mut request: Request,
) -> Result<Response<ResponseBody>> {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let segments: Option<Vec<_>> = segments.map(names::decode_segment).collect();
    let segments =
        segments.ok_or_else(|| ApiError::bad_request("a part of the path is not a name"))?;
    let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
    if let Some(other) = access::impersonated(api, &request)? {
        request.identity = other;
    }
    access::authorize(api, &request, &segments)?;
    route(api, shutdown, &segments, &request).await
}

async fn route(
    api: &Arc<Api>,
    shutdown: &CancellationToken,
    segments: &[&str],
    request: &Request,
) -> Result<Response<ResponseBody>> {
    if !request::is_write(&request.method)
        && let Some(response) = fixed(api, segments, request)?
    {
        return Ok(response);
    }
    let path = ResourcePath::parse(segments).ok_or_else(ApiError::no_such_path)?;
    let tables = api.registry.tables();
    let resource =
        tables.find(path.group, path.version, path.plural).ok_or_else(ApiError::no_such_path)?;
    // A namespaced object needs its namespace, a cluster-scoped one has none.
    if resource.namespaced != path.namespace.is_some()
        && (path.name.is_some() || !resource.namespaced)
    {
        return Err(ApiError::no_such_path());
    }
    if resource.access == Access::Review {
        return review::create(api, &resource, path.namespace, request);
    }
    match (path.name, path.subresource) {
        (Some(name), Some("scale")) if resource.scale.is_some() => {
            let namespace = path.namespace.unwrap_or_default();
            scale::serve(api, &resource, namespace, name, request).await
        }
        (Some(name), subresource) => {
            let subresource = match request::subresource(subresource) {
                Some(Subresource::Status) if !resource.status => None,
                Some(Subresource::Finalize) if &*resource.plural != "namespaces" => None,
                subresource => subresource,
            };
            let subresource = subresource.ok_or_else(ApiError::no_such_path)?;
            let namespace = path.namespace.unwrap_or_default();
            object(api, shutdown, &resource, namespace, name, subresource, request).await
        }
        (None, _) => collection(api, shutdown, &resource, path.namespace, request).await,
    }
}

/// Paths that are not about resources.
fn fixed(
    api: &Arc<Api>,
    segments: &[&str],
    request: &Request,
) -> Result<Option<Response<ResponseBody>>> {
    let form = || request::accepted(&request.headers);
    let tables = || api.registry.tables();
    Ok(Some(match segments {
        ["healthz" | "livez" | "readyz", ..] => {
            response::raw(StatusCode::OK, "text/plain; charset=utf-8", Bytes::from_static(b"ok"))
        }
        ["version"] => response::json(StatusCode::OK, &discovery::version()),
        [] => response::json(StatusCode::OK, &discovery::paths(&tables())),
        ["api"] if form()? == Form::Discovery => response::raw(
            StatusCode::OK,
            discovery::AGGREGATED,
            discovery::aggregated(&tables(), true),
        ),
        ["apis"] if form()? == Form::Discovery => response::raw(
            StatusCode::OK,
            discovery::AGGREGATED,
            discovery::aggregated(&tables(), false),
        ),
        ["api"] => response::json(StatusCode::OK, &discovery::core_versions()),
        ["apis"] => response::json(StatusCode::OK, &discovery::groups(&tables())),
        ["apis", group] => {
            let group = discovery::group(&tables(), group).ok_or_else(ApiError::no_such_path)?;
            response::json(StatusCode::OK, &group)
        }
        ["api", version] => {
            let list = discovery::resources(&tables(), "", version);
            response::json(StatusCode::OK, &list.ok_or_else(ApiError::no_such_path)?)
        }
        ["apis", group, version] => {
            let list = discovery::resources(&tables(), group, version);
            response::json(StatusCode::OK, &list.ok_or_else(ApiError::no_such_path)?)
        }
        ["openapi", "v3"] => response::json(StatusCode::OK, &openapi::index(&tables())),
        ["openapi", "v3", "api", version] => {
            let document = openapi::document(&tables(), "", version);
            response::json(StatusCode::OK, &document.ok_or_else(ApiError::no_such_path)?)
        }
        ["openapi", "v3", "apis", group, version] => {
            let document = openapi::document(&tables(), group, version);
            response::json(StatusCode::OK, &document.ok_or_else(ApiError::no_such_path)?)
        }
        ["openapi", "v2"] => {
            let accept = request.headers.get(http::header::ACCEPT);
            let accept = accept.and_then(|accept| accept.to_str().ok()).unwrap_or_default();
            let protobuf = accept.contains("proto-openapi");
            let kind = if protobuf { openapi::V2_PROTOBUF } else { response::JSON };
            response::raw(StatusCode::OK, kind, openapi::v2(protobuf))
        }
        _ => return Ok(None),
    }))
}

async fn collection(
    api: &Arc<Api>,
    shutdown: &CancellationToken,
    resource: &Arc<Resource>,
    namespace: Option<&str>,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    match request.method {
        Method::GET | Method::HEAD => {
            let form = request::accepted(&request.headers)?;
            if request.query.flag("watch") {
                let resource = Arc::clone(resource);
                return watch::watch(api, resource, namespace, form, &request.query, shutdown);
            }
            read::list(api, resource, namespace, form, &request.query)
        }
        Method::POST if resource.namespaced && namespace.is_none() => {
            Err(ApiError::method_not_allowed())
        }
        Method::POST => write::create(api, resource, namespace.unwrap_or_default(), request).await,
        Method::DELETE => write::delete_collection(api, resource, namespace, request).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

async fn object(
    api: &Arc<Api>,
    shutdown: &CancellationToken,
    resource: &Arc<Resource>,
    namespace: &str,
    name: &str,
    subresource: Subresource,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    match request.method {
        Method::GET | Method::HEAD => {
            let form = request::accepted(&request.headers)?;
            if request.query.flag("watch") {
                let query = request.query.with_field("metadata.name", name);
                let namespace = resource.namespaced.then_some(namespace);
                let resource = Arc::clone(resource);
                return watch::watch(api, resource, namespace, form, &query, shutdown);
            }
            let object = api.get(resource, namespace, name)?;
            Ok(read::show(resource, &object, StatusCode::OK, form, &request.query))
        }
        Method::PUT => write::replace(api, resource, namespace, name, subresource, request).await,
        Method::PATCH => write::patch(api, resource, namespace, name, subresource, request).await,
        Method::DELETE if subresource == Subresource::None => {
            write::delete(api, resource, namespace, name, request).await
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}
