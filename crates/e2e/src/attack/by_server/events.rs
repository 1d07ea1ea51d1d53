//! Event streams of an Incus server.

use std::sync::Arc;

use crate::attack::fixture::Fixture;
use crate::attack::hostile::{Hostile, Reply, json_reply};
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::text::nested;

use super::answers::{about, point};

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("event streams of Incus servers", Attacker::Server, Target::Serve)
        .gate("frames and messages of a WebSocket are bounded, and events are taken at a pace")
        .add("a frame that says it is 2^62 bytes", |s| {
            stream(s, vec![0x81, 0x7f, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
        })
        .add("a message in fragments without an end", |s| stream(s, frame(0x00, &"a".repeat(60_000))))
        .add("a message of 60 MB", |s| stream(s, frame(0x81, &"a".repeat(60_000_000))))
        .add("events without an end", |s| {
            stream(s, frame(0x81, r#"{"type":"lifecycle","project":"default","metadata":{"action":"instance-started","source":"/1.0/instances/attack"}}"#))
        })
        .add("an event that is nested 20,000 deep", |s| {
            stream(s, frame(0x81, &format!(r#"{{"type":"lifecycle","metadata":{}}}"#, nested("[", 20_000, "", "]"))))
        })
        .add("pings without an end", |s| stream(s, vec![0x89, 0x00]))
        .end()
}

/// A frame of a server; not masked.
fn frame(first: u8, text: &str) -> Vec<u8> {
    let mut bytes = vec![first];
    match text.len() {
        length @ 0..=125 => bytes.extend(u8::try_from(length)),
        length @ 126..=65535 => {
            bytes.push(126);
            bytes.extend(u16::try_from(length).unwrap_or_default().to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend(u64::try_from(length).unwrap_or_default().to_be_bytes());
        }
    }
    bytes.extend(text.as_bytes());
    bytes
}

async fn stream(fixture: Arc<Fixture>, again: Vec<u8>) -> AttackResult {
    // Many small frames at once, so that the receiver is the slow side.
    let again = match again.len() {
        length if length < 4096 => again.repeat(4096 / length),
        _ => again,
    };
    let hostile = Hostile::start(move |path| match path.split('?').next() {
        Some("/1.0") => json_reply(&about().to_string()),
        Some("/1.0/events") => Reply::WebSocket(again.clone()),
        _ => json_reply(r#"{"type":"error","error":"not found","error_code":404}"#),
    })
    .await?;
    point(&fixture, &hostile).await?;
    fixture.keep(hostile);
    Ok(())
}
