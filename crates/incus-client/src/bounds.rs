//! How much of a server's answer is read, by route.
//!
//! A client may be one of many in a small process, and the server anybody's. So an answer is as long as
//! answers of its route are, what is made of it has so many parts, and the long ones take turns.

use std::sync::{Arc, LazyLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::route::route;

/// A refusal: an envelope around one sentence.
pub(crate) const REFUSAL: usize = 64 << 10;
/// A message of a WebSocket: an event, or a piece of what a command writes (128 KiB at most).
pub(crate) const MESSAGE: usize = 1 << 20;
/// Values in an answer, as many as in some thousand instances. Each takes about a hundred bytes.
const PARTS: usize = 200_000;
/// Answers up to this length are read without waiting for others.
const SHORT: usize = 128 << 10;
/// How many longer ones there are at once in this process.
const TURNS: usize = 2;

static LONG: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(TURNS)));

/// Longest answer to a request for a path (with or without a query), in bytes.
pub(crate) fn longest(path: &str) -> usize {
    match route(path) {
        // What a server that does not know us yet says.
        "/1.0" => 256 << 10,
        // Lists, with everything in them.
        "/1.0/certificates"
        | "/1.0/images"
        | "/1.0/images/aliases"
        | "/1.0/instances"
        | "/1.0/networks"
        | "/1.0/networks/{name}/leases"
        | "/1.0/networks/{name}/load-balancers"
        | "/1.0/operations"
        | "/1.0/profiles"
        | "/1.0/projects"
        | "/1.0/storage-pools" => 8 << 20,
        // Files, which are not parsed.
        "/1.0/instances/{name}/console"
        | "/1.0/instances/{name}/files"
        | "/1.0/instances/{name}/logs/{file}"
        | "/1.0/instances/{name}/metadata/templates" => 16 << 20,
        // One object. The data of cloud-init in an instance may be some megabytes.
        _ => 4 << 20,
    }
}

/// Whether JSON has few enough parts to be made into values. Also says so of what is no JSON.
pub(crate) fn is_small(json: &[u8]) -> bool {
    let (mut parts, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => parts += 1,
            _ => {}
        }
    }
    parts <= PARTS
}

/// The turn of an answer that is as long as this; `None`: it needs none.
pub(crate) async fn turn(read: usize) -> Option<OwnedSemaphorePermit> {
    if read <= SHORT {
        return None;
    }
    // It is never closed.
    LONG.clone().acquire_owned().await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_long_as_answers_of_its_route_are() {
        for (path, expected) in [
            ("/1.0", 256 << 10),
            ("/1.0?project=lab", 256 << 10),
            ("/1.0/instances?recursion=2", 8 << 20),
            ("/1.0/instances/web?recursion=1", 4 << 20),
            ("/1.0/instances/web/files?path=/x", 16 << 20),
            ("/1.0/operations/7/wait?timeout=1", 4 << 20),
            ("/somewhere", 4 << 20),
        ] {
            assert_eq!(longest(path), expected, "{path}");
        }
    }

    #[test]
    fn parts_are_counted_outside_of_texts() {
        assert!(is_small(format!("[{}0]", "0,".repeat(PARTS - 1)).as_bytes()));
        assert!(!is_small(format!("[{}0]", "0,".repeat(PARTS)).as_bytes()));
        assert!(!is_small(format!("[\"\\\"\",{}0]", "[],".repeat(PARTS)).as_bytes()));
        assert!(is_small(format!("[\"{}\"]", ",[{".repeat(PARTS)).as_bytes()));
        assert!(is_small(format!("[\"\\\"{}\"]", ",[{".repeat(PARTS)).as_bytes()));
    }
}
