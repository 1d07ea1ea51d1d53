//! Runs a command in a machine, connected to the streams of this process.

use std::io;
use std::time::Duration;

use incus_client::{ExecEnd, ExecRequest, ExecSignals, ExecStream, ExecTerminal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;

use super::open::MachineInstance;
use super::terminal::{self, Raw};
use crate::error::{CommandError, Doing as _};
use crate::exit::Exit;
use crate::signal::Interrupt;
use crate::ui::Ui;

/// Time limit of a command: practically unlimited.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a command may take to exit after an interrupt.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait for remaining output after the command has exited.
const REST: Duration = Duration::from_secs(2);
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Runs a command with separate streams and returns its exit code. With `passes_stdin`, the command
/// reads this process's stdin.
///
/// # Errors
///
/// Returns an error if the command cannot be run or the connection is lost.
///
/// # Cancellation
///
/// The server kills the command.
pub(super) async fn streams(
    ui: &Ui,
    inside: &MachineInstance,
    request: &ExecRequest,
    passes_stdin: bool,
) -> Result<Exit, CommandError> {
    let mut interrupt = Interrupt::listen()?;
    let started = inside.server.exec_stream(&inside.instance, request).await;
    let ExecStream { mut stdin, stdout, stderr, control } =
        started.map_err(|e| failed(inside, e))?;
    let (mut signals, end) = control.split();
    let (out, err) = (ui.clone(), ui.clone());
    let mut stdout = spawn(pump(stdout, move |bytes| out.bytes(bytes)));
    let mut stderr = spawn(pump(stderr, move |bytes| err.error_bytes(bytes)));
    let input = spawn(async move {
        if passes_stdin {
            copy(tokio::io::stdin(), &mut stdin).await?;
        }
        stdin.shutdown().await
    });
    let (mut broken, mut is_open) = (None, true);
    let ended = loop {
        tokio::select! {
            ended = end.wait(LONGEST) => break ended,
            over = &mut stdout, if is_open => match over {
                // The output is no longer read by anybody.
                Ok(Err(Broken::Here(error))) => return closed(error),
                // The command's exit explains the failure, if it is available.
                Ok(Err(Broken::There(error))) => {
                    (broken, is_open) = (Some(error), false);
                    break end.wait(GRACE).await;
                }
                // The command may have closed its output and still be running.
                _ => is_open = false,
            },
            kind = interrupt.wait_kind() => break asked_to_end(&mut signals, &end, kind).await?,
        }
    };
    drop(input);
    let ended = ended.map_err(|error| failed(inside, error))?;
    // A child process may hold the output open.
    let rest = tokio::time::timeout(REST, async {
        let stdout = if is_open { (&mut stdout).await } else { Ok(Ok(())) };
        [stdout, (&mut stderr).await]
    });
    for over in rest.await.into_iter().flatten() {
        match over {
            Ok(Err(Broken::Here(error))) => return closed(error),
            Ok(Err(Broken::There(error))) => broken = Some(error),
            _ => {}
        }
    }
    if let (Some(error), true) = (broken, ended.error.is_empty()) {
        return closed(error);
    }
    if !ended.error.is_empty() {
        ui.say(&ended.error);
    }
    Ok(Exit::of(ended.exit_code))
}

/// Runs a command on a remote terminal that is connected to the user's, and returns its exit code.
///
/// # Errors
///
/// Returns an error if the command cannot be run or the connection is lost.
///
/// # Cancellation
///
/// The server kills the command, and the user's terminal is restored.
pub(super) async fn on_terminal(
    ui: &Ui,
    inside: &MachineInstance,
    request: &ExecRequest,
    passes_stdin: bool,
) -> Result<Exit, CommandError> {
    let mut interrupt = Interrupt::listen()?;
    let mut resized = signal(SignalKind::window_change()).doing("cannot listen for signals")?;
    let started = inside.server.exec_terminal(&inside.instance, request, terminal::size()).await;
    let ExecTerminal { stream, control } = started.map_err(|error| failed(inside, error))?;
    let (mut signals, end) = control.split();
    let (reader, mut writer) = tokio::io::split(stream);
    let raw = passes_stdin.then(Raw::of_stdin).flatten();
    let out = ui.clone();
    let mut stdout = spawn(pump(reader, move |bytes| out.bytes(bytes)));
    let input = spawn(async move {
        if passes_stdin {
            copy(tokio::io::stdin(), &mut writer).await?;
        }
        io::Result::Ok(())
    });
    let mut input = Some(input);
    let ended = loop {
        tokio::select! {
            ended = end.wait(LONGEST) => break ended,
            // The server ends the command once this end of its terminal is closed too.
            _ = &mut stdout, if input.is_some() => drop(input.take()),
            _ = resized.recv() => {
                // A late resize is harmless.
                if let Err(error) = signals.resize(terminal::size()).await {
                    tracing::debug!(%error, "cannot send the terminal size to the command");
                }
            }
            kind = interrupt.wait_kind() => break asked_to_end(&mut signals, &end, kind).await?,
        }
    };
    let was_open = input.take().is_some();
    // Print remaining output before the terminal is restored.
    if was_open {
        drop(tokio::time::timeout(REST, &mut stdout).await);
    }
    drop(raw);
    let ended = ended.map_err(|error| failed(inside, error))?;
    if !ended.error.is_empty() {
        ui.say(&ended.error);
    }
    Ok(Exit::of(ended.exit_code))
}

fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(work))
}

/// Forwards an interrupt to the command and waits for its exit.
async fn asked_to_end(
    signals: &mut ExecSignals,
    end: &ExecEnd,
    kind: SignalKind,
) -> Result<Result<incus_client::ExecEnded, incus_client::Error>, CommandError> {
    let number = if kind == SignalKind::interrupt() { SIGINT } else { SIGTERM };
    if let Err(error) = signals.signal(number).await {
        tracing::debug!(%error, "cannot send the signal to the command");
    }
    tokio::time::timeout(GRACE, end.wait(GRACE)).await.map_err(|_| {
        CommandError::interrupted("interrupted; the command did not exit and was killed")
    })
}

/// Which end of a stream failed.
#[derive(Debug)]
enum Broken {
    /// This process.
    Here(io::Error),
    /// The server.
    There(io::Error),
}

/// Copies the command's output.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Broken> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await.map_err(Broken::There)? {
            0 => return Ok(()),
            n => write(&buffer[..n]).map_err(Broken::Here)?,
        }
    }
}

/// Copies stdin to the command as it arrives, so that typed lines are not delayed.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(()),
            n => {
                to.write_all(&buffer[..n]).await?;
                to.flush().await?;
            }
        }
    }
}

/// A closed reader is not an error.
fn closed(error: io::Error) -> Result<Exit, CommandError> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        _ => Err(CommandError::caused("the connection to the command was lost", error)),
    }
}

fn failed(inside: &MachineInstance, error: incus_client::Error) -> CommandError {
    let MachineInstance { instance, cluster, .. } = inside;
    let does_not_run = error.server_text().is_some_and(|text| text.contains("not running"));
    let error = CommandError::caused(format!("cannot run the command in `{instance}`"), error);
    match does_not_run {
        true => error.hint(format!("start it: `capn start {cluster}`")),
        false => error,
    }
}

#[cfg(test)]
mod tests {
    use incus_client::Client;
    use incus_client::api::{InstanceAction, InstanceSource, InstancesPost};
    use incus_sim::{ExecResult, Simulator};

    use super::*;
    use crate::ui::testing::captured;

    async fn inside(simulator: &Simulator) -> MachineInstance {
        simulator.add_image("default", "node", &[]);
        let server = Client::custom("simulator", simulator.connector());
        let post = InstancesPost {
            name: "a".into(),
            source: InstanceSource::alias("node"),
            ..InstancesPost::default()
        };
        server.create_instance(&post, None).await.unwrap().wait(GRACE).await.unwrap();
        let start = server.set_state("a", InstanceAction::Start, false, None).await.unwrap();
        start.wait(GRACE).await.unwrap();
        MachineInstance { server, instance: "a".into(), machine: "m".into(), cluster: "c".into() }
    }

    #[tokio::test]
    async fn streams_stay_separate_and_the_exit_code_is_returned() {
        let simulator = Simulator::new();
        let inside = inside(&simulator).await;
        for (code, exit) in [(0, Exit::Done), (7, Exit::Other(7)), (137, Exit::Other(137))] {
            simulator.on_exec(move |_| ExecResult {
                exit_code: code,
                stdout: "out\x1b[1m".into(),
                stderr: "bad".into(),
            });
            let (out, err, ui) = captured();
            let request = ExecRequest::new(["program"]);
            assert_eq!(streams(&ui, &inside, &request, false).await.unwrap(), exit);
            assert_eq!((out.text().as_str(), err.text().as_str()), ("out\x1b[1m", "bad"));
        }
    }

    #[tokio::test]
    async fn an_instance_that_stops_during_a_command_is_an_error_with_a_hint() {
        let simulator = Simulator::new();
        let inside = inside(&simulator).await;
        let stop = inside.server.set_state("a", InstanceAction::Stop, false, None).await.unwrap();
        stop.wait(GRACE).await.unwrap();
        let (_, _, ui) = captured();
        let error = streams(&ui, &inside, &ExecRequest::new(["x"]), false).await.unwrap_err();
        assert_eq!(error.hint_texts(), ["start it: `capn start c`"]);
    }
}
