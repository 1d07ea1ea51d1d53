//! What a restricted project lets its tenants do.
//!
//! An administrator fences a tenant in with a project whose `restricted` is true: the server then
//! refuses everything that would reach the host. The defaults of a node ask for some of that only
//! for convenience; within a fence they are left out, and what a node cannot do without is said
//! before the server is asked.

use capn_api::Isolation;
use incus_api::{Config, Project};

/// The restrictions of a project, as far as a launch depends on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    project: String,
    privileged: bool,
    nesting: bool,
    low_level: bool,
    /// Folders of the host that may be attached: none, these, or (empty) all.
    host_paths: Option<Vec<String>>,
}

impl Default for Fence {
    /// No fence.
    fn default() -> Self {
        Self {
            project: String::new(),
            privileged: true,
            nesting: true,
            low_level: true,
            host_paths: Some(Vec::new()),
        }
    }
}

impl Fence {
    /// The fence of a project. The values for keys that are not set are the server's own
    /// defaults (Incus and LXD documentation, "Project restrictions").
    pub fn of(project: &Project) -> Self {
        let key = |key: &str| get(&project.config, key);
        if !matches!(key("restricted"), "true" | "1" | "yes" | "on") {
            return Self { project: project.name.clone(), ..Self::default() };
        }
        let paths = key("restricted.devices.disk.paths").split(',').map(str::trim);
        let paths = paths.filter(|path| !path.is_empty()).map(str::to_owned);
        Self {
            project: project.name.clone(),
            privileged: key("restricted.containers.privilege") == "allow",
            nesting: key("restricted.containers.nesting") == "allow",
            low_level: key("restricted.containers.lowlevel") == "allow",
            host_paths: (key("restricted.devices.disk") == "allow").then(|| paths.collect()),
        }
    }

    /// Whether an instance may name kernel modules to load, raw settings, and the like.
    pub fn allows_low_level(&self) -> bool {
        self.low_level
    }

    /// Whether a folder or file of the host may be attached.
    pub fn allows_host_path(&self, path: &str) -> bool {
        let Some(allowed) = &self.host_paths else { return false };
        allowed.is_empty()
            || allowed.iter().any(|allowed| {
                path.strip_prefix(allowed.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }

    /// Why no node of this isolation can be made here, and what to do about it.
    pub fn refusal(&self, isolation: Isolation) -> Option<String> {
        let project = &self.project;
        if isolation == Isolation::Privileged && !self.privileged {
            return Some(format!(
                "project {project} is restricted and allows no privileged containers: set spec.unprivileged: true in the LXCCluster (or spec.isolation to shared or isolated), or use an identity for another project"
            ));
        }
        (!self.nesting).then(|| {
            format!(
                "project {project} is restricted and allows no nesting, without which no container starts in a node: whoever looks after the server can allow it with `incus project set {project} restricted.containers.nesting=allow`"
            )
        })
    }
}

fn get<'a>(config: &'a Config, key: &str) -> &'a str {
    config.get(key).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(config: &[(&str, &str)]) -> Project {
        Project {
            name: "tenant".into(),
            config: config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Project::default()
        }
    }

    #[test]
    fn a_project_that_is_not_restricted_allows_everything() {
        for config in [&[][..], &[("restricted", "false"), ("restricted.devices.disk", "block")]] {
            let fence = Fence::of(&project(config));
            assert!(fence.allows_low_level() && fence.allows_host_path("/boot"));
            assert_eq!(fence.refusal(Isolation::Privileged), None);
        }
    }

    #[test]
    fn a_restricted_project_allows_what_it_says_and_else_nothing() {
        let fence = Fence::of(&project(&[("restricted", "true")]));
        assert!(!fence.allows_low_level() && !fence.allows_host_path("/boot"));
        assert!(fence.refusal(Isolation::Shared).unwrap().contains("nesting=allow"));
        let nodes = Fence::of(&project(&[
            ("restricted", "true"),
            ("restricted.containers.nesting", "allow"),
            ("restricted.containers.privilege", "unprivileged"),
        ]));
        assert_eq!(nodes.refusal(Isolation::Shared), None);
        assert_eq!(nodes.refusal(Isolation::Isolated), None);
        let text = nodes.refusal(Isolation::Privileged).unwrap();
        assert!(text.contains("project tenant") && text.contains("unprivileged: true"), "{text}");
    }

    #[test]
    fn host_paths_are_allowed_by_whole_folder_names() {
        let with = |paths: &str| {
            Fence::of(&project(&[
                ("restricted", "true"),
                ("restricted.devices.disk", "allow"),
                ("restricted.devices.disk.paths", paths),
            ]))
        };
        assert!(with("").allows_host_path("/boot"));
        assert!(with("/srv, /boot").allows_host_path("/boot/efi"));
        assert!(!with("/boo").allows_host_path("/boot"));
    }
}
