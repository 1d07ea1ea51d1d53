//! What the process was started with. The only place that reads environment variables.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use capn_image::binaries::Programs;

/// The variables of the process. What they are called is known to the methods only, but for those
/// of templates, whose names are in the template.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

/// Where Incus and LXD listen, in the order they are tried.
const SOCKETS: &[&str] = &[
    "/var/lib/incus/unix.socket",
    "/run/incus/unix.socket",
    "/var/lib/lxd/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
];

impl Environment {
    /// Reads the variables of this process. Values that are not UTF-8 count as absent.
    pub fn from_process() -> Self {
        let text = |text: std::ffi::OsString| text.into_string().ok();
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect();
        Self { variables }
    }

    /// An environment with exactly these variables.
    pub fn with<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { variables: variables.collect() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A variable of a template; one that is set to nothing is empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The user's home folder.
    pub fn home(&self) -> Option<&Utf8Path> {
        self.get("HOME").map(Utf8Path::new)
    }

    /// Where state is kept when `--state-dir` is not given.
    pub fn state_dir(&self) -> Option<Utf8PathBuf> {
        match self.get("XDG_STATE_HOME") {
            Some(state) => Some(Utf8Path::new(state).join("capn")),
            None => self.home().map(|home| home.join(".local/state/capn")),
        }
    }

    /// The kubeconfig file that `--merge` writes: the first of `KUBECONFIG`, else kubectl's.
    pub fn kubeconfig(&self) -> Option<Utf8PathBuf> {
        match self.get("KUBECONFIG").and_then(|list| list.split(':').find(|p| !p.is_empty())) {
            Some(first) => Some(Utf8PathBuf::from(first)),
            None => self.home().map(|home| home.join(".kube/config")),
        }
    }

    /// The kubeconfig files that kubectl reads.
    pub fn kubeconfigs(&self) -> Vec<Utf8PathBuf> {
        match self.get("KUBECONFIG") {
            Some(list) => list.split(':').filter(|p| !p.is_empty()).map(Into::into).collect(),
            None => self.home().map(|home| home.join(".kube/config")).into_iter().collect(),
        }
    }

    /// Whether this process runs in a pod.
    pub fn is_in_pod(&self) -> bool {
        self.get("KUBERNETES_SERVICE_HOST").is_some()
    }

    /// A name that no other process has: that of the host or pod, and a random part.
    pub fn unique_name(&self) -> String {
        let host = self.get("HOSTNAME").unwrap_or("capn");
        format!("{host}_{}", uuid::Uuid::new_v4())
    }

    fn config_home(&self) -> Option<Utf8PathBuf> {
        match self.get("XDG_CONFIG_HOME") {
            Some(config) => Some(Utf8PathBuf::from(config)),
            None => self.home().map(|home| home.join(".config")),
        }
    }

    /// Where clusterctl has its configuration when it is not told.
    pub fn clusterctl_config(&self) -> Option<Utf8PathBuf> {
        self.config_home().map(|config| config.join("cluster-api/clusterctl.yaml"))
    }

    /// Folders that may hold a client configuration of Incus or LXD, best first.
    pub fn client_configs(&self) -> Vec<Utf8PathBuf> {
        let config = self.config_home();
        let mut folders: Vec<Utf8PathBuf> =
            ["INCUS_CONF", "LXD_CONF"].iter().filter_map(|v| self.get(v)).map(Into::into).collect();
        folders.extend(config.iter().flat_map(|c| [c.join("incus"), c.join("lxc")]));
        folders.extend(self.home().map(|home| home.join("snap/lxd/common/config")));
        folders
    }

    /// Sockets that may lead to a local server, best first. One that a variable names is the only one, as it is
    /// for the `incus` and `lxc` commands.
    pub fn sockets(&self) -> Vec<Utf8PathBuf> {
        match self.named_sockets() {
            named if named.is_empty() => SOCKETS.iter().map(Utf8PathBuf::from).collect(),
            named => named.into_iter().map(|(_, socket)| socket).collect(),
        }
    }

    /// Sockets that variables name, with the variable. `INCUS_DIR` counts without `INCUS_SOCKET`, and so for LXD.
    pub fn named_sockets(&self) -> Vec<(&'static str, Utf8PathBuf)> {
        let of = |socket: &'static str, folder: &'static str| {
            let named = self.get(socket).map(|path| (socket, Utf8PathBuf::from(path)));
            let within = |path: &str| (folder, Utf8Path::new(path).join("unix.socket"));
            named.or_else(|| self.get(folder).map(within))
        };
        [of("INCUS_SOCKET", "INCUS_DIR"), of("LXD_SOCKET", "LXD_DIR")]
            .into_iter()
            .flatten()
            .collect()
    }

    /// The folder of these programs that the environment names.
    pub fn folder_of(&self, programs: Programs) -> Option<&Utf8Path> {
        self.get(programs.variable()).map(Utf8Path::new)
    }

    /// The image servers that the environment names, with commas between.
    pub fn image_servers(&self) -> Option<&str> {
        self.get("CAPN_IMAGE_SERVER")
    }

    /// Whether a program of that name can be run.
    pub fn has_program(&self, name: &str) -> bool {
        self.get("PATH").is_some_and(|path| {
            path.split(':').any(|folder| Utf8Path::new(folder).join(name).is_file())
        })
    }

    /// Whether the user asked for no colours, or the terminal has none.
    pub fn no_color(&self) -> bool {
        self.get("NO_COLOR").is_some() || self.is_dumb_terminal()
    }

    /// The kind of the user's terminal.
    pub fn terminal(&self) -> Option<&str> {
        self.get("TERM")
    }

    /// Whether the terminal can only append lines.
    pub fn is_dumb_terminal(&self) -> bool {
        self.get("TERM") == Some("dumb")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_kept_in_the_xdg_folder_and_else_in_the_home_folder() {
        let xdg = Environment::with([("HOME", "/h"), ("XDG_STATE_HOME", "/s")]);
        assert_eq!(xdg.state_dir().as_deref(), Some(Utf8Path::new("/s/capn")));
        let home = Environment::with([("HOME", "/h")]);
        assert_eq!(home.state_dir().as_deref(), Some(Utf8Path::new("/h/.local/state/capn")));
        assert_eq!(Environment::default().state_dir(), None);
    }

    #[test]
    fn merge_writes_the_first_file_of_kubeconfig() {
        let listed = Environment::with([("HOME", "/h"), ("KUBECONFIG", ":/a:/b")]);
        assert_eq!(listed.kubeconfig().as_deref(), Some(Utf8Path::new("/a")));
        let plain = Environment::with([("HOME", "/h")]);
        assert_eq!(plain.kubeconfig().as_deref(), Some(Utf8Path::new("/h/.kube/config")));
    }

    #[test]
    fn a_named_socket_is_the_only_one() {
        let environment =
            Environment::with([("LXD_DIR", "/l"), ("INCUS_SOCKET", "/i/s"), ("INCUS_DIR", "/d")]);
        assert_eq!(environment.sockets(), ["/i/s", "/l/unix.socket"]);
        let incus = Environment::with([("INCUS_DIR", "/d")]);
        assert_eq!(incus.named_sockets(), [("INCUS_DIR", "/d/unix.socket".into())]);
        assert_eq!(Environment::with([]).sockets()[0], "/var/lib/incus/unix.socket");
    }
}
