//! The program that inspects an instance.

/// A program for `sh -c` that reports the progress of the bootstrap data by its exit code, which
/// [`ProbeResult::read`](super::ProbeResult::read) parses. Where the output is useful, it prints
/// the end of cloud-init's output.
///
/// * `bootstrap-success.complete` is the sentinel file of Cluster API's bootstrap contract. It
///   means that kubeadm succeeded; commands after kubeadm may still run or fail.
/// * The status of cloud-init alone is not reliable. Its script continues after a failed command,
///   so only the last command counts; on a full disk it exits before it can write its status, so
///   only systemd knows of the failure.
/// * The data runs once in the lifetime of an instance. cloud-init reports success for later boots
///   whatever happened to the data. They are recognized by the semaphore of cloud-init, which is
///   older than the boot.
pub const PROBE: &str = r#"
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

/// The data is still running.
pub(super) const RUNNING: i32 = 40;
/// Exit code of [`PROBE`] for a failure, in which case its output is useful. It is not 1, which
/// servers use when they cannot enter the instance.
pub const FAILED: i32 = 41;
/// Nothing in the instance can report.
pub(super) const UNAVAILABLE: i32 = 42;
/// Exit code of [`PROBE`] for data that ended without a failure and without a sentinel file. Its
/// output is useful if that counts as a failure.
pub const NO_SENTINEL: i32 = 43;
/// The data ran before the instance was last started.
pub(super) const BEFORE_RESTART: i32 = 44;

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
