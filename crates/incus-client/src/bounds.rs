//! Size limits for responses, by route.
//!
//! The client may be one of many in a small process, and the server may be untrusted. The size of a
//! response is limited by its route, the number of parsed values is limited, and large responses
//! are read a few at a time.

use std::sync::{Arc, LazyLock};

use group_limits::limiter::{KeyedLimiter, Slot};
use group_limits::weight::Weight;

use crate::route::route;

/// Maximum size of an error response, in bytes.
pub(crate) const ERROR_BODY: usize = 64 << 10;
/// Maximum size of a WebSocket message, in bytes: an event (a few kilobytes), or a chunk of command
/// output (at most 128 KiB). A server may leave as many messages incomplete as it has streams.
pub(crate) const MESSAGE: usize = 160 << 10;
/// Maximum number of values in a list of full objects, counted by [`Weight`]: more than a thousand
/// instances.
const MAX_VALUES_OF_LIST: usize = 1_000_000;
/// Maximum number of values in any other response, which may be kept for a while: an instance with
/// several hundred network interfaces.
const MAX_VALUES: usize = 100_000;
/// Responses up to this size are read without waiting for others, in bytes.
const SMALL_BODY: usize = 128 << 10;
/// Maximum number of large responses of a group of clients at a time.
const MAX_LARGE_BODIES: usize = 2;

static LARGE_BODIES: LazyLock<KeyedLimiter<Arc<str>>> =
    LazyLock::new(|| KeyedLimiter::new(MAX_LARGE_BODIES));

/// Whether a route returns a list of full objects.
fn is_list(route: &str) -> bool {
    matches!(
        route,
        "/1.0/certificates"
            | "/1.0/images"
            | "/1.0/images/aliases"
            | "/1.0/instances"
            | "/1.0/network-acls"
            | "/1.0/networks"
            | "/1.0/networks/{name}/leases"
            | "/1.0/networks/{name}/load-balancers"
            | "/1.0/operations"
            | "/1.0/profiles"
            | "/1.0/projects"
            | "/1.0/storage-pools"
    )
}

/// Returns the maximum size of a response by path (with or without a query), in bytes.
pub(crate) fn max_body(path: &str) -> usize {
    match route(path) {
        // What a server returns to an untrusted client.
        "/1.0" => 256 << 10,
        list if is_list(list) => 8 << 20,
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
///
/// `reads` says whether the request only reads: other requests are answered with one object, also
/// on the route of a list.
pub(crate) fn is_small(path: &str, reads: bool, json: &[u8]) -> bool {
    let max = if reads && is_list(route(path)) { MAX_VALUES_OF_LIST } else { MAX_VALUES };
    let mut weight = Weight::default();
    weight.add(json);
    weight.values <= max
}

/// Returns a permit for a response of this size to a client of a group; `None` when it is small.
pub(crate) async fn large_body_permit(read: usize, group: &Arc<str>) -> Option<Slot> {
    if read <= SMALL_BODY {
        return None;
    }
    Some(LARGE_BODIES.enter(Arc::clone(group)).await)
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
    fn values_are_limited_by_route_and_request() {
        let array = |values: usize| format!("[{}0]", "0,".repeat(values - 8));
        let (long, short) = (array(MAX_VALUES_OF_LIST), array(MAX_VALUES));
        let list = "/1.0/instances?recursion=2";
        assert!(is_small(list, true, long.as_bytes()));
        assert!(!is_small(list, true, format!("[{long}]").as_bytes()));
        let of_one = [("/1.0/instances/web?recursion=1", true), (list, false)];
        let others = [("/1.0/cluster/members?recursion=1", true), ("/1.0/operations/7", true)];
        for (path, reads) in of_one.into_iter().chain(others) {
            assert!(is_small(path, reads, short.as_bytes()), "{path}");
            assert!(!is_small(path, reads, format!("[{short}]").as_bytes()), "{path}");
        }
        let text = format!("[\"{}\"]", ",[{".repeat(MAX_VALUES));
        assert!(is_small("/1.0/instances/web", true, text.as_bytes()));
    }
}
