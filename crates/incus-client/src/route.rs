//! Routes for metrics: each request maps to one of a fixed list of paths without names.

/// Routes that this client uses, as in the documentation of the servers.
const ROUTES: [&str; 40] = [
    "/1.0",
    "/1.0/certificates",
    "/1.0/certificates/{fingerprint}",
    "/1.0/cluster",
    "/1.0/cluster/members",
    "/1.0/events",
    "/1.0/images",
    "/1.0/images/aliases",
    "/1.0/images/aliases/{name}",
    "/1.0/images/{fingerprint}",
    "/1.0/images/{fingerprint}/export",
    "/1.0/instances",
    "/1.0/instances/{name}",
    "/1.0/instances/{name}/console",
    "/1.0/instances/{name}/exec",
    "/1.0/instances/{name}/files",
    "/1.0/instances/{name}/logs/{file}",
    "/1.0/instances/{name}/metadata",
    "/1.0/instances/{name}/metadata/templates",
    "/1.0/instances/{name}/state",
    "/1.0/network-acls",
    "/1.0/network-acls/{name}",
    "/1.0/networks",
    "/1.0/networks/{name}",
    "/1.0/networks/{name}/leases",
    "/1.0/networks/{name}/load-balancers",
    "/1.0/networks/{name}/load-balancers/{address}",
    "/1.0/networks/{name}/state",
    "/1.0/operations",
    "/1.0/operations/{id}",
    "/1.0/operations/{id}/wait",
    "/1.0/operations/{id}/websocket",
    "/1.0/profiles",
    "/1.0/profiles/{name}",
    "/1.0/projects",
    "/1.0/projects/{name}",
    "/1.0/resources",
    "/1.0/storage-pools",
    "/1.0/storage-pools/{name}",
    "/1.0/storage-pools/{name}/resources",
];

/// Returns the route of a path with or without a query; `other` when unknown.
pub(crate) fn route(path: &str) -> &'static str {
    let path = path.split('?').next().unwrap_or_default();
    // A literal segment wins over a name: `aliases` is not an image.
    let fits = |route: &&&str| literals(route, path).is_some();
    let found = ROUTES.iter().filter(fits).max_by_key(|route| literals(route, path));
    found.copied().unwrap_or("other")
}

/// Returns the number of matching literal segments; `None` when the path does not match the route.
fn literals(route: &str, path: &str) -> Option<usize> {
    let mut segments = path.split('/');
    let mut equal = 0;
    for wanted in route.split('/') {
        let segment = segments.next()?;
        if segment == wanted {
            equal += 1;
        } else if !wanted.starts_with('{') || segment.is_empty() {
            return None;
        }
    }
    segments.next().is_none().then_some(equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_omit_names_and_queries() {
        for (path, expected) in [
            ("/1.0", "/1.0"),
            ("/1.0?public", "/1.0"),
            ("/1.0/instances/web?project=lab&recursion=1", "/1.0/instances/{name}"),
            ("/1.0/instances/state/state", "/1.0/instances/{name}/state"),
            ("/1.0/images/aliases", "/1.0/images/aliases"),
            ("/1.0/images/aliases/capn%2Fnode", "/1.0/images/aliases/{name}"),
            ("/1.0/images/0a1b", "/1.0/images/{fingerprint}"),
            ("/1.0/operations/7-7/websocket?secret=hush", "/1.0/operations/{id}/websocket"),
            ("/1.0/instances/a/logs/lxc.log", "/1.0/instances/{name}/logs/{file}"),
            ("/1.0/instances/", "other"),
            ("/2.0/instances", "other"),
            ("", "other"),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
    }
}
