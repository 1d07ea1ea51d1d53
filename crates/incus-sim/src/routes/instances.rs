//! Instances.

use axum::extract::State;
use std::collections::BTreeMap;

use axum::Json;
use http::HeaderMap;
use incus_api::{
    Config, Devices, Image, Instance, InstanceAction, InstancePost, InstancePut, InstanceStatePut,
    InstancesPost,
};
use serde_json::Value;

use super::{Path, Query, Sim};
use crate::api_error::{ApiError, ApiResult, check_tag, empty, json, started, sync, tagged};
use crate::server_state::{Lifecycle, ServerState, SimInstance};

fn lifecycle(action: &'static str, key: &(String, String)) -> Lifecycle {
    Lifecycle { action, project: key.0.clone(), name: key.1.clone() }
}

pub(crate) async fn list(State(simulator): Sim, query: Query) -> ApiResult {
    let project = query.project();
    let state = simulator.lock();
    let found: Vec<Value> = state
        .instances
        .iter()
        .filter(|((p, _), _)| *p == project || query.all_projects == "true")
        .map(|((_, name), machine)| match query.recursion.as_str() {
            "2" => json(machine.full()),
            "1" => json(&machine.instance),
            _ => format!("/1.0/instances/{name}").into(),
        })
        .collect();
    Ok(sync(found))
}

pub(crate) async fn one(State(simulator): Sim, query: Query, path: Path<String>) -> ApiResult {
    let state = simulator.lock();
    let machine = state.instances.get(&query.key(&path)).ok_or_else(missing)?;
    if query.recursion == "1" {
        return Ok(tagged(machine.full()));
    }
    Ok(tagged(&machine.instance))
}

fn missing() -> ApiError {
    ApiError::not_found("Instance")
}

pub(crate) async fn create(
    State(simulator): Sim,
    query: Query,
    Json(mut post): Json<InstancesPost>,
) -> ApiResult {
    if post.name.is_empty() {
        post.name = format!("i-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    }
    let key = query.key(&post.name);
    let (project, name, start) = (query.project(), post.name.clone(), post.start);
    let taken = {
        let mut state = simulator.lock();
        let image = image_of(&state, &key.0, &post)?;
        let taken = state.instances.contains_key(&key);
        if !taken {
            let machine = make(&state, &key.0, post, image);
            state.instances.insert(key.clone(), machine);
        }
        taken
    };
    let made = key.clone();
    let effect = move |state: &mut ServerState| {
        if taken {
            return Err(format!("Instance \"{}\" already exists", key.1));
        }
        if state.conditions.full {
            state.instances.remove(&key);
            state.rolled_back.push(lifecycle("instance-deleted", &key));
            return Err("Failed creating instance from image: Failed to unpack image: write /var/lib/incus/storage-pools/default/containers: no space left on device".into());
        }
        let machine = state.instances.get_mut(&key).ok_or("Instance not found")?;
        machine.creating = false;
        machine.instance.config.insert("volatile.apply_template".into(), "create".into());
        if start {
            run(state, &key)?;
            return Ok(vec![lifecycle("instance-started", &key)]);
        }
        Ok(Vec::new())
    };
    let operation = simulator.start("Creating instance", &project, &name, Box::new(effect));
    if !taken {
        simulator.publish(&[lifecycle("instance-created", &made)]);
    }
    Ok(started(&operation))
}

fn image_of(
    state: &ServerState,
    project: &str,
    post: &InstancesPost,
) -> Result<Option<Image>, ApiError> {
    let source = &post.source;
    if source.kind != "image" || !source.server.is_empty() {
        return Ok(None);
    }
    let fingerprint = if source.alias.is_empty() {
        source.fingerprint.clone()
    } else {
        let alias = (project.to_owned(), source.alias.clone());
        let entry = state.aliases.get(&alias);
        entry.ok_or_else(|| ApiError::not_found("Image alias"))?.target.clone()
    };
    let image = state
        .images
        .iter()
        .find(|((p, f), _)| p == project && f.starts_with(&fingerprint))
        .map(|(_, image)| image.clone());
    image.map(Some).ok_or_else(|| ApiError::not_found("Image"))
}

fn make(
    state: &ServerState,
    project: &str,
    post: InstancesPost,
    image: Option<Image>,
) -> SimInstance {
    let mut config = post.config;
    if let Some(image) = &image {
        config.insert("volatile.base_image".into(), image.fingerprint.clone());
        let properties = &image.properties;
        config.extend(properties.iter().map(|(k, v)| (format!("image.{k}"), v.clone())));
    }
    let instance = Instance {
        name: post.name,
        project: project.to_owned(),
        description: post.description,
        instance_type: post.instance_type,
        architecture: "x86_64".into(),
        location: "none".into(),
        created_at: "2026-01-01T00:00:00Z".into(),
        ephemeral: post.ephemeral,
        profiles: post.profiles.unwrap_or_else(|| vec!["default".into()]),
        config,
        devices: post.devices,
        ..Instance::default()
    };
    let mut machine = SimInstance {
        instance,
        state: incus_api::InstanceState::default(),
        metadata: incus_api::ImageMetadata::default(),
        templates: BTreeMap::new(),
        files: BTreeMap::new(),
        creating: true,
    };
    machine.set_running(None);
    machine.instance.config.remove("volatile.last_state.power");
    expand(state, &mut machine.instance);
    machine
}

/// Merges the profiles into all instances again.
pub(super) fn expand_all(state: &mut ServerState) {
    let keys: Vec<_> = state.instances.keys().cloned().collect();
    for key in keys {
        let Some(mut instance) = state.instances.get(&key).map(|it| it.instance.clone()) else {
            continue;
        };
        expand(state, &mut instance);
        if let Some(machine) = state.instances.get_mut(&key) {
            machine.instance = instance;
        }
    }
}

/// Merges the profiles, then the configuration of the instance.
fn expand(state: &ServerState, instance: &mut Instance) {
    let (mut config, mut devices) = (Config::new(), Devices::new());
    for name in &instance.profiles {
        let key = ("profiles", instance.project.clone(), name.clone());
        let Some(profile) = state.generic.get(&key) else { continue };
        let part = |field: &str| profile.get(field).cloned().unwrap_or_default();
        config.extend(serde_json::from_value::<Config>(part("config")).unwrap_or_default());
        devices.extend(serde_json::from_value::<Devices>(part("devices")).unwrap_or_default());
    }
    config.extend(instance.config.clone());
    devices.extend(instance.devices.clone());
    instance.expanded_config = config;
    instance.expanded_devices = devices;
}

fn run(state: &mut ServerState, key: &(String, String)) -> Result<(), String> {
    state.addresses += 1;
    let address = format!("10.99.{}.{}", state.addresses / 250, state.addresses % 250 + 2);
    let machine = state.instances.get_mut(key).ok_or("Instance not found")?;
    machine.set_running(Some(address));
    Ok(())
}

pub(crate) async fn put(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    headers: HeaderMap,
    Json(put): Json<InstancePut>,
) -> ApiResult {
    let key = query.key(&path);
    check_tag(&headers, &simulator.lock().instances.get(&key).ok_or_else(missing)?.instance)?;
    let effect = move |state: &mut ServerState| {
        change(state, &key, |instance| {
            instance.config = put.config;
            instance.devices = put.devices;
            instance.description = put.description;
            instance.ephemeral = put.ephemeral;
            instance.profiles = put.profiles.unwrap_or_default();
        })?;
        Ok(vec![lifecycle("instance-updated", &key)])
    };
    let operation = simulator.start("Updating instance", &query.project(), &path, Box::new(effect));
    Ok(started(&operation))
}

pub(crate) async fn patch(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> ApiResult {
    let key = query.key(&path);
    {
        let mut state = simulator.lock();
        check_tag(&headers, &state.instances.get(&key).ok_or_else(missing)?.instance)?;
        let part = |field: &str| body.get(field).cloned();
        let config: Option<Config> = part("config").and_then(|v| serde_json::from_value(v).ok());
        let devices: Option<Devices> = part("devices").and_then(|v| serde_json::from_value(v).ok());
        let profiles: Option<Vec<String>> =
            part("profiles").and_then(|v| serde_json::from_value(v).ok());
        let description = part("description").and_then(|v| v.as_str().map(str::to_owned));
        change(&mut state, &key, |instance| {
            instance.config.extend(config.unwrap_or_default());
            instance.config.retain(|_, value| !value.is_empty());
            instance.devices.extend(devices.unwrap_or_default());
            if let Some(profiles) = profiles {
                instance.profiles = profiles;
            }
            if let Some(description) = description {
                instance.description = description;
            }
        })
        .map_err(ApiError::bad)?;
    }
    simulator.publish(&[lifecycle("instance-updated", &key)]);
    Ok(empty())
}

fn change(
    state: &mut ServerState,
    key: &(String, String),
    change: impl FnOnce(&mut Instance),
) -> Result<(), String> {
    let machine = state.instances.get_mut(key).ok_or("Instance not found")?;
    change(&mut machine.instance);
    let mut instance = machine.instance.clone();
    expand(state, &mut instance);
    if let Some(machine) = state.instances.get_mut(key) {
        machine.instance = instance;
    }
    Ok(())
}

pub(crate) async fn rename(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    Json(post): Json<InstancePost>,
) -> ApiResult {
    let (key, new) = (query.key(&path), query.key(&post.name));
    if !simulator.lock().instances.contains_key(&key) {
        return Err(missing());
    }
    let effect = move |state: &mut ServerState| {
        if state.instances.contains_key(&new) {
            return Err(format!("Instance \"{}\" already exists", new.1));
        }
        let mut machine = state.instances.remove(&key).ok_or("Instance not found")?;
        machine.instance.name = new.1.clone();
        state.instances.insert(new.clone(), machine);
        Ok(vec![lifecycle("instance-renamed", &new)])
    };
    let operation = simulator.start("Renaming instance", &query.project(), &path, Box::new(effect));
    Ok(started(&operation))
}

/// Rejects work on an instance that is being created.
fn free(state: &ServerState, key: &(String, String)) -> Result<(), String> {
    match state.instances.get(key) {
        Some(machine) if machine.creating => {
            Err("Instance is busy running a \"create\" operation".into())
        }
        _ => Ok(()),
    }
}

pub(crate) async fn delete(State(simulator): Sim, query: Query, path: Path<String>) -> ApiResult {
    let key = query.key(&path);
    let running = simulator.lock().instances.get(&key).ok_or_else(missing)?.instance.is_running();
    if running {
        return Err(ApiError::bad("Instance is running"));
    }
    let effect = move |state: &mut ServerState| {
        free(state, &key)?;
        state.instances.remove(&key).ok_or("Instance not found")?;
        Ok(vec![lifecycle("instance-deleted", &key)])
    };
    let operation = simulator.start("Deleting instance", &query.project(), &path, Box::new(effect));
    Ok(started(&operation))
}

pub(crate) async fn state(State(simulator): Sim, query: Query, path: Path<String>) -> ApiResult {
    let state = simulator.lock();
    Ok(tagged(&state.instances.get(&query.key(&path)).ok_or_else(missing)?.state))
}

pub(crate) async fn set_state(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    Json(put): Json<InstanceStatePut>,
) -> ApiResult {
    let key = query.key(&path);
    if !simulator.lock().instances.contains_key(&key) {
        return Err(missing());
    }
    let description = match put.action {
        InstanceAction::Start => "Starting instance",
        InstanceAction::Stop => "Stopping instance",
        InstanceAction::Restart => "Restarting instance",
        InstanceAction::Freeze => "Freezing instance",
        InstanceAction::Unfreeze => "Unfreezing instance",
    };
    let effect = move |state: &mut ServerState| {
        free(state, &key)?;
        let machine = state.instances.get_mut(&key).ok_or("Instance not found")?;
        let running = machine.instance.is_running();
        let told = match (put.action, running) {
            (InstanceAction::Start, true) => return Err("The instance is already running".into()),
            (InstanceAction::Stop, false) => return Err("The instance is already stopped".into()),
            (InstanceAction::Start | InstanceAction::Restart, _) => {
                run(state, &key)?;
                "instance-started"
            }
            (InstanceAction::Stop, true) => {
                machine.set_running(None);
                if put.force { "instance-stopped" } else { "instance-shutdown" }
            }
            (InstanceAction::Freeze | InstanceAction::Unfreeze, _) => {
                return Err("The simulator does not freeze".into());
            }
        };
        Ok(vec![lifecycle(told, &key)])
    };
    let operation = simulator.start(description, &query.project(), &path, Box::new(effect));
    Ok(started(&operation))
}
