//! The scale subresource.

use std::sync::Arc;

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{Request, request, response, write};
use crate::{
    api::{Api, Body, Subresource, Target},
    json, patch,
    registry::{Resource, Scale},
    service::ResponseBody,
    status::{ApiError, Result},
};

pub(super) async fn serve(
    api: &Arc<Api>,
    resource: &Resource,
    namespace: &str,
    name: &str,
    request: &Request,
) -> Result<Response<ResponseBody>> {
    let Some(scale) = &resource.scale else { return Err(ApiError::no_such_path()) };
    let object = api.get(resource, namespace, name)?;
    let target = Target { resource, namespace, name, subresource: Subresource::None };
    let wanted = match request.method {
        Method::GET => {
            let shown = show(scale, &resource.to_served_value(&object)?);
            return Ok(response::json(StatusCode::OK, &shown));
        }
        Method::PUT => write::body(request)?.value,
        Method::PATCH => {
            let shown = show(scale, &resource.to_served_value(&object)?);
            match patch::Patch::parse(target, request)? {
                patch::Patch::Apply(_) => {
                    let kind = request::content_type(&request.headers);
                    return Err(ApiError::unsupported_media_type(kind, &patch::CUSTOM));
                }
                patch => patch.apply(target, &shown)?.value,
            }
        }
        _ => return Err(ApiError::method_not_allowed()),
    };
    let replicas = wanted.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let error = crate::FieldError::invalid(
            "spec.replicas",
            replicas.into(),
            "must be greater than or equal to 0",
        );
        return Err(ApiError::invalid(resource, name, &[error]));
    }
    let options = write::options(request)?;
    let version = json::text(&wanted, &["metadata", "resourceVersion"]).to_owned();
    let written = api
        .update(target, &options, |old| {
            let mut new = old.clone();
            let path: Vec<&str> = scale.spec.split('.').collect();
            json::set(&mut new, &path, replicas.into());
            if !version.is_empty() {
                json::set(&mut new, &["metadata", "resourceVersion"], version.as_str().into());
            }
            Ok(Body::from(new))
        })
        .await?;
    let shown = show(scale, &resource.to_served_value(&written.object)?);
    Ok(response::json(StatusCode::OK, &shown))
}

fn show(scale: &Scale, object: &Value) -> Value {
    let number = |path: &str| {
        let path: Vec<&str> = path.split('.').collect();
        json::at(object, &path).and_then(Value::as_i64).unwrap_or(0)
    };
    let mut metadata = serde_json::Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = json::at(object, &["metadata", field]) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut shown = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": number(&scale.spec)}, "status": {"replicas": number(&scale.status)},
    });
    if let Some(path) = &scale.selector {
        let path: Vec<&str> = path.split('.').collect();
        if let Some(selector) = json::at(object, &path) {
            shown["status"]["selector"] = selector.clone();
        }
    }
    shown
}
