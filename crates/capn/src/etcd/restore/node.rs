//! What is done in the instances, as root, through the server. Each step can be repeated.

use std::time::Duration;

use camino::Utf8Path;
use incus_client::{Client, ExecRequest, ExecStream};
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::member::{self, Member};
use super::note::Note;
use crate::error::{CommandError, Doing as _};

/// Where the snapshot and the program lie, until the end. Only root looks into it.
const WORK: &str = "/var/lib/capn-etcd-restore";
/// Where kubelet looks for static pods.
const MANIFESTS: &str = "/etc/kubernetes/manifests";
/// Where their manifests are meanwhile.
const ASIDE: &str = "/etc/kubernetes/capn-etcd-restore";
/// How long a short command may take.
const SHORT: Duration = Duration::from_secs(60);
/// How long pods may take to stop: kubelet gives them 30 s. It may not run: then they are killed.
const STOP: Duration = Duration::from_secs(45);
/// How long they may take after that.
const KILLED: Duration = Duration::from_secs(60);
/// How long a large snapshot may take, one way or the other.
const LONG: Duration = Duration::from_secs(3_600);
/// Pause between two looks at pods that stop: nothing tells of it.
const PAUSE: Duration = Duration::from_secs(1);
/// What is kept of what commands print.
const OUTPUT: usize = 16 << 10;
/// Lines of it that are shown.
const LINES: usize = 3;
/// The revision grows by so much, so that no client meets one that it has seen before.
const BUMP: &str = "1000000000";

/// Whether the instance has a static pod of etcd, now or moved aside.
pub(super) const HAS_ETCD: &str = "test -e /etc/kubernetes/manifests/etcd.yaml || test -e /etc/kubernetes/capn-etcd-restore/etcd.yaml";

/// Moves the manifests aside. The controllers stop too: they would go on with what they remember.
const MOVE_ASIDE: &str = r#"set -eu
umask 077
mkdir -p "$ASIDE"
for name in etcd kube-apiserver kube-controller-manager kube-scheduler; do
  if [ -e "$MANIFESTS/$name.yaml" ]; then mv -f "$MANIFESTS/$name.yaml" "$ASIDE/"; fi
done
"#;

/// Ends with 1 while one of the programs runs.
const STOPPED: &str = r#"for comm in /proc/[0-9]*/comm; do
  { read -r name <"$comm"; } 2>/dev/null || continue
  case $name in etcd|kube-apiserver) exit 1 ;; esac
done
"#;

/// Kills what the manifests started. kubelet starts nothing again that has no manifest.
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

/// Takes `etcdutl` out of the image that the node runs etcd from.
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

/// The image has no etcdutl.
const NO_PROGRAM: i32 = 3;

/// Makes the data and puts it in the place of the old, which is kept.
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

/// An instance of the control plane.
pub(super) struct Node<'a> {
    pub(super) server: &'a Client,
    pub(super) instance: &'a str,
    /// How a command is run in it by hand, up to its name.
    pub(super) exec: Option<&'a str>,
}

impl Node<'_> {
    /// Whether a command ends with 0.
    ///
    /// # Errors
    ///
    /// When it cannot be run.
    pub(super) async fn is_true(&self, script: &str) -> Result<bool, CommandError> {
        let request = request(script).deadline(SHORT);
        let code = self.server.exec_code(self.instance, &request).await;
        code.map(|code| code == 0).map_err(|error| self.failed("cannot run a command", error))
    }

    /// Stops the control plane, and waits until etcd and the API server are gone.
    ///
    /// # Errors
    ///
    /// When they do not stop even when they are killed.
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
            "etcd or the API server in `{}` still runs, {} s after it was killed",
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

    /// What the manifest of etcd says.
    ///
    /// # Errors
    ///
    /// When there is none, or not one of kubeadm.
    pub(super) async fn member(&self) -> Result<Member, CommandError> {
        for folder in [ASIDE, MANIFESTS] {
            let path = format!("{folder}/etcd.yaml");
            let found = self.server.pull_file(self.instance, &path).await;
            if let Some(file) = found.map_err(|error| self.failed("cannot read a file", error))? {
                return member::read(&file.content);
            }
        }
        Err(CommandError::new(format!("there is no manifest of etcd in `{}`", self.instance)))
    }

    /// Whether the data is in its place, from an earlier run.
    ///
    /// # Errors
    ///
    /// When no command can be run.
    pub(super) async fn is_restored(
        &self,
        note: &Note,
        member: &Member,
    ) -> Result<bool, CommandError> {
        let request = request(IS_RESTORED).env("ID", &note.id).env("DATA", &member.data);
        let code = self.server.exec_code(self.instance, &request.deadline(SHORT)).await;
        code.map(|code| code == 0).map_err(|error| self.failed("cannot run a command", error))
    }

    /// Sends the snapshot, unless it is there.
    ///
    /// # Errors
    ///
    /// When it does not arrive as it is.
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

    /// Makes the data of etcd from the snapshot. The old data stays beside it.
    ///
    /// # Errors
    ///
    /// When there is no etcdutl, or it fails.
    pub(super) async fn restore(&self, note: &Note, member: &Member) -> Result<(), CommandError> {
        let take = request(TAKE_PROGRAM).env("IMAGE", &member.image).deadline(LONG);
        self.run("take etcdutl out of the image of etcd", take).await.map_err(|error| {
            error.hint(format!(
                "the image `{}` has to have /usr/local/bin/etcdutl: official images have it since etcd 3.5, those that capn makes if the folder of binaries has it",
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
    /// When the manifests cannot be moved.
    pub(super) async fn start(&self) -> Result<(), CommandError> {
        if !self.is_true(&format!("test -d {ASIDE}")).await? {
            return Ok(());
        }
        self.run("move the manifests back", request(MOVE_BACK).deadline(SHORT)).await
    }

    /// The time there, which other machines of the cluster have too.
    ///
    /// # Errors
    ///
    /// When it does not say.
    pub(super) async fn now(&self) -> Result<Timestamp, CommandError> {
        let out = self.server.exec(self.instance, request("date +%s").deadline(SHORT)).await;
        let out = out.map_err(|error| self.failed("cannot ask for the time", error))?;
        let seconds = out.stdout_text().trim().parse::<i64>();
        let act = || format!("cannot understand the time in `{}`", self.instance);
        Timestamp::from_second(seconds.doing(act())?).doing(act())
    }

    /// Restarts kubelet, which then makes the Node anew if that is gone.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub(super) async fn restart_kubelet(&self) -> Result<(), CommandError> {
        self.run("restart kubelet", request("systemctl restart kubelet").deadline(SHORT)).await
    }

    /// Takes the snapshot away. The data as it was before stays.
    ///
    /// # Errors
    ///
    /// When it cannot be deleted.
    pub(super) async fn clean(&self) -> Result<(), CommandError> {
        self.run("delete the snapshot", request(CLEAN).deadline(SHORT)).await
    }

    async fn run(&self, what: &str, request: ExecRequest) -> Result<(), CommandError> {
        let act = format!("cannot {what} in `{}`", self.instance);
        let out = self.server.exec(self.instance, request).await;
        let out = out.map_err(|error| self.failed(&format!("cannot {what}"), error))?;
        match out.exit_code {
            0 => Ok(()),
            NO_PROGRAM => Err(CommandError::caused(act, "it is not there".to_owned())),
            code => {
                let said = out.last_lines(LINES);
                Err(CommandError::caused(act, format!("it ended with {code}: {said}")))
            }
        }
    }

    fn failed(&self, act: &str, error: incus_client::Error) -> CommandError {
        CommandError::caused(format!("{act} in `{}`", self.instance), error)
    }

    fn by_hand(&self, command: &str) -> Option<String> {
        Some(format!("look into it: `{} {} -- {command}`", self.exec?, self.instance))
    }
}

fn request(script: &str) -> ExecRequest {
    ExecRequest { output_limit_bytes: OUTPUT, ..ExecRequest::shell(script) }
        .env("WORK", WORK)
        .env("ASIDE", ASIDE)
        .env("MANIFESTS", MANIFESTS)
}

/// Runs a command that reads a file of this machine, piece by piece.
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
    let code = code.map_err(|error| CommandError::caused("the command did not end", error))?;
    let said = String::from_utf8_lossy(&said);
    match code {
        0 => fed.and(read.map(drop)).doing("the connection broke"),
        code => Err(CommandError::new(format!("it ended with {code}: {}", said.trim()))),
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
