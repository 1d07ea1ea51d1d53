//! The cached root file systems: Debian, and Debian with a role's packages.

use camino::Utf8PathBuf;
use tokio::{fs, process::Command};

use super::{
    Base, BuildError, Event, Stage,
    host::{KEYRING, Mirrors},
    step::{Progress, Step},
    workspace::{Workspace, copy_tree, failed},
};
use crate::recipe::{BASE_PACKAGES, Hash, Role};

/// What layers are made from; its hash names them.
pub(super) struct LayerInputs {
    pub(super) base: Base,
    pub(super) mirrors: Mirrors,
    pub(super) architecture: &'static str,
    pub(super) role: Role,
}

/// A finished layer.
pub(super) struct Layer {
    /// Its root file system; not to be changed.
    pub(super) root: Utf8PathBuf,
    /// Seconds since 1970 of the newest package list.
    pub(super) epoch: i64,
}

impl Base {
    pub(super) fn suite(self) -> &'static str {
        match self {
            Self::Debian12 => "bookworm",
            Self::Debian13 => "trixie",
        }
    }

    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Debian12 => "12",
            Self::Debian13 => "13",
        }
    }

    /// The suite that newer packages come from, where the base's own are too old.
    fn newer_suite(self) -> Option<&'static str> {
        match self {
            Self::Debian12 => Some("trixie"),
            Self::Debian13 => None,
        }
    }
}

impl LayerInputs {
    fn base_hash(&self) -> String {
        Hash::new("base layer 1")
            .part("architecture", self.architecture)
            .part("suite", self.base.suite())
            .part("mirror", &self.mirrors.main)
            .part("security mirror", &self.mirrors.security)
            .part("packages", &BASE_PACKAGES.join(" "))
            .script("chroot.sh")
            .script("base.sh")
            .finish()
    }

    /// Hash of the role's layer, which includes the base's.
    pub(super) fn hash(&self) -> String {
        Hash::new("role layer 1")
            .part("base", &self.base_hash())
            .part("packages", &self.role.packages.join(" "))
            .part("newer packages", &self.newer_packages())
            .script("packages.sh")
            .finish()
    }

    fn newer_packages(&self) -> String {
        match self.base.newer_suite() {
            Some(suite) => format!("{suite}: {}", self.role.newer_packages.join(" ")),
            None => String::new(),
        }
    }
}

/// The role's layer, made if it is not cached (or if `rebuild`, with its base).
pub(super) async fn role_layer(
    workspace: &Workspace,
    inputs: &LayerInputs,
    rebuild: bool,
    progress: &mut Progress<'_>,
) -> Result<Layer, BuildError> {
    let path = workspace.layer(inputs.role.name, &inputs.hash());
    if !rebuild && path.exists() {
        for stage in [Stage::Base, Stage::Packages] {
            cached(stage, progress);
        }
        return open(path).await;
    }
    let base = base_layer(workspace, inputs, rebuild, progress).await?;
    let started = start(Stage::Packages, progress);
    let made = workspace.fresh(inputs.role.name).await?;
    let root = made.join("rootfs");
    copy_tree(&base, &root).await?;
    let scripts = workspace.scripts();
    let mut step = Step::new(Stage::Packages, "packages.sh", &scripts)
        .variable("TARGET", &root)
        .variable("DEBS", workspace.debs())
        .variable("PACKAGES", inputs.role.packages.join(" "))
        .variable("MIRROR", &inputs.mirrors.main)
        .variable("EPOCH_FILE", made.join("epoch"))
        .variable("APT_PROXY", apt_proxy().await);
    if let Some(suite) =
        inputs.base.newer_suite().filter(|_| !inputs.role.newer_packages.is_empty())
    {
        step = step
            .variable("EXTRA_SUITE", suite)
            .variable("EXTRA_PACKAGES", inputs.role.newer_packages.join(" "));
    }
    step.run(progress).await?;
    workspace.keep(&made, &path).await?;
    finish(Stage::Packages, started, progress);
    open(path).await
}

async fn base_layer(
    workspace: &Workspace,
    inputs: &LayerInputs,
    rebuild: bool,
    progress: &mut Progress<'_>,
) -> Result<Utf8PathBuf, BuildError> {
    let path = workspace.layer("base", &inputs.base_hash());
    if !rebuild && path.exists() {
        cached(Stage::Base, progress);
        return Ok(path.join("rootfs"));
    }
    let started = start(Stage::Base, progress);
    let made = workspace.fresh("base").await?;
    Step::new(Stage::Base, "base.sh", &workspace.scripts())
        .variable("TARGET", made.join("rootfs"))
        .variable("DEBS", workspace.debs())
        .variable("SUITE", inputs.base.suite())
        .variable("MIRROR", &inputs.mirrors.main)
        .variable("SECURITY_MIRROR", &inputs.mirrors.security)
        .variable("KEYRING", KEYRING)
        .variable("PACKAGES", BASE_PACKAGES.join(" "))
        .variable("APT_PROXY", apt_proxy().await)
        .run(progress)
        .await?;
    workspace.keep(&made, &path).await?;
    finish(Stage::Base, started, progress);
    Ok(path.join("rootfs"))
}

async fn open(path: Utf8PathBuf) -> Result<Layer, BuildError> {
    let epoch_file = path.join("epoch");
    let text = fs::read_to_string(&epoch_file).await.map_err(failed("read", &epoch_file))?;
    let epoch = text.trim().parse().map_err(|_| {
        failed("read", &epoch_file)(std::io::Error::other(format!("it holds {text:?}")))
    })?;
    Ok(Layer { root: path.join("rootfs"), epoch })
}

/// The proxy this machine's apt is configured with, empty for none.
async fn apt_proxy() -> String {
    let output = Command::new("apt-config")
        .args(["shell", "PROXY", "Acquire::http::Proxy"])
        .kill_on_drop(true)
        .output()
        .await;
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let value = text.unwrap_or_default();
    let value = value.trim().strip_prefix("PROXY=").unwrap_or_default().trim_matches('\'');
    if value.starts_with("http") { value.to_owned() } else { String::new() }
}

pub(super) fn start(stage: Stage, progress: &mut Progress<'_>) -> std::time::Instant {
    progress(Event::StageStarted { stage });
    std::time::Instant::now()
}

pub(super) fn finish(stage: Stage, started: std::time::Instant, progress: &mut Progress<'_>) {
    progress(Event::StageFinished { stage, elapsed: started.elapsed(), cached: false });
}

pub(super) fn cached(stage: Stage, progress: &mut Progress<'_>) {
    progress(Event::StageStarted { stage });
    let elapsed = std::time::Duration::ZERO;
    progress(Event::StageFinished { stage, elapsed, cached: true });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe;

    fn inputs() -> LayerInputs {
        LayerInputs {
            base: Base::Debian12,
            mirrors: Mirrors { main: "http://a".into(), security: "http://b".into() },
            architecture: "amd64",
            role: recipe::node(),
        }
    }

    #[test]
    fn each_input_changes_the_hash_and_only_the_base_changes_the_bases() {
        let (hash, base) = (inputs().hash(), inputs().base_hash());
        let table: Vec<(&str, LayerInputs, bool)> = vec![
            ("suite", LayerInputs { base: Base::Debian13, ..inputs() }, true),
            ("architecture", LayerInputs { architecture: "arm64", ..inputs() }, true),
            ("role", LayerInputs { role: recipe::haproxy(), ..inputs() }, false),
        ];
        for (what, changed, base_changes) in table {
            assert_ne!(changed.hash(), hash, "{what}");
            assert_eq!(changed.base_hash() != base, base_changes, "{what}");
        }
        assert_eq!(inputs().hash(), hash);
    }
}
