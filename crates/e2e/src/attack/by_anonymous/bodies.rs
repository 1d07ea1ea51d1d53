//! Request bodies from unauthenticated clients.

use std::sync::Arc;
use std::time::Duration;

use super::raw::many;
use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("bodies of unauthenticated clients", Attacker::Anonymous, Target::Serve)
        .gate("who is it, then what may it, then its body: nothing is read before")
        .add("ten bodies in chunks of one byte to /healthz", |s| chunks(s, "/healthz", 10))
        .add("ten bodies in chunks of one byte to the Secrets", |s| {
            chunks(s, "/api/v1/namespaces/canary/secrets", 10)
        })
        .add("120 bodies of 3 MB to /version", |s| {
            let body = "a".repeat(3_000_000);
            send(s, 120, format!("POST /version HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
        })
        .add("a body that says it is 2^63 long", |s| {
            send(s, 20, "POST /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 9223372036854775807\r\n\r\naaaa".into())
        })
        .add("chunks with extensions of a megabyte", |s| {
            let chunk = format!("1;a={}\r\na\r\n", "b".repeat(1_000_000));
            send(s, 10, format!("POST /healthz HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(2)))
        })
        .add("trailers of a megabyte", |s| {
            let trailers = "x-a: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(26_000);
            send(s, 10, format!("POST /healthz HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{trailers}\r\n"))
        })
        .who(Attacker::Tenant)
        .gate("bodies are read into one buffer, and bytes of one user's requests in flight are counted")
        .add("bodies in chunks of one byte", one_by_one)
        .add("80 bodies of two users that come a little at a time", two_users)
        .end()
}

async fn send(fixture: Arc<Fixture>, connections: usize, text: String) -> AttackResult {
    many(&fixture.anonymous, connections, text.as_bytes(), Duration::from_secs(10)).await
}

async fn chunks(fixture: Arc<Fixture>, path: &str, connections: usize) -> AttackResult {
    let text = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{}",
        "1\r\na\r\n".repeat(2_000_000)
    );
    many(&fixture.anonymous, connections, text.as_bytes(), Duration::from_secs(8)).await
}

async fn one_by_one(fixture: Arc<Fixture>) -> AttackResult {
    let text = format!(
        "POST {} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{}",
        fixture.core("configmaps"),
        "1\r\n \r\n".repeat(1_500_000)
    );
    many(&fixture.tenant, 8, text.as_bytes(), Duration::from_secs(5)).await
}

/// Requests that never complete.
async fn two_users(fixture: Arc<Fixture>) -> AttackResult {
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let text = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 3000000\r\n\r\n{}",
            " ".repeat(2_900_000)
        )
    };
    let (one, other) = (text(&fixture.core("configmaps")), text(definitions));
    let patience = Duration::from_secs(12);
    let (first, second) = tokio::join!(
        many(&fixture.tenant, 40, one.as_bytes(), patience),
        many(&fixture.definer, 40, other.as_bytes(), patience)
    );
    first.and(second)
}
