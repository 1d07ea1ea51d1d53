//! Reads the output of a running command line by line.

use std::time::Duration;

use incus_client::{ExecRequest, ExecStream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::open::MachineInstance;
use crate::error::{CommandError, Doing as _};

/// Longer lines are split.
const LONGEST: usize = 64 << 10;
/// How much error output is kept to explain a failure.
const KEPT: u64 = 4 << 10;
/// Time limit of a command: practically unlimited.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Runs a command in a machine and passes on each line of its output.
///
/// # Errors
///
/// Returns an error if the command cannot be run, if it exits with a non-zero code, or if a line
/// cannot be passed on.
///
/// # Cancellation
///
/// The server kills the command.
pub(crate) async fn each(
    inside: &MachineInstance,
    request: &ExecRequest,
    mut take: impl FnMut(&str) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let MachineInstance { server, instance, .. } = inside;
    let doing = || format!("cannot read the journal of `{instance}`");
    let started = server.exec_stream(instance, request).await;
    let ExecStream { mut stdin, stdout, stderr, control } = started.doing(doing())?;
    if let Err(error) = stdin.shutdown().await {
        tracing::debug!(%error, "cannot close the command's stdin");
    }
    let mut said = Vec::new();
    let mut stderr = stderr.take(KEPT);
    let (read, _) = tokio::join!(split(stdout, &mut take), async {
        // Lost error output is not essential.
        drop(stderr.read_to_end(&mut said).await);
        drop(tokio::io::copy(&mut stderr.into_inner(), &mut tokio::io::sink()).await);
    });
    let (_signals, end) = control.split();
    let ended = end.wait(FOR_EVER).await.doing(doing())?;
    read?;
    if ended.exit_code == 0 {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let why = match (said.trim(), ended.error.as_str()) {
        ("", "") => format!("journalctl exited with {}", ended.exit_code),
        ("", error) => error.to_owned(),
        (said, _) => said.to_owned(),
    };
    Err(CommandError::caused(doing(), why))
}

async fn split(
    mut from: impl AsyncRead + Unpin,
    take: &mut impl FnMut(&str) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut line: Vec<u8> = Vec::new();
    let mut buffer = vec![0; 32 << 10];
    loop {
        let n = from.read(&mut buffer).await.doing("the connection to the server was lost")?;
        if n == 0 {
            break;
        }
        for byte in &buffer[..n] {
            if *byte != b'\n' {
                line.push(*byte);
            }
            if *byte == b'\n' || line.len() >= LONGEST {
                take(&String::from_utf8_lossy(&line))?;
                line.clear();
            }
        }
    }
    match line.is_empty() {
        true => Ok(()),
        false => take(&String::from_utf8_lossy(&line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_bounded_and_the_last_needs_no_newline() {
        let long = "x".repeat(LONGEST + 1);
        let text = format!("a\n\n{long}\nb");
        let mut lines = Vec::new();
        let mut take = |line: &str| {
            lines.push(line.to_owned());
            Ok(())
        };
        split(text.as_bytes(), &mut take).await.unwrap();
        assert_eq!(lines, ["a", "", &long[..LONGEST], "x", "b"]);
    }
}
