//! Size limits for responses, by route.
//!
//! The client may be one of many in a small process, and the server may be untrusted. The size of a
//! response is limited by its route, the number of parsed values is limited, and large responses
//! are read a few at a time.

use std::sync::{Arc, LazyLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::route::route;

/// Maximum size of an error response, in bytes.
pub(crate) const ERROR_BODY: usize = 64 << 10;
/// Maximum size of a WebSocket message, in bytes: an event, or a chunk of command output (at most
/// 128 KiB).
pub(crate) const MESSAGE: usize = 1 << 20;
/// Maximum number of values in a response, as many as in several thousand instances. Each takes
/// about a hundred bytes.
const MAX_VALUES: usize = 200_000;
/// Responses up to this size are read without waiting for others, in bytes.
const SMALL_BODY: usize = 128 << 10;
/// Maximum number of large responses in this process at a time.
const MAX_LARGE_BODIES: usize = 2;

static LARGE_BODIES: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(MAX_LARGE_BODIES)));

/// Returns the maximum size of a response by path (with or without a query), in bytes.
pub(crate) fn max_body(path: &str) -> usize {
    match route(path) {
        // What a server returns to an untrusted client.
        "/1.0" => 256 << 10,
        // Lists of full objects.
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
        // One object. The cloud-init data of an instance may take several megabytes.
        _ => 4 << 20,
    }
}

/// Returns whether JSON has few enough values to be parsed. Also checks text that is not JSON.
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
    parts <= MAX_VALUES
}

/// Returns a permit for a response of this size; `None` when it is small.
pub(crate) async fn large_body_permit(read: usize) -> Option<OwnedSemaphorePermit> {
    if read <= SMALL_BODY {
        return None;
    }
    // The semaphore is never closed.
    LARGE_BODIES.clone().acquire_owned().await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_size_is_limited_by_route() {
        for (path, expected) in [
            ("/1.0", 256 << 10),
            ("/1.0?project=lab", 256 << 10),
            ("/1.0/instances?recursion=2", 8 << 20),
            ("/1.0/instances/web?recursion=1", 4 << 20),
            ("/1.0/instances/web/files?path=/x", 16 << 20),
            ("/1.0/operations/7/wait?timeout=1", 4 << 20),
            ("/somewhere", 4 << 20),
        ] {
            assert_eq!(max_body(path), expected, "{path}");
        }
    }

    #[test]
    fn values_are_counted_outside_strings() {
        assert!(is_small(format!("[{}0]", "0,".repeat(MAX_VALUES - 1)).as_bytes()));
        assert!(!is_small(format!("[{}0]", "0,".repeat(MAX_VALUES)).as_bytes()));
        assert!(!is_small(format!("[\"\\\"\",{}0]", "[],".repeat(MAX_VALUES)).as_bytes()));
        assert!(is_small(format!("[\"{}\"]", ",[{".repeat(MAX_VALUES)).as_bytes()));
        assert!(is_small(format!("[\"\\\"{}\"]", ",[{".repeat(MAX_VALUES)).as_bytes()));
    }
}
