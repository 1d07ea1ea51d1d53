//! Steps in the instances, run as root through the server. Every step is idempotent.

use std::time::Duration;

use camino::Utf8Path;
use incus_client::{Client, ExecRequest, ExecStream};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::member::{self, Member};
use super::note::Note;
use crate::error::{CommandError, Doing as _};

/// Directory of the snapshot and the program during the restore. Only accessible to root.
const WORK: &str = "/var/lib/capn-etcd-restore";
/// Directory of kubelet's static pods.
const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// Temporary directory of their manifests.
const ASIDE: &str = "/etc/kubernetes/capn-etcd-restore";
/// Time limit of a short command.
const SHORT: Duration = Duration::from_secs(60);
/// Time limit for pods to stop; kubelet's grace period is 30 s. If kubelet is not running, they are
/// killed.
const STOP: Duration = Duration::from_secs(45);
/// Time limit for pods to exit after they were killed.
const KILLED: Duration = Duration::from_secs(60);
/// Time limit for transferring a large snapshot.
const LONG: Duration = Duration::from_secs(3_600);
/// Pause between checks of stopping pods, for which there is no event.
const PAUSE: Duration = Duration::from_secs(1);
/// Amount of command output that is kept.
const OUTPUT: usize = 16 << 10;
/// Number of output lines shown.
const LINES: usize = 3;
/// Added to the revision, so that clients never see a revision twice.
const BUMP: &str = "1000000000";

/// Whether the instance has an etcd static pod, active or moved aside.
pub(super) const HAS_ETCD: &str = "test -e /etc/kubernetes/manifests/etcd.yaml || test -e /etc/kubernetes/capn-etcd-restore/etcd.yaml";

/// Moves the manifests aside. Controllers stop too, since their caches would be outdated.
const MOVE_ASIDE: &str = r#"set -eu
umask 077
mkdir -p "$ASIDE"
for name in etcd kube-apiserver kube-controller-manager kube-scheduler; do
  if [ -e "$MANIFESTS/$name.yaml" ]; then mv -f "$MANIFESTS/$name.yaml" "$ASIDE/"; fi
done
"#;

/// Exits with 1 while one of the programs is running.
const STOPPED: &str = r#"for comm in /proc/[0-9]*/comm; do
  { read -r name <"$comm"; } 2>/dev/null || continue
  case $name in etcd|kube-apiserver) exit 1 ;; esac
done
"#;

/// Kills the programs. kubelet does not restart pods without a manifest.
const KILL: &str = r#"for comm in /proc/[0-9]*/comm; do
  { read -r name <"$comm"; } 2>/dev/null || continue
  case $name in etcd|kube-apiserver) pid=${comm%/comm}; kill -9 "${pid#/proc/}" || true ;; esac
done
"#;

const HAS_SNAPSHOT: &str = r#"[ -e "$WORK/snapshot.db" ] &&
[ "$(sha256sum <"$WORK/snapshot.db")" = "$SHA256  -" ]"#;

const RECEIVE: &str = r#"set -eu
umask 077
mkdir -p "$WORK"
cat >"$WORK/snapshot.part"
[ "$(sha256sum <"$WORK/snapshot.part")" = "$SHA256  -" ] || { echo "what came is not what was sent" >&2; exit 1; }
mv -f "$WORK/snapshot.part" "$WORK/snapshot.db"
"#;

/// Extracts `etcdutl` from the etcd image of the node.
const TAKE_PROGRAM: &str = r#"set -eu
umask 077
mkdir -p "$WORK/image"
rm -f "$WORK/said"
mounted=''
for snapshotter in overlayfs fuse-overlayfs native; do
  ctr -n k8s.io images unmount --snapshotter "$snapshotter" --rm "$WORK/image" >/dev/null 2>&1 || true
  if ctr -n k8s.io images mount --snapshotter "$snapshotter" "$IMAGE" "$WORK/image" >/dev/null 2>>"$WORK/said"; then
    mounted=$snapshotter
    break
  fi
done
[ -n "$mounted" ] || { head -n 1 "$WORK/said" >&2; exit 1; }
found=''
for path in usr/local/bin/etcdutl bin/etcdutl usr/bin/etcdutl; do
  if [ -f "$WORK/image/$path" ] && [ ! -L "$WORK/image/$path" ]; then found=$path; break; fi
done
if [ -n "$found" ]; then cp "$WORK/image/$found" "$WORK/etcdutl.part"; fi
ctr -n k8s.io images unmount --snapshotter "$mounted" --rm "$WORK/image" >/dev/null
[ -n "$found" ] || exit 3
chmod 700 "$WORK/etcdutl.part"
mv -f "$WORK/etcdutl.part" "$WORK/etcdutl"
"#;

/// The image does not contain etcdutl.
const NO_PROGRAM: i32 = 3;

/// Creates the data and replaces the old data, which is kept.
const RESTORE: &str = r#"set -eu
umask 077
old=$DATA.before-$ID new=$DATA.restored-$ID
if [ ! -e "$old" ]; then
  rm -rf "$new"
  "$WORK/etcdutl" snapshot restore "$WORK/snapshot.db" --name "$NAME" --data-dir "$new" \
    --initial-cluster "$NAME=$PEER" --initial-advertise-peer-urls "$PEER" \
    --initial-cluster-token "capn-$ID" --bump-revision "$BUMP" --mark-compacted
  chmod 700 "$new"
  sync
  if [ -e "$DATA" ]; then mv "$DATA" "$old"; else mkdir "$old"; fi
fi
if [ -e "$new" ]; then
  if [ -d "$DATA" ]; then rmdir "$DATA"; fi
  mv "$new" "$DATA"
fi
[ -d "$DATA/member" ]
"#;

const IS_RESTORED: &str =
    r#"[ -e "$DATA.before-$ID" ] && [ ! -e "$DATA.restored-$ID" ] && [ -d "$DATA/member" ]"#;

const MOVE_BACK: &str = r#"set -eu
for path in "$ASIDE"/*.yaml; do
  if [ -e "$path" ]; then mv -f "$path" "$MANIFESTS/"; fi
done
rmdir "$ASIDE"
systemctl start kubelet
"#;

const CLEAN: &str = r#"rm -rf --one-file-system "$WORK""#;

/// A control plane instance.
pub(super) struct Node<'a> {
    pub(super) server: &'a Client,
    pub(super) instance: &'a str,
    /// Command that runs something in the instance, without its name.
    pub(super) exec: Option<&'a str>,
}

impl Node<'_> {
    /// Returns whether a command exits with 0.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be run.
    pub(super) async fn is_true(&self, script: &str) -> Result<bool, CommandError> {
        let request = request(script).deadline(SHORT);
        let code = self.server.exec_code(self.instance, &request).await;
        code.map(|code| code == 0).map_err(|error| self.failed("cannot run a command", error))
    }

    /// Stops the control plane and waits until etcd and the API server have exited.
    ///
    /// # Errors
    ///
    /// Returns an error if they do not exit even after they were killed.
    pub(super) async fn stop(&self) -> Result<(), CommandError> {
        self.run("move the manifests aside", request(MOVE_ASIDE).deadline(SHORT)).await?;
        if self.has_stopped(STOP).await? {
            return Ok(());
        }
        self.run("kill etcd and the API server", request(KILL).deadline(SHORT)).await?;
        if self.has_stopped(KILLED).await? {
            return Ok(());
        }
        let error = CommandError::new(format!(
            "etcd or the API server in `{}` is still running {} s after it was killed",
            self.instance,
            KILLED.as_secs()
        ));
        Err(error.hints(self.by_hand("systemctl status kubelet containerd")))
    }

    async fn has_stopped(&self, within: Duration) -> Result<bool, CommandError> {
        let end = Instant::now() + within;
        while !self.is_true(STOPPED).await? {
            if Instant::now() > end {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(true)
    }

    /// Returns the member according to the etcd manifest.
    ///
    /// # Errors
    ///
    /// Returns an error if the manifest is missing or was not written by kubeadm.
    pub(super) async fn member(&self) -> Result<Member, CommandError> {
        for folder in [ASIDE, MANIFESTS] {
            let path = format!("{folder}/etcd.yaml");
            let found = self.server.pull_file(self.instance, &path).await;
            if let Some(file) = found.map_err(|error| self.failed("cannot read a file", error))? {
                return member::read(&file.content);
            }
        }
        Err(CommandError::new(format!("`{}` has no etcd manifest", self.instance)))
    }

    /// Returns whether an earlier run already restored the data.
    ///
    /// # Errors
    ///
    /// Returns an error if the command cannot be run.
    pub(super) async fn is_restored(
        &self,
        note: &Note,
        member: &Member,
    ) -> Result<bool, CommandError> {
        let request = request(IS_RESTORED).env("ID", &note.id).env("DATA", &member.data);
        let code = self.server.exec_code(self.instance, &request.deadline(SHORT)).await;
        code.map(|code| code == 0).map_err(|error| self.failed("cannot run a command", error))
    }

    /// Sends the snapshot unless it is already there.
    ///
    /// # Errors
    ///
    /// Returns an error if it does not arrive intact.
    pub(super) async fn send(&self, note: &Note) -> Result<(), CommandError> {
        let request = |script: &str| request(script).env("SHA256", &note.sha256).deadline(LONG);
        let has = self.server.exec_code(self.instance, &request(HAS_SNAPSHOT)).await;
        if has.map_err(|error| self.failed("cannot run a command", error))? == 0 {
            return Ok(());
        }
        let receive = request(RECEIVE);
        let sending = stream(self.server, self.instance, &receive, &note.snapshot);
        let act = format!("cannot send the snapshot into `{}`", self.instance);
        match tokio::time::timeout(LONG, sending).await {
            Ok(sent) => sent.map_err(|error| error.while_doing(act)),
            Err(_) => Err(CommandError::new(act)),
        }
    }

    /// Creates the etcd data from the snapshot. The old data is kept next to it.
    ///
    /// # Errors
    ///
    /// Returns an error if etcdutl is missing or fails.
    pub(super) async fn restore(&self, note: &Note, member: &Member) -> Result<(), CommandError> {
        let take = request(TAKE_PROGRAM).env("IMAGE", &member.image).deadline(LONG);
        self.run("extract etcdutl from the etcd image", take).await.map_err(|error| {
            error.hint(format!(
                "image `{}` must contain /usr/local/bin/etcdutl: official images have it since etcd 3.5, images built by capn if the directory of binaries has it",
                member.image
            ))
        })?;
        let restore = request(RESTORE)
            .env("ID", &note.id)
            .env("NAME", &member.name)
            .env("PEER", &member.peer)
            .env("DATA", &member.data)
            .env("BUMP", BUMP)
            .deadline(LONG);
        self.run("restore the snapshot", restore).await
    }

    /// Starts the control plane.
    ///
    /// # Errors
    ///
    /// Returns an error if the manifests cannot be moved.
    pub(super) async fn start(&self) -> Result<(), CommandError> {
        if !self.is_true(&format!("test -d {ASIDE}")).await? {
            return Ok(());
        }
        self.run("move the manifests back", request(MOVE_BACK).deadline(SHORT)).await
    }

    /// Returns the current time in the instance, which all machines of the cluster share.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be read.
    pub(super) async fn now(&self) -> Result<Timestamp, CommandError> {
        let out = self.server.exec(self.instance, request("date +%s").deadline(SHORT)).await;
        let out = out.map_err(|error| self.failed("cannot read the time", error))?;
        let seconds = out.stdout_text().trim().parse::<i64>();
        let act = || format!("cannot parse the time in `{}`", self.instance);
        Timestamp::from_second(seconds.doing(act())?).doing(act())
    }

    /// Restarts kubelet, which recreates a missing Node.
    ///
    /// # Errors
    ///
    /// Returns an error if it does not start.
    pub(super) async fn restart_kubelet(&self) -> Result<(), CommandError> {
        self.run("restart kubelet", request("systemctl restart kubelet").deadline(SHORT)).await
    }

    /// Deletes the snapshot. The previous data is kept.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be deleted.
    pub(super) async fn clean(&self) -> Result<(), CommandError> {
        self.run("delete the snapshot", request(CLEAN).deadline(SHORT)).await
    }

    async fn run(&self, what: &str, request: ExecRequest) -> Result<(), CommandError> {
        let act = format!("cannot {what} in `{}`", self.instance);
        let out = self.server.exec(self.instance, request).await;
        let out = out.map_err(|error| self.failed(&format!("cannot {what}"), error))?;
        match out.exit_code {
            0 => Ok(()),
            NO_PROGRAM => Err(CommandError::caused(act, "it does not exist".to_owned())),
            code => {
                let said = out.last_lines(LINES);
                Err(CommandError::caused(act, format!("it exited with {code}: {said}")))
            }
        }
    }

    fn failed(&self, act: &str, error: incus_client::Error) -> CommandError {
        CommandError::caused(format!("{act} in `{}`", self.instance), error)
    }

    fn by_hand(&self, command: &str) -> Option<String> {
        Some(format!("inspect it: `{} {} -- {command}`", self.exec?, self.instance))
    }
}

fn request(script: &str) -> ExecRequest {
    ExecRequest { output_limit_bytes: OUTPUT, ..ExecRequest::shell(script) }
        .env("WORK", WORK)
        .env("ASIDE", ASIDE)
        .env("MANIFESTS", MANIFESTS)
}

/// Runs a command with a local file as its stdin.
async fn stream(
    server: &Client,
    instance: &str,
    request: &ExecRequest,
    path: &Utf8Path,
) -> Result<(), CommandError> {
    let mut file = tokio::fs::File::open(path).await.doing(format!("cannot read {path}"))?;
    let ExecStream { mut stdin, stdout, stderr, control } = server
        .exec_stream(instance, request)
        .await
        .map_err(|error| CommandError::caused("cannot run a command", error))?;
    let feed = async {
        tokio::io::copy(&mut file, &mut stdin).await?;
        stdin.shutdown().await
    };
    let most = u64::try_from(OUTPUT).unwrap_or(u64::MAX);
    let (mut out, mut said) = (stdout.take(most), Vec::new());
    let mut errors = stderr.take(most);
    let mut printed = Vec::new();
    let (fed, read, _) =
        tokio::join!(feed, errors.read_to_end(&mut said), out.read_to_end(&mut printed),);
    let code = control.wait(SHORT).await;
    let code = code.map_err(|error| CommandError::caused("the command did not exit", error))?;
    let said = String::from_utf8_lossy(&said);
    match code {
        0 => fed.and(read.map(drop)).doing("the connection was lost"),
        code => Err(CommandError::new(format!("it exited with {code}: {}", said.trim()))),
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
