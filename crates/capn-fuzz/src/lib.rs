//! Fuzz targets: untrusted bytes for every parser that reads them.
//!
//! [`TARGETS`] are functions that accept any bytes and must return: no panic, no endless loop, no
//! unbounded memory, and their invariants must hold. Two programs call them:
//!
//! * the tests of this crate, with the corpus in `fuzz/corpus` and deterministic mutations of it
//!   ([`mutate`]);
//! * libFuzzer, guided by coverage: `fuzz/run TARGET`.

pub mod mutate;
mod plane;
mod servers;
mod texts;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the target and of its directory in `fuzz/corpus`.
    pub name: &'static str,
    /// Runs the target on bytes.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 24] = [
    Target { name: "json_body", run: plane::json_body },
    Target { name: "yaml_body", run: plane::yaml_body },
    Target { name: "protobuf_body", run: plane::protobuf_body },
    Target { name: "json_patch", run: plane::json_patch },
    Target { name: "merge_patch", run: plane::merge_patch },
    Target { name: "strategic_patch", run: plane::strategic_patch },
    Target { name: "apply", run: plane::apply },
    Target { name: "managed_fields", run: plane::managed_fields },
    Target { name: "selectors", run: plane::selectors },
    Target { name: "paths", run: plane::paths },
    Target { name: "cel_rule", run: plane::cel_rule },
    Target { name: "definition", run: plane::definition },
    Target { name: "haproxy_template", run: texts::haproxy_template },
    Target { name: "cluster_template", run: texts::cluster_template },
    Target { name: "cluster_class", run: texts::cluster_class },
    Target { name: "cloud_config", run: texts::cloud_config },
    Target { name: "file_template", run: texts::file_template },
    Target { name: "container_linux_config", run: texts::container_linux_config },
    Target { name: "words", run: texts::words },
    Target { name: "kubeconfig", run: texts::kubeconfig },
    Target { name: "identity", run: texts::identity },
    Target { name: "simplestreams", run: servers::simplestreams },
    Target { name: "image_archive", run: servers::image_archive },
    Target { name: "incus_answer", run: servers::incus_answer },
];

/// The target with this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

#[cfg(test)]
mod tests;
