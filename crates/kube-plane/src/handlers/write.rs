//! Create, replace, patch and delete.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Request, access, list_stream, read, request, response};
use crate::{
    api::{Api, Body, DeleteOptions, Deleted, Subresource, Target, WriteOptions, Written},
    json::{from_json, from_yaml},
    patch, protobuf,
    registry::Resource,
    selectors::Selector,
    service::ResponseBody,
    status::{ApiError, Result},
    store::limits::Limits,
};

const BODIES: [&str; 2] = ["application/json", "application/yaml"];

/// Parses the object in a request body.
pub(super) fn body(request: &Request) -> Result<Body> {
    match request::content_type(&request.headers) {
        "" | "application/json" | "*/*" => json_body(&request.body),
        "application/yaml" | "application/x-yaml" | "text/yaml" => yaml_body(&request.body),
        protobuf::CONTENT_TYPE => protobuf_body(&request.body),
        other => Err(ApiError::unsupported_media_type(other, &BODIES)),
    }
}

fn protobuf_body(bytes: &[u8]) -> Result<Body> {
    match protobuf::decode(bytes) {
        Ok(value) => Ok(value.into()),
        Err(protobuf::DecodeError::Malformed) => {
            Err(ApiError::bad_request("the body of the request is not Kubernetes protobuf"))
        }
        Err(protobuf::DecodeError::UnknownKind(kind)) => {
            let found = format!("{}, {kind}", protobuf::CONTENT_TYPE);
            Err(ApiError::unsupported_media_type(&found, &BODIES))
        }
    }
}

/// Returns the delete options of the body and the query.
fn delete_options(request: &Request) -> Result<DeleteOptions> {
    let body = if request.body.trim_ascii().is_empty() {
        Value::Object(serde_json::Map::new())
    } else {
        body(request)?.value
    };
    request.query.delete_options(body)
}

fn json_body(bytes: &[u8]) -> Result<Body> {
    let (value, duplicates) = from_json(bytes, Limits::BODY)
        .map_err(|error| error.answer("the body of the request is not JSON"))?;
    Ok(Body { value, duplicates })
}

fn yaml_body(bytes: &[u8]) -> Result<Body> {
    let value = from_yaml(bytes, Limits::BODY)
        .map_err(|error| error.answer("the body of the request is not YAML"))?;
    Ok(value.into())
}

/// Returns the write options of the requester.
pub(super) fn options(request: &Request) -> Result<WriteOptions> {
    let options = request.query.write_options(&request.headers)?;
    Ok(WriteOptions { who: Some(request.identity.clone()), ..options })
}

fn written(
    resource: &Resource,
    written: &Written,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    let form = request::accepted(&request.headers)?;
    let mut response = read::show(resource, &written.object, written.code, form, &request.query);
    response::warn(&mut response, &written.warnings);
    Ok(response)
}

pub(super) async fn create(
    api: &Arc<Api>,
    resource: &Resource,
    namespace: &str,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    let options = options(request)?;
    let result = api.create(resource, namespace, body(request)?, &options).await?;
    written(resource, &result, request)
}

pub(super) async fn replace(
    api: &Arc<Api>,
    resource: &Resource,
    namespace: &str,
    name: &str,
    subresource: Subresource,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    let options = options(request)?;
    let target = Target { resource, namespace, name, subresource };
    let result = api.replace(target, body(request)?, &options).await?;
    written(resource, &result, request)
}

pub(super) async fn patch(
    api: &Arc<Api>,
    resource: &Resource,
    namespace: &str,
    name: &str,
    subresource: Subresource,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    let options = options(request)?;
    let target = Target { resource, namespace, name, subresource };
    let result = match patch::Patch::parse(target, request)? {
        patch::Patch::Apply(apply) => {
            let may_create = || access::may_create(api, &request.identity, &target);
            apply.run(api, target, &options, may_create).await?
        }
        patch => api.update(target, &options, |old| patch.apply(target, old)).await?,
    };
    written(resource, &result, request)
}

pub(super) async fn delete(
    api: &Arc<Api>,
    resource: &Resource,
    namespace: &str,
    name: &str,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    let options = delete_options(request)?;
    let deleted = api.delete(resource, namespace, name, &options).await?;
    let object = match deleted {
        Deleted::Waiting(object) => object,
        Deleted::Gone(object) => {
            let mut details = json!({"name": name, "kind": &*resource.plural, "uid": &*object.uid});
            if !resource.group.is_empty() {
                details["group"] = (*resource.group).into();
            }
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                "details": details,
            });
            return Ok(response::json(StatusCode::OK, &status));
        }
    };
    let form = request::accepted(&request.headers)?;
    Ok(read::show(resource, &object, StatusCode::OK, form, &request.query))
}

pub(super) async fn delete_collection(
    api: &Arc<Api>,
    resource: &Arc<Resource>,
    namespace: Option<&str>,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    if !resource.has_collection_delete() || (resource.namespaced && namespace.is_none()) {
        return Err(ApiError::method_not_allowed());
    }
    let query = &request.query;
    let options = delete_options(request)?;
    let selector =
        Selector::parse(resource, query.get("labelSelector"), query.get("fieldSelector"))?;
    let (revision, mut objects) = api.store.list(&resource.storage, namespace);
    objects.retain(|object| selector.matches(object));
    let mut items = Vec::new();
    for object in objects {
        let key = &object.key;
        match api.delete(resource, &key.namespace, &key.name, &options).await {
            Ok(Deleted::Gone(object) | Deleted::Waiting(object)) => {
                items.push(object);
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    let metadata = json!({"resourceVersion": revision.to_string()});
    list_stream::list(resource, items, metadata, request::Form::Object, request).await
}
