//! How far the bootstrap data of an instance has come, as the instance itself tells.

/// A program for `sh -c` that tells how the bootstrap data fares by its exit code, which
/// [`Progress::read`] knows. What it prints is the end of cloud-init's output, when that failed.
///
/// `bootstrap-success.complete` is the sentinel file of Cluster API's bootstrap contract.
/// cloud-init alone cannot be believed: on a full disk it dies before it can write its status, so
/// that only systemd knows.
pub const LOOK: &str = r#"
if [ -e /run/cluster-api/bootstrap-success.complete ]; then exit 0; fi
unit=capn-bootstrap.service
if [ -e "/etc/systemd/system/$unit" ]; then
  if systemctl is-failed --quiet "$unit"; then
    tail -n 40 /var/log/cloud-init-output.log
    exit 41
  fi
  if systemctl is-active --quiet "$unit"; then exit 0; fi
  exit 40
fi
if ! command -v cloud-init >/dev/null; then exit 42; fi
for unit in cloud-init-local cloud-init-network cloud-init cloud-config cloud-final; do
  if systemctl is-failed --quiet "$unit.service" 2>/dev/null; then failed=1; fi
done
if [ -n "$failed" ]; then
  tail -n 40 /var/log/cloud-init-output.log
  echo
  df -P / | awk 'NR == 2 && $4 == 0 { print "No space left on device: the root disk is full" }'
  exit 41
fi
if systemctl is-active --quiet cloud-final.service; then exit 0; fi
exit 40
"#;

/// The exit code of [`LOOK`] with which its output is of use. Not 1, with which a server says that
/// it could not enter the instance.
pub const FAILED: i32 = 41;

/// Lines of the output that are worth showing.
const SHOWN_LINES: usize = 3;
/// Characters of one of them.
const SHOWN_CHARACTERS: usize = 300;

/// How far the bootstrap data of an instance has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is at work.
    Running,
    /// It succeeded, or it ended and claims nothing.
    Ended,
    /// It failed, and nothing tries again; the last lines that say something.
    Failed(Vec<String>),
    /// The instance cannot tell: it has no cloud-init.
    Unknown,
}

impl Progress {
    /// Reads how [`LOOK`] ended and what it printed.
    pub fn read(exit_code: i32, output: &str) -> Self {
        match exit_code {
            0 => Self::Ended,
            FAILED => Self::Failed(telling(output.lines())),
            40 => Self::Running,
            // 42 from the program; 126 and 127 without a shell; others from the server.
            _ => Self::Unknown,
        }
    }

    /// The message of a failure on the instance `name`.
    pub fn failure(lines: &[String], name: &str) -> String {
        let said = match lines {
            [] => "it left no output".to_owned(),
            lines => lines.join(" | "),
        };
        format!(
            "the bootstrap data of instance {name} failed: {said}; all of it: `incus exec {name} -- cat /var/log/cloud-init-output.log`; it does not run again by itself: delete the Machine or the cluster once the cause is gone"
        )
    }
}

/// The last lines that say something, errors before all others: cloud-init's own account of the
/// failure and Python's frames say nothing about the cause.
fn telling<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let noise = |line: &&str| {
        let line = line.trim();
        line.is_empty()
            || line.starts_with("File \"")
            || line.starts_with("Traceback")
            || line.starts_with("RuntimeError: Runparts")
            || line.starts_with("FALLBACK:")
            || line.starts_with("Cloud-init v.")
            || line.starts_with("To see the stack trace")
            || line.chars().all(|c| matches!(c, '^' | '~' | ' '))
            || line.contains("cc_scripts_user.py[WARNING]")
            || line.contains("util.py[WARNING]")
    };
    let is_error = |line: &&str| {
        let line = line.trim_start().to_lowercase();
        ["error", "[error", "fatal", "e:", "no space left"].iter().any(|it| line.starts_with(it))
    };
    let lines: Vec<&str> = lines.filter(|line| !noise(line)).collect();
    let errors: Vec<&str> = lines.iter().copied().filter(is_error).collect();
    let chosen = if errors.is_empty() { lines } else { errors };
    let first = chosen.len().saturating_sub(SHOWN_LINES);
    let shown = chosen.into_iter().skip(first);
    shown.map(|line| line.trim().chars().take(SHOWN_CHARACTERS).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_the_program_ended_is_read() {
        let cases = [
            (0, Progress::Ended),
            (FAILED, Progress::Failed(Vec::new())),
            (40, Progress::Running),
            (42, Progress::Unknown),
            (1, Progress::Unknown),
            (127, Progress::Unknown),
            (137, Progress::Unknown),
        ];
        for (code, want) in cases {
            assert_eq!(Progress::read(code, ""), want, "{code}");
        }
    }

    #[test]
    fn a_failure_shows_the_cause_and_not_the_noise() {
        let output = "[init] Using Kubernetes version: v1.36.2
error execution phase preflight: [ERROR Port-6443]: Port 6443 is in use
2026-11-24 17:11:36,000 - cc_scripts_user.py[WARNING]: Failed to run module scripts_user
Traceback (most recent call last):
  File \"/usr/lib/python3/dist-packages/cloudinit/atomic_helper.py\", line 51, in write_json
           ^^^^^^^^^^^
Cloud-init v. 22.4.2 finished at Tue, 24 Nov 2026 17:11:36 +0000. Datasource DataSourceNoCloud
";
        let Progress::Failed(lines) = Progress::read(FAILED, output) else {
            panic!("not read as a failure");
        };
        assert_eq!(
            lines,
            ["error execution phase preflight: [ERROR Port-6443]: Port 6443 is in use"]
        );
        let message = Progress::failure(&lines, "demo-0");
        assert!(
            message.contains("Port 6443 is in use; all of it: `incus exec demo-0"),
            "{message}"
        );
    }

    #[test]
    fn without_an_error_the_last_lines_are_shown() {
        let output = "one\ntwo\n\nthree\nfour\n";
        let Progress::Failed(lines) = Progress::read(FAILED, output) else {
            panic!("not read as a failure");
        };
        assert_eq!(lines, ["two", "three", "four"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let output = format!("{}\n", "x".repeat(5_000));
        let Progress::Failed(lines) = Progress::read(FAILED, &output) else {
            panic!("not read as a failure");
        };
        assert_eq!(lines.len(), 1);
        assert_eq!(lines.first().map(String::len), Some(SHOWN_CHARACTERS));
    }
}
