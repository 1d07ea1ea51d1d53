//! The program that looks into an instance.

/// A program for `sh -c` that tells how the bootstrap data fares by its exit code, which
/// [`Answer::read`](super::Answer::read) knows. What it prints is the end of cloud-init's output,
/// when that may be asked for.
///
/// * `bootstrap-success.complete` is the sentinel file of Cluster API's bootstrap contract. It
///   says that kubeadm succeeded; commands after kubeadm may still run, or fail.
/// * cloud-init alone cannot be believed. Its script goes on after a command that failed, so that
///   only the last one counts; and on a full disk it dies before it can write its status, so that
///   only systemd knows.
/// * The data runs once in the life of an instance. Later starts look well to cloud-init,
///   whatever became of the data: they are told by its mark, which is older than the start.
pub const LOOK: &str = r#"
sentinel=/run/cluster-api/bootstrap-success.complete
output=/var/log/cloud-init-output.log
said() {
  if grep -qs 'Failed to run module scripts.user' "$output"; then
    grep -B 40 'Failed to run module scripts.user' "$output" | tail -n 41
  else
    tail -n 40 "$output"
  fi
}
unit=capn-bootstrap.service
if [ -e "/etc/systemd/system/$unit" ]; then
  if systemctl is-failed --quiet "$unit"; then said; exit 41; fi
  if [ -e "$sentinel" ] && ! systemctl show -p ActiveState "$unit" | grep -q activating; then
    exit 0
  fi
  if systemctl is-active --quiet "$unit"; then said; exit 43; fi
  if [ -e /var/lib/capn/bootstrap.done ]; then exit 44; fi
  exit 40
fi
if ! command -v cloud-init >/dev/null || [ -e /run/cloud-init/disabled ]; then
  if [ -e "$sentinel" ]; then exit 0; fi
  exit 42
fi
final=$(systemctl show -p ActiveState cloud-final.service)
case "$final" in *activating*) exit 40 ;; esac
if [ -e "$sentinel" ]; then
  result=/run/cloud-init/result.json
  case "$final" in
    *failed*) if [ ! -e "$result" ] || grep -q 'scripts.user' "$result"; then said; exit 41; fi ;;
  esac
  exit 0
fi
if systemctl is-failed --quiet cloud-init-local cloud-init-network cloud-init cloud-init-main \
  cloud-config cloud-final 2>/dev/null; then
  said
  echo
  df -P / | awk 'NR == 2 && $4 == 0 { print "No space left on device: the root disk is full" }'
  exit 41
fi
case "$final" in *=active) ;; *) exit 40 ;; esac
mark=/var/lib/cloud/instance/sem/config_scripts_user
if [ "$mark" -ot /run/cloud-init/instance-data.json ]; then
  if grep -qs 'Failed to run module scripts.user' "$output" /var/log/cloud-init.log; then
    said
    exit 41
  fi
  exit 44
fi
said
exit 43
"#;

/// It is at work.
pub(super) const RUNNING: i32 = 40;
/// The exit code of [`LOOK`] for a failure, with which its output is of use. Not 1, with which a
/// server says that it could not enter the instance.
pub const FAILED: i32 = 41;
/// There is nothing that could tell.
pub(super) const MUTE: i32 = 42;
/// The exit code of [`LOOK`] for data that ended well and left no sentinel file. Its output is of
/// use where that is a failure.
pub const QUIET: i32 = 43;
/// The data ran before the instance was last started.
pub(super) const EARLIER: i32 = 44;

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
