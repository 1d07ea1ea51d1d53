//! Foreign bytes for every parser that meets them.
//!
//! [`TARGETS`] are functions that take any bytes and must return: no panic, no endless loop, no memory
//! without bound, and what they say of an object must hold. Two programs give them bytes:
//!
//! * the tests of this crate, with the corpus in `fuzz/corpus` and what [`mutate`] makes of it, the same
//!   bytes each time;
//! * libFuzzer, which looks where new bytes lead: `fuzz/run TARGET`.

pub mod mutate;
mod plane;
mod servers;
mod texts;

/// A parser that meets foreign bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name, and that of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Gives it bytes.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 22] = [
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
    Target { name: "words", run: texts::words },
    Target { name: "kubeconfig", run: texts::kubeconfig },
    Target { name: "identity", run: texts::identity },
    Target { name: "simplestreams", run: servers::simplestreams },
    Target { name: "image_archive", run: servers::image_archive },
    Target { name: "incus_answer", run: servers::incus_answer },
];

/// The target of a name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

#[cfg(test)]
mod tests;
