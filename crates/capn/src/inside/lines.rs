//! A command's output line by line, as long as it runs.

use std::time::Duration;

use incus_client::{ExecRequest, ExecStream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::open::Inside;
use crate::error::{CommandError, Doing as _};

/// A longer line comes in pieces.
const LONGEST: usize = 64 << 10;
/// How much of the error output is kept to explain a failure.
const KEPT: u64 = 4 << 10;
/// How long a command may run.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Runs a command in a machine, and hands on each line that it prints.
///
/// # Errors
///
/// When it cannot be run, does not end with 0, or a line is not taken.
///
/// # Cancellation
///
/// The server kills the command.
pub(crate) async fn each(
    inside: &Inside,
    request: &ExecRequest,
    mut take: impl FnMut(&str) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let Inside { server, instance, .. } = inside;
    let doing = || format!("cannot read the journal of `{instance}`");
    let started = server.exec_stream(instance, request).await;
    let ExecStream { mut stdin, stdout, stderr, control } = started.doing(doing())?;
    if let Err(error) = stdin.shutdown().await {
        tracing::debug!(%error, "the command reads nothing anyway");
    }
    let mut said = Vec::new();
    let mut stderr = stderr.take(KEPT);
    let (read, _) = tokio::join!(split(stdout, &mut take), async {
        // What is lost of it explains nothing.
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
        ("", "") => format!("journalctl ended with {}", ended.exit_code),
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
        let n = from.read(&mut buffer).await.doing("the connection to the server broke")?;
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
    async fn lines_are_bounded_and_the_last_needs_no_end() {
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
