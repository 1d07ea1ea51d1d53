//! Restrictions of a project.
//!
//! An administrator confines a tenant to a project with `restricted` set to true. The server then
//! refuses everything that would give access to the host. Some defaults of a node are only for
//! convenience and need such access; they are omitted in a restricted project. Settings that a node
//! cannot do without are reported before the server is contacted.

use capn_api::Isolation;
use incus_api::{Config, Project};

/// The restrictions of a project that a launch depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectRestrictions {
    project: String,
    privileged: bool,
    nesting: bool,
    low_level: bool,
    /// Host directories that may be attached: none (`None`), these, or all if empty.
    host_paths: Option<Vec<String>>,
}

impl Default for ProjectRestrictions {
    /// Returns the restrictions of an unrestricted project.
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

impl ProjectRestrictions {
    /// Reads the restrictions of a project. Unset keys have the defaults of the server (Incus and
    /// LXD documentation, "Project restrictions").
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

    /// Returns whether an instance may set kernel modules, raw settings and similar keys.
    pub fn allows_low_level(&self) -> bool {
        self.low_level
    }

    /// Returns whether a directory or file of the host may be attached.
    pub fn allows_host_path(&self, path: &str) -> bool {
        let Some(allowed) = &self.host_paths else { return false };
        allowed.is_empty()
            || allowed.iter().any(|allowed| {
                path.strip_prefix(allowed.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }

    /// Returns the reason no node with this isolation can be created in the project, and what to do
    /// about it.
    pub fn refusal(&self, isolation: Isolation) -> Option<String> {
        let project = &self.project;
        if isolation == Isolation::Privileged && !self.privileged {
            return Some(format!(
                "project {project} is restricted and does not allow privileged containers: set spec.unprivileged: true in the LXCCluster (or spec.isolation to shared or isolated), or use an identity for another project"
            ));
        }
        (!self.nesting).then(|| {
            format!(
                "project {project} is restricted and does not allow nesting, which nodes need to start containers: the server administrator can allow it with `incus project set {project} restricted.containers.nesting=allow`"
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
            let restrictions = ProjectRestrictions::of(&project(config));
            assert!(restrictions.allows_low_level() && restrictions.allows_host_path("/boot"));
            assert_eq!(restrictions.refusal(Isolation::Privileged), None);
        }
    }

    #[test]
    fn a_restricted_project_allows_only_what_it_configures() {
        let restrictions = ProjectRestrictions::of(&project(&[("restricted", "true")]));
        assert!(!restrictions.allows_low_level() && !restrictions.allows_host_path("/boot"));
        assert!(restrictions.refusal(Isolation::Shared).unwrap().contains("nesting=allow"));
        let nodes = ProjectRestrictions::of(&project(&[
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
            ProjectRestrictions::of(&project(&[
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
