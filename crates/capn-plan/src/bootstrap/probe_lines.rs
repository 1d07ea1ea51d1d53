//! Selection of the output lines that explain a failure.

/// Maximum number of lines shown.
const SHOWN_LINES: usize = 3;
/// Maximum number of characters per line.
const SHOWN_CHARACTERS: usize = 300;

/// Returns the last meaningful lines, preferring errors. Skips cloud-init's own summary of the
/// failure and Python stack frames, which do not name the cause.
pub(super) fn probe_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
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
    fn a_failure_shows_the_cause_and_not_the_noise() {
        let output = "[init] Using Kubernetes version: v1.36.2
error execution phase preflight: [ERROR Port-6443]: Port 6443 is in use
2026-11-24 17:11:36,000 - cc_scripts_user.py[WARNING]: Failed to run module scripts_user
Traceback (most recent call last):
  File \"/usr/lib/python3/dist-packages/cloudinit/atomic_helper.py\", line 51, in write_json
           ^^^^^^^^^^^
Cloud-init v. 22.4.2 finished at Tue, 24 Nov 2026 17:11:36 +0000. Datasource DataSourceNoCloud
";
        assert_eq!(
            probe_lines(output.lines()),
            ["error execution phase preflight: [ERROR Port-6443]: Port 6443 is in use"]
        );
    }

    #[test]
    fn without_an_error_the_last_lines_are_shown() {
        assert_eq!(probe_lines("one\ntwo\n\nthree\nfour\n".lines()), ["two", "three", "four"]);
    }

    #[test]
    fn a_long_line_is_truncated() {
        let output = format!("{}\n", "x".repeat(5_000));
        let lines = probe_lines(output.lines());
        assert_eq!(lines.len(), 1);
        assert_eq!(lines.first().map(String::len), Some(SHOWN_CHARACTERS));
    }
}
