//! Requests and responses of the API.

mod access;
mod body;
mod event_cache;
mod list_stream;
mod read;
pub(crate) mod request;
mod reserved_body;
mod response;
mod review;
mod scale;
mod watch;
mod write;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, request::Parts};
use http_body::Body as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::request::{Form, Query, ResourcePath};
pub use self::reserved_body::ResponseTimeout;
pub(crate) use self::{body::UnreadBody, event_cache::EventCache, response::failed};
use crate::{
    api::{Api, Subresource},
    discovery,
    flow_control::{Admitted, FlowControl, RequestKind, Reservation},
    identity::Identity,
    names, openapi,
    registry::{Access, Resource},
    service::ResponseBody,
    status::{ApiError, Result},
};

/// Bodies and stored objects up to this size take little work, in bytes.
const SMALL_BODY: usize = 16 << 10;

/// A request whose body has not been read.
pub(crate) struct Call {
    pub(crate) identity: Identity,
    /// `None` for requests from this process, which have no limits.
    pub(crate) flow_control: Option<Arc<FlowControl>>,
    pub(crate) parts: Parts,
    pub(crate) body: UnreadBody,
}

/// A request with its body.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Query,
    pub(crate) body: Bytes,
    pub(crate) identity: Identity,
    /// The admission, for requests with limits.
    pass: Option<Admitted>,
    /// The permission of a watch, unless it cannot be revoked.
    watch_permission: Option<access::WatchPermission>,
}

impl Request {
    /// Returns the user, for a watch.
    fn watcher(&self) -> watch::Watcher {
        let memory = self.pass.as_ref().map(|pass| pass.memory.clone());
        watch::Watcher { permission: self.watch_permission.clone(), memory }
    }

    /// Reserves memory for a response.
    async fn room(&self, bytes: usize) -> Result<Reservation> {
        match &self.pass {
            Some(pass) => pass.bytes(bytes).await,
            None => Ok(Reservation::default()),
        }
    }
}

/// Answers a request.
pub(crate) async fn serve(
    api: &Arc<Api>,
    shutdown: &CancellationToken,
    call: Call,
) -> Response<ResponseBody> {
    let (path, method) = (call.parts.uri.path().to_owned(), call.parts.method.clone());
    let mut held = None;
    match answer(api, shutdown, &path, call, &mut held).await {
        Ok(response) => response,
        Err(error) => {
            // Without the message, which may quote a Secret.
            let (code, reason) = (error.code().as_u16(), error.reason());
            tracing::debug!(%method, path, code, reason, "request failed");
            let response = response::failed(&error);
            match held {
                Some((taken, limit)) => {
                    reserved_body::attach_reservation(response, taken, Some(limit))
                }
                None => response,
            }
        }
    }
}

/// Admits and authorizes the request, then reads its body and handles it. `held` gets the capacity
/// that also an error takes until it is read, and the time limit for that.
async fn answer(
    api: &Arc<Api>,
    shutdown: &CancellationToken,
    path: &str,
    call: Call,
    held: &mut Option<(Reservation, std::time::Duration)>,
) -> Result<Response<ResponseBody>> {
    let Call { identity, flow_control, parts, body: unread } = call;
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let Parts { method, headers, .. } = parts;
    let mut request = Request {
        method,
        headers,
        query,
        body: Bytes::new(),
        identity,
        pass: None,
        watch_permission: None,
    };
    let sender = request.identity.clone();
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let segments: Option<Vec<_>> = segments.map(names::decode_segment).collect();
    let segments = segments
        .ok_or_else(|| ApiError::bad_request("a segment of the path is not a valid name"))?;
    let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
    let is_write = request::is_write(&request.method);
    let is_watch =
        !is_write && request.query.flag("watch") && ResourcePath::parse(&segments).is_some();
    if let Some(flow_control) = flow_control
        // Unauthenticated requests are so small that the connection limits are enough.
        && !sender.is_anonymous()
    {
        let kind = if is_watch { RequestKind::Watch } else { RequestKind::Request };
        let pass = flow_control.admit(&sender, kind)?;
        *held = Some((pass.hold(), pass.limits.request));
        request.pass = Some(pass);
    }
    if let Some(other) = access::impersonated(api, &request)? {
        request.identity = other;
    }
    if is_watch {
        // Before the check, so that no change is missed.
        request.watch_permission = access::WatchPermission::of(api, &request, &segments);
    }
    access::authorize(api, &request, &segments)?;
    let mut room = Reservation::default();
    if is_write {
        (request.body, room) = unread.read(request.pass.as_ref()).await?;
    }
    let limits = request.pass.as_ref().map(|pass| pass.limits);
    let work = work(api, shutdown, &segments, request);
    let (response, taken) = match limits {
        Some(limits) if !is_watch => {
            timeout(limits.request, work).await.map_err(|_| ApiError::timed_out())??
        }
        _ => work.await?,
    };
    drop(room);
    let Some(limits) = limits else { return Ok(response) };
    Ok(reserved_body::attach_reservation(response, taken, (!is_watch).then_some(limits.request)))
}

/// Handles the request, on a separate thread if it may be expensive.
async fn work(
    api: &Arc<Api>,
    shutdown: &CancellationToken,
    segments: &[&str],
    request: Request,
) -> Result<(Response<ResponseBody>, Reservation)> {
    if !is_expensive(api, segments, &request) {
        let response = route(api, shutdown, segments, &request).await?;
        return finish(response, request).await;
    }
    let expensive = match &request.pass {
        Some(pass) => pass.expensive().await?,
        None => Reservation::default(),
    };
    let (api, shutdown) = (Arc::clone(api), shutdown.clone());
    let segments: Vec<String> = segments.iter().map(|segment| (*segment).to_owned()).collect();
    let runtime = tokio::runtime::Handle::current();
    let work = tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
            let response = route(&api, &shutdown, &segments, &request).await?;
            let finished = finish(response, request).await;
            drop(expensive);
            finished
        })
    });
    work.await.unwrap_or_else(|_| Err(panicked()))
}

/// Reserves memory for the response, and attaches all reservations to it.
async fn finish(
    response: Response<ResponseBody>,
    request: Request,
) -> Result<(Response<ResponseBody>, Reservation)> {
    // Lists and watches have no known size and reserve memory themselves.
    let length = response.body().size_hint().exact().unwrap_or(0);
    let mut taken = request.room(usize::try_from(length).unwrap_or(usize::MAX)).await?;
    if let Some(pass) = request.pass {
        taken.add(pass.into_reservation());
    }
    Ok((response, taken))
}

/// Returns whether a request may take too long to be handled on a shared thread.
fn is_expensive(api: &Api, segments: &[&str], request: &Request) -> bool {
    if request.body.len() > SMALL_BODY {
        return true;
    }
    let is_write = request::is_write(&request.method);
    let from_outside = request.pass.is_some();
    let Some(path) = ResourcePath::parse(segments) else {
        return from_outside && segments.first() == Some(&"openapi");
    };
    let Some(name) = path.name else {
        // Lists, and deletions of collections.
        return from_outside && !request.query.flag("watch") && request.method != Method::POST;
    };
    if !is_write && !from_outside {
        return false;
    }
    let Some(resource) = api.registry.tables().find(path.group, path.version, path.plural) else {
        return false;
    };
    let object = api.store.get(&resource.storage, path.namespace.unwrap_or_default(), name);
    object.is_some_and(|object| object.raw.len() > SMALL_BODY)
}

/// Returns a response to a request whose handler panicked. The panic is logged.
pub(crate) fn panicked() -> ApiError {
    ApiError::internal("the server failed to handle the request")
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
    // A namespaced object needs its namespace; a cluster-scoped object has none.
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

/// Paths that are not resource paths.
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
                let watcher = request.watcher();
                let query = &request.query;
                return watch::watch(api, resource, namespace, form, query, watcher, shutdown);
            }
            read::list(api, resource, namespace, form, request).await
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
                let watcher = request.watcher();
                return watch::watch(api, resource, namespace, form, &query, watcher, shutdown);
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
