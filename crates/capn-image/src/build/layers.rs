//! Cached root file systems: the distribution, and the packages of a role on top.

use camino::{Utf8Path, Utf8PathBuf};
use tokio::{fs, process::Command};

use super::{
    Architecture, Base, BuildError, Event, Stage,
    host::Mirrors,
    root::Root,
    step::{Progress, Step},
    workspace::{Workspace, failed},
};
use crate::recipe::{BASE_PACKAGES, Hash, Role};

/// Inputs of a layer, which determine its hash.
pub(super) struct LayerInputs {
    pub(super) base: Base,
    pub(super) mirrors: Mirrors,
    pub(super) architecture: Architecture,
    pub(super) role: Role,
}

/// The finished layers of a role.
pub(super) struct Layers {
    /// Directories of the root file system, uppermost first, which must not be changed.
    pub(super) directories: Vec<Utf8PathBuf>,
    /// Time of the newest package list, in seconds since 1970.
    pub(super) epoch: i64,
}

impl LayerInputs {
    fn base_hash(&self) -> String {
        Hash::new("base layer 2")
            .part("architecture", self.architecture.as_str())
            .part("suite", self.base.suite())
            .part("mirror", &self.mirrors.main)
            .part("security mirror", &self.mirrors.security)
            .part("components", self.base.components())
            .part("packages", &BASE_PACKAGES.join(" "))
            .script("chroot.sh")
            .script("base.sh")
            .finish()
    }

    /// Returns the hash of the role's layer, which includes the base.
    pub(super) fn hash(&self) -> String {
        Hash::new("role layer 2")
            .part("base", &self.base_hash())
            .part("packages", &self.role.packages.join(" "))
            .part("newer packages", &self.newer_packages())
            .script("chroot.sh")
            .script("packages.sh")
            .finish()
    }

    fn newer_packages(&self) -> String {
        match self.base.newer_suite() {
            Some(suite) if !self.role.newer_packages.is_empty() => {
                format!("{suite}: {}", self.role.newer_packages.join(" "))
            }
            _ => String::new(),
        }
    }
}

/// Layers of the role, built if they are not cached, or if `rebuild` is set.
pub(super) async fn role_layers(
    workspace: &Workspace,
    inputs: &LayerInputs,
    rebuild: bool,
    progress: &mut Progress<'_>,
) -> Result<Layers, BuildError> {
    let base = base_layer(workspace, inputs, rebuild, progress).await?;
    let name = format!("{}-{}", inputs.role.name, inputs.base.suite());
    let path = workspace.layer(&name, &inputs.hash());
    // A layer fits only the base that it was built on, not a later rebuild of it.
    let id = read(&base.join("id")).await?;
    if !rebuild && path.exists() && read(&path.join("base-id")).await? == id {
        cached(Stage::Packages, progress);
        return open(workspace, path, &base).await;
    }
    let started = start(Stage::Packages, progress);
    let root = Root::over(workspace, inputs.role.name, vec![base.join("rootfs")]).await?;
    write(&root.directory().join("base-id"), &id).await?;
    let scripts = workspace.scripts();
    let mut step = root
        .enter(Step::new(Stage::Packages, "packages.sh", &scripts))
        .variable("DEBS", workspace.debs())
        .variable("PACKAGES", inputs.role.packages.join(" "))
        .variable("MIRROR", &inputs.mirrors.main)
        .variable("EPOCH_FILE", root.directory().join("epoch"))
        .variable("APT_PROXY", apt_proxy().await);
    if let Some(suite) =
        inputs.base.newer_suite().filter(|_| !inputs.role.newer_packages.is_empty())
    {
        step = step
            .variable("EXTRA_SUITE", suite)
            .variable("EXTRA_PACKAGES", inputs.role.newer_packages.join(" "));
    }
    step.run(progress).await?;
    root.keep(workspace, &path).await?;
    finish(Stage::Packages, started, progress);
    open(workspace, path, &base).await
}

/// Returns the directory of the base layer.
async fn base_layer(
    workspace: &Workspace,
    inputs: &LayerInputs,
    rebuild: bool,
    progress: &mut Progress<'_>,
) -> Result<Utf8PathBuf, BuildError> {
    let path = workspace.layer(&format!("base-{}", inputs.base.suite()), &inputs.base_hash());
    if !rebuild && path.exists() {
        cached(Stage::Base, progress);
        return Ok(path);
    }
    let started = start(Stage::Base, progress);
    let root = Root::over(workspace, "base", Vec::new()).await?;
    let scripts = workspace.scripts();
    root.enter(Step::new(Stage::Base, "base.sh", &scripts))
        .variable("DEBS", workspace.debs())
        .variable("SUITE", inputs.base.suite())
        .variable("MIRROR", &inputs.mirrors.main)
        .variable("SECURITY_MIRROR", &inputs.mirrors.security)
        .variable("COMPONENTS", inputs.base.components())
        .variable("KEYRING", inputs.base.keyring())
        .variable("FALLBACK_SCRIPT", inputs.base.fallback_script())
        .variable("PACKAGES", BASE_PACKAGES.join(" "))
        .variable("APT_PROXY", apt_proxy().await)
        .run(progress)
        .await?;
    let now = jiff::Timestamp::now().as_nanosecond();
    write(&root.directory().join("id"), &now.to_string()).await?;
    root.keep(workspace, &path).await?;
    finish(Stage::Base, started, progress);
    Ok(path)
}

async fn open(
    workspace: &Workspace,
    path: Utf8PathBuf,
    base: &Utf8Path,
) -> Result<Layers, BuildError> {
    let epoch_file = path.join("epoch");
    let text = read(&epoch_file).await?;
    let epoch = text.trim().parse().map_err(|_| {
        failed("read", &epoch_file)(std::io::Error::other(format!("it contains {text:?}")))
    })?;
    let mut directories = vec![path.join("rootfs")];
    if workspace.has_overlay() {
        directories.push(base.join("rootfs"));
    }
    Ok(Layers { directories, epoch })
}

async fn read(path: &Utf8Path) -> Result<String, BuildError> {
    fs::read_to_string(path).await.map_err(failed("read", path))
}

async fn write(path: &Utf8Path, text: &str) -> Result<(), BuildError> {
    fs::write(path, text).await.map_err(failed("write", path))
}

/// Returns the proxy in this machine's apt configuration; empty if none.
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
    use crate::recipe::{self, NodeRuntime};

    fn inputs() -> LayerInputs {
        LayerInputs {
            base: Base::Debian12,
            mirrors: Mirrors { main: "http://a".into(), security: "http://b".into() },
            architecture: Architecture::Amd64,
            role: recipe::node(NodeRuntime::Packages),
        }
    }

    #[test]
    fn every_input_changes_the_layer_hash() {
        let (hash, base) = (inputs().hash(), inputs().base_hash());
        let table: Vec<(&str, LayerInputs, bool)> = vec![
            ("suite", LayerInputs { base: Base::Debian13, ..inputs() }, true),
            ("distribution", LayerInputs { base: Base::Ubuntu2404, ..inputs() }, true),
            ("architecture", LayerInputs { architecture: Architecture::Arm64, ..inputs() }, true),
            ("role", LayerInputs { role: recipe::haproxy(), ..inputs() }, false),
            (
                "runtime",
                LayerInputs { role: recipe::node(NodeRuntime::Directory), ..inputs() },
                false,
            ),
        ];
        for (what, changed, base_changes) in table {
            assert_ne!(changed.hash(), hash, "{what}");
            assert_eq!(changed.base_hash() != base, base_changes, "{what}");
        }
        assert_eq!(inputs().hash(), hash);
    }
}
