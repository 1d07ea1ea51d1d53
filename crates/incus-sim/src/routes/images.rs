//! Images and aliases.

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use http::HeaderMap;
use incus_api::{
    Config, Image, ImageAlias, ImageAliasesEntry, ImageAliasesPost, ImagePut, ImagesPost,
};
use serde_json::Value;

use super::{Path, Query, Sim};
use crate::refusal::{Answer, Refusal, check_tag, empty, started, sync, tagged};
use crate::world::World;

fn missing() -> Refusal {
    Refusal::not_found("Image")
}

/// The image with the aliases that point to it.
fn with_aliases(world: &World, project: &str, image: &Image) -> Image {
    let aliases = world
        .aliases
        .iter()
        .filter(|((p, _), entry)| p == project && entry.target == image.fingerprint)
        .map(|((_, name), _)| ImageAlias::named(name))
        .collect();
    Image { aliases, ..image.clone() }
}

/// By fingerprint, or a prefix of it.
fn find<'a>(world: &'a World, project: &str, fingerprint: &str) -> Result<&'a Image, Refusal> {
    let mut found = world
        .images
        .iter()
        .filter(|((p, f), _)| p == project && f.starts_with(fingerprint))
        .map(|(_, image)| image);
    found.next().ok_or_else(missing)
}

pub(crate) async fn list(State(simulator): Sim, query: Query) -> Answer {
    let project = query.project();
    let world = simulator.lock();
    let found: Vec<Image> = world
        .images
        .iter()
        .filter(|((p, _), _)| *p == project)
        .map(|(_, image)| with_aliases(&world, &project, image))
        .collect();
    Ok(sync(found))
}

pub(crate) async fn one(State(simulator): Sim, query: Query, path: Path<String>) -> Answer {
    let world = simulator.lock();
    let image = find(&world, &query.project(), &path)?;
    Ok(tagged(with_aliases(&world, &query.project(), image)))
}

/// An upload, whose content is not looked at, or a copy from elsewhere, which always succeeds.
pub(crate) async fn create(
    State(simulator): Sim,
    query: Query,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let header = |name: &str| {
        let value = headers.get(format!("X-Incus-{name}")).and_then(|v| v.to_str().ok());
        value.map(str::to_owned)
    };
    let mut image = Image {
        fingerprint: uuid::Uuid::new_v4().simple().to_string().repeat(2),
        architecture: "x86_64".into(),
        project: query.project(),
        size: body.len() as u64,
        ..Image::default()
    };
    let mut aliases = Vec::new();
    let json = headers.get("content-type").is_some_and(|t| t.as_bytes() == b"application/json");
    if json {
        let post: ImagesPost =
            serde_json::from_slice(&body).map_err(|e| Refusal::bad(e.to_string()))?;
        image.properties = post.properties;
        image.public = post.public;
        aliases = post.aliases;
    } else {
        image.fingerprint = header("fingerprint").unwrap_or(image.fingerprint);
        image.public = header("public").as_deref() == Some("true");
        image.properties = form_decode(&header("properties").unwrap_or_default());
    }
    let project = query.project();
    let effect = move |world: &mut World| {
        let key = (project.clone(), image.fingerprint.clone());
        if world.images.contains_key(&key) {
            return Err("Image with same fingerprint already exists".into());
        }
        for alias in aliases {
            let entry = ImageAliasesEntry {
                name: alias.name.clone(),
                target: image.fingerprint.clone(),
                ..ImageAliasesEntry::default()
            };
            world.aliases.insert((project.clone(), alias.name), entry);
        }
        world.images.insert(key, image);
        Ok(Vec::new())
    };
    let operation = simulator.start("Downloading image", &query.project(), "", Box::new(effect));
    Ok(started(&operation))
}

fn form_decode(text: &str) -> Config {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
            match byte {
                b'%' => match (hex(rest.next()), hex(rest.next())) {
                    (Some(high), Some(low)) => bytes.extend(u8::try_from(high * 16 + low)),
                    _ => bytes.push(b'%'),
                },
                b'+' => bytes.push(b' '),
                other => bytes.push(other),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

pub(crate) async fn put(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    headers: HeaderMap,
    Json(put): Json<ImagePut>,
) -> Answer {
    let project = query.project();
    let mut world = simulator.lock();
    let image = find(&world, &project, &path)?;
    check_tag(&headers, with_aliases(&world, &project, image))?;
    let key = (project, image.fingerprint.clone());
    let image = world.images.get_mut(&key).ok_or_else(missing)?;
    image.properties = put.properties;
    image.public = put.public;
    image.auto_update = put.auto_update;
    Ok(empty())
}

pub(crate) async fn delete(State(simulator): Sim, query: Query, path: Path<String>) -> Answer {
    let project = query.project();
    let fingerprint = find(&simulator.lock(), &project, &path)?.fingerprint.clone();
    let effect = move |world: &mut World| {
        world.aliases.retain(|(p, _), entry| *p != project || entry.target != fingerprint);
        world.images.remove(&(project, fingerprint)).ok_or("Image not found")?;
        Ok(Vec::new())
    };
    let operation = simulator.start("Deleting image", &query.project(), "", Box::new(effect));
    Ok(started(&operation))
}

pub(crate) async fn aliases(State(simulator): Sim, query: Query) -> Answer {
    let project = query.project();
    let world = simulator.lock();
    let found = world.aliases.iter().filter(|((p, _), _)| *p == project).map(|(_, entry)| entry);
    Ok(sync(found.collect::<Vec<_>>()))
}

pub(crate) async fn alias(State(simulator): Sim, query: Query, path: Path<String>) -> Answer {
    let world = simulator.lock();
    let entry = world.aliases.get(&query.key(&path));
    entry.map(tagged).ok_or_else(|| Refusal::not_found("Image alias"))
}

pub(crate) async fn create_alias(
    State(simulator): Sim,
    query: Query,
    Json(post): Json<ImageAliasesPost>,
) -> Answer {
    let mut world = simulator.lock();
    find(&world, &query.project(), &post.target)?;
    let key = query.key(&post.name);
    if world.aliases.contains_key(&key) {
        return Err(Refusal::conflict(format!("Alias \"{}\"", post.name)));
    }
    let entry = ImageAliasesEntry {
        name: post.name,
        description: post.description,
        target: post.target,
        image_type: post.image_type,
    };
    world.aliases.insert(key, entry);
    Ok(empty())
}

pub(crate) async fn move_alias(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
    Json(body): Json<Value>,
) -> Answer {
    let target = body.get("target").and_then(Value::as_str).unwrap_or_default();
    let mut world = simulator.lock();
    let target = find(&world, &query.project(), target)?.fingerprint.clone();
    let entry = world.aliases.get_mut(&query.key(&path));
    entry.ok_or_else(|| Refusal::not_found("Image alias"))?.target = target;
    Ok(empty())
}

pub(crate) async fn delete_alias(
    State(simulator): Sim,
    query: Query,
    path: Path<String>,
) -> Answer {
    let removed = simulator.lock().aliases.remove(&query.key(&path));
    removed.map(|_| empty()).ok_or_else(|| Refusal::not_found("Image alias"))
}
