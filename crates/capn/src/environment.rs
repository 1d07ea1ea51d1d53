//! Environment of the process. The only module that reads environment variables.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use capn_image::binaries::Programs;

/// Environment variables of the process. Only these methods know the names of variables, except for
/// template variables, whose names come from the template.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

/// Well-known sockets of Incus and LXD, in the order in which they are tried.
const SOCKETS: &[&str] = &[
    "/var/lib/incus/unix.socket",
    "/run/incus/unix.socket",
    "/var/lib/lxd/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
];

/// State directory of the systemd service in the Debian package.
const SERVICE_STATE: &str = "/var/lib/capn/state";

/// Returns the home directory of a local user.
fn home_of(user: &str) -> Option<Utf8PathBuf> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let entry = users.lines().find(|line| line.split(':').next() == Some(user))?;
    entry.split(':').nth(5).filter(|home| home.starts_with('/')).map(Utf8PathBuf::from)
}

impl Environment {
    /// Reads the environment of this process. Values that are not UTF-8 are ignored.
    pub fn from_process() -> Self {
        let text = |text: std::ffi::OsString| text.into_string().ok();
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect();
        Self { variables }
    }

    /// Creates an environment with exactly these variables, for tests.
    pub fn with<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let variables =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { variables: variables.collect() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns the value of a template variable. A variable set to nothing is an empty string.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Returns the home directory of the user.
    pub fn home(&self) -> Option<&Utf8Path> {
        self.get("HOME").map(Utf8Path::new)
    }

    /// Returns the default state directory, used without `--state-dir`.
    pub fn state_dir(&self) -> Option<Utf8PathBuf> {
        match self.get("XDG_STATE_HOME") {
            Some(state) => Some(Utf8Path::new(state).join("capn")),
            None => self.home().map(|home| home.join(".local/state/capn")),
        }
    }

    /// Returns the state directories that may be in use on this machine: the user's own, that of
    /// the user who called `sudo`, and that of the service in the Debian package.
    pub fn usual_state_dirs(&self) -> Vec<Utf8PathBuf> {
        let mut dirs: Vec<Utf8PathBuf> = self.state_dir().into_iter().collect();
        let caller = self.get("SUDO_USER").and_then(home_of);
        dirs.extend(caller.map(|home| home.join(".local/state/capn")));
        dirs.push(Utf8PathBuf::from(SERVICE_STATE));
        dirs
    }

    /// Returns the kubeconfig file that `--merge` writes: the first entry of `KUBECONFIG`, or
    /// kubectl's default.
    pub fn kubeconfig(&self) -> Option<Utf8PathBuf> {
        match self.get("KUBECONFIG").and_then(|list| list.split(':').find(|p| !p.is_empty())) {
            Some(first) => Some(Utf8PathBuf::from(first)),
            None => self.home().map(|home| home.join(".kube/config")),
        }
    }

    /// Returns the kubeconfig files that kubectl reads.
    pub fn kubeconfigs(&self) -> Vec<Utf8PathBuf> {
        match self.get("KUBECONFIG") {
            Some(list) => list.split(':').filter(|p| !p.is_empty()).map(Into::into).collect(),
            None => self.home().map(|home| home.join(".kube/config")).into_iter().collect(),
        }
    }

    /// Returns whether this process runs in a pod.
    pub fn is_in_pod(&self) -> bool {
        self.get("KUBERNETES_SERVICE_HOST").is_some()
    }

    /// Returns a unique name for this process: the host or pod name with a random suffix.
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

    /// Returns the default path of the clusterctl configuration.
    pub fn clusterctl_config(&self) -> Option<Utf8PathBuf> {
        self.config_home().map(|config| config.join("cluster-api/clusterctl.yaml"))
    }

    /// Directories that may contain an Incus or LXD client configuration, in order of preference.
    pub fn client_configs(&self) -> Vec<Utf8PathBuf> {
        let config = self.config_home();
        let mut dirs: Vec<Utf8PathBuf> =
            ["INCUS_CONF", "LXD_CONF"].iter().filter_map(|v| self.get(v)).map(Into::into).collect();
        dirs.extend(config.iter().flat_map(|c| [c.join("incus"), c.join("lxc")]));
        dirs.extend(self.home().map(|home| home.join("snap/lxd/common/config")));
        dirs
    }

    /// Sockets that may belong to a local server, in order of preference. A socket set by a
    /// variable is the only one, as for the `incus` and `lxc` clients.
    pub fn sockets(&self) -> Vec<Utf8PathBuf> {
        match self.named_sockets() {
            named if named.is_empty() => SOCKETS.iter().map(Utf8PathBuf::from).collect(),
            named => named.into_iter().map(|(_, socket)| socket).collect(),
        }
    }

    /// Sockets set by variables, with the name of the variable. `INCUS_DIR` applies only without
    /// `INCUS_SOCKET`; the same holds for LXD.
    pub fn named_sockets(&self) -> Vec<(&'static str, Utf8PathBuf)> {
        let of = |socket: &'static str, dir: &'static str| {
            let named = self.get(socket).map(|path| (socket, Utf8PathBuf::from(path)));
            let within = |path: &str| (dir, Utf8Path::new(path).join("unix.socket"));
            named.or_else(|| self.get(dir).map(within))
        };
        [of("INCUS_SOCKET", "INCUS_DIR"), of("LXD_SOCKET", "LXD_DIR")]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Returns the directory of binaries named by an environment variable.
    pub fn dir_of(&self, programs: Programs) -> Option<&Utf8Path> {
        self.get(programs.variable()).map(Utf8Path::new)
    }

    /// Returns the image servers from the environment, separated by commas.
    pub fn image_servers(&self) -> Option<&str> {
        self.get("CAPN_IMAGE_SERVER")
    }

    /// Returns the shell whose completion script called this program, if any.
    pub fn completes_for(&self) -> Option<&str> {
        self.get(crate::completion::VARIABLE).filter(|shell| !shell.is_empty() && *shell != "0")
    }

    /// Returns whether a program with this name is in `PATH`.
    pub fn has_program(&self, name: &str) -> bool {
        self.get("PATH")
            .is_some_and(|path| path.split(':').any(|dir| Utf8Path::new(dir).join(name).is_file()))
    }

    /// Returns whether colors are disabled by the user or unsupported by the terminal.
    pub fn no_color(&self) -> bool {
        self.get("NO_COLOR").is_some() || self.is_dumb_terminal()
    }

    /// Returns whether the locale only supports ASCII. An unset locale is assumed to support
    /// Unicode.
    pub fn has_no_unicode(&self) -> bool {
        let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| self.get(name));
        set.filter(|locale| !locale.is_empty()).is_some_and(|locale| {
            let locale = locale.to_ascii_lowercase();
            !locale.contains("utf-8") && !locale.contains("utf8")
        })
    }

    /// Returns the terminal type (`TERM`).
    pub fn terminal(&self) -> Option<&str> {
        self.get("TERM")
    }

    /// Returns whether the terminal can only append lines.
    pub fn is_dumb_terminal(&self) -> bool {
        self.get("TERM") == Some("dumb")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_in_the_xdg_directory_or_else_the_home_directory() {
        let xdg = Environment::with([("HOME", "/h"), ("XDG_STATE_HOME", "/s")]);
        assert_eq!(xdg.state_dir().as_deref(), Some(Utf8Path::new("/s/capn")));
        let home = Environment::with([("HOME", "/h")]);
        assert_eq!(home.state_dir().as_deref(), Some(Utf8Path::new("/h/.local/state/capn")));
        assert_eq!(Environment::default().state_dir(), None);
    }

    #[test]
    fn a_locale_without_utf_8_has_no_unicode() {
        for (variables, expected) in [
            (&[][..], false),
            (&[("LANG", "C")], true),
            (&[("LANG", "C.UTF-8")], false),
            (&[("LANG", "de_DE.utf8")], false),
            (&[("LANG", "de_DE.UTF-8"), ("LC_ALL", "POSIX")], true),
            (&[("LANG", "C"), ("LC_CTYPE", "en_GB.UTF-8")], false),
        ] {
            let environment = Environment::with(variables.iter().copied());
            assert_eq!(environment.has_no_unicode(), expected, "{variables:?}");
        }
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
