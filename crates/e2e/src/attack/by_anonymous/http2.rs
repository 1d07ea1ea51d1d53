//! Frames of HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::attack::client::ApiClient;
use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("HTTP/2", Attacker::Anonymous, Target::Serve)
        .gate("streams, resets, frames and windows of a connection are bounded")
        .add("30,000 streams that are reset at once", |s| {
            flood(s, false, 4, 30_000, |n| [headers(stream(n), GET, 5), reset(stream(n))].concat())
        })
        .add("200,000 pings", |s| flood(s, false, 2, 200_000, |_| frame(6, 0, 0, &[0; 8])))
        .add("100,000 settings", |s| {
            flood(s, false, 2, 100_000, |_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 9]))
        })
        .add("headers that are continued without an end", |s| {
            flood(s, false, 4, 3000, |n| match n {
                0 => headers(1, GET, 0),
                _ => frame(9, 0, 1, &LITERAL.repeat(300)),
            })
        })
        .add("100,000 empty frames of data", |s| {
            flood(s, false, 4, 100_000, |n| match n {
                0 => headers(1, POST, 4),
                _ => frame(0, 0, 1, &[]),
            })
        })
        .add("windows that are opened a byte at a time", |s| {
            flood(s, false, 2, 100_000, |_| frame(8, 0, 0, &[0, 0, 0, 1]))
        })
        .add("headers whose table is changed again and again", |s| {
            flood(s, false, 2, 20_000, |n| {
                headers(stream(n), &[&[0x3f, 0xe1, 0x1f, 0x20], GET].concat(), 5)
            })
        })
        .add("priorities by the hundred thousand", |s| {
            flood(s, false, 2, 100_000, |n| frame(2, 0, stream(n), &[0, 0, 0, 0, 1]))
        })
        .add("a frame that says it is 16 MB", |s| {
            flood(s, false, 20, 1, |_| vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1])
        })
        .add("connections that only say hello", |s| flood(s, false, 300, 0, |_| Vec::new()))
        .who(Attacker::Tenant)
        .add("30,000 streams of a tenant that are reset at once", |s| {
            flood(s, true, 2, 30_000, |n| [headers(stream(n), GET, 5), reset(stream(n))].concat())
        })
        .end()
}

/// `:method GET`, `:scheme https`, `:path /healthz`, `:authority a`.
const GET: &[u8] = b"\x82\x87\x04\x08/healthz\x01\x01a";
/// The same with POST.
const POST: &[u8] = b"\x83\x87\x04\x08/healthz\x01\x01a";
/// A literal header without indexing: `x-a: aaaaaaaaaaaaaaaa`.
const LITERAL: &[u8] = b"\x00\x03x-a\x10aaaaaaaaaaaaaaaa";

fn stream(number: usize) -> u32 {
    u32::try_from(number).unwrap_or_default() * 2 + 1
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn headers(stream: u32, block: &[u8], flags: u8) -> Vec<u8> {
    frame(1, flags, stream, block)
}

fn reset(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &[0, 0, 0, 8])
}

/// Sends `count` frames, each made from a number, over several connections. Reads nothing.
async fn flood(
    fixture: Arc<Fixture>,
    known: bool,
    connections: usize,
    count: usize,
    make: impl Fn(usize) -> Vec<u8>,
) -> AttackResult {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    for number in 0..count {
        bytes.extend(make(number));
    }
    let caller = if known { &fixture.tenant } else { &fixture.anonymous };
    let all = (0..connections).map(|_| send(&fixture, caller, &bytes));
    futures::future::join_all(all).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(())
}

async fn send(fixture: &Fixture, caller: &ApiClient, bytes: &[u8]) {
    let Ok(mut stream) = caller.stream_h2().await else { return };
    // A connection closed by the server is the expected outcome.
    drop(timeout(Duration::from_secs(3), stream.write_all(bytes)).await);
    fixture.keep(stream);
}
