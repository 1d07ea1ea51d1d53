//! Runs a command in a machine with the streams of this process.

use std::io;
use std::time::Duration;

use incus_client::{ExecEnd, ExecRequest, ExecSignals, ExecStream, ExecTerminal};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;

use super::open::Inside;
use super::terminal::{self, Raw};
use crate::error::{CommandError, Doing as _};
use crate::exit::Exit;
use crate::signal::Interrupt;
use crate::ui::Ui;

/// How long a command may run.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long it may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
/// How long output may take that is still on its way when the command has ended.
const REST: Duration = Duration::from_secs(2);
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

/// Runs a command whose streams are apart, and gives its exit code. With `passes_stdin` it reads what this
/// process reads, else nothing.
///
/// # Errors
///
/// When it cannot be run, or the connection breaks.
///
/// # Cancellation
///
/// The server kills the command.
pub(super) async fn streams(
    ui: &Ui,
    inside: &Inside,
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
                // Nobody reads what it writes any more.
                Ok(Err(Broken::Here(error))) => return closed(error),
                // How the command ended explains it, if that can be learned.
                Ok(Err(Broken::There(error))) => {
                    (broken, is_open) = (Some(error), false);
                    break end.wait(GRACE).await;
                }
                // It may have closed its output and go on.
                _ => is_open = false,
            },
            kind = interrupt.wait_kind() => break asked_to_end(&mut signals, &end, kind).await?,
        }
    };
    drop(input);
    let ended = ended.map_err(|error| failed(inside, error))?;
    // A child that it left behind may hold its output open.
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

/// Runs a command on a terminal of the server's, joined to the user's, and gives its exit code.
///
/// # Errors
///
/// When it cannot be run, or the connection breaks.
///
/// # Cancellation
///
/// The server kills the command; the user's terminal is as before.
pub(super) async fn on_terminal(
    ui: &Ui,
    inside: &Inside,
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
                // One that comes too late is of no use.
                if let Err(error) = signals.resize(terminal::size()).await {
                    tracing::debug!(%error, "the command was not told the size of the terminal");
                }
            }
            kind = interrupt.wait_kind() => break asked_to_end(&mut signals, &end, kind).await?,
        }
    };
    let was_open = input.take().is_some();
    // What is left is shown before the terminal is as it was.
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

/// Passes the request to end on to the command, and waits for it.
async fn asked_to_end(
    signals: &mut ExecSignals,
    end: &ExecEnd,
    kind: SignalKind,
) -> Result<Result<incus_client::ExecEnded, incus_client::Error>, CommandError> {
    let number = if kind == SignalKind::interrupt() { SIGINT } else { SIGTERM };
    if let Err(error) = signals.signal(number).await {
        tracing::debug!(%error, "the command was not told to end");
    }
    tokio::time::timeout(GRACE, end.wait(GRACE)).await.map_err(|_| {
        CommandError::interrupted("interrupted; the command did not end by itself and is killed")
    })
}

/// Which end of a stream broke.
#[derive(Debug)]
enum Broken {
    /// That of this process.
    Here(io::Error),
    /// That of the server.
    There(io::Error),
}

/// Hands on what a command writes.
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

/// Hands on what a command reads, piece by piece: a person's line is not held back.
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

/// A reader that is gone has enough.
fn closed(error: io::Error) -> Result<Exit, CommandError> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        _ => Err(CommandError::caused("the streams of the command broke", error)),
    }
}

fn failed(inside: &Inside, error: incus_client::Error) -> CommandError {
    let Inside { instance, cluster, .. } = inside;
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
    use crate::ui::testing::kept;

    async fn inside(simulator: &Simulator) -> Inside {
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
        Inside { server, instance: "a".into(), machine: "m".into(), cluster: "c".into() }
    }

    #[tokio::test]
    async fn streams_stay_apart_byte_by_byte_and_the_exit_code_is_passed_on() {
        let simulator = Simulator::new();
        let inside = inside(&simulator).await;
        for (code, exit) in [(0, Exit::Done), (7, Exit::Other(7)), (137, Exit::Other(137))] {
            simulator.on_exec(move |_| ExecResult {
                exit_code: code,
                stdout: "out\x1b[1m".into(),
                stderr: "bad".into(),
            });
            let (out, err, ui) = kept();
            let request = ExecRequest::new(["program"]);
            assert_eq!(streams(&ui, &inside, &request, false).await.unwrap(), exit);
            assert_eq!((out.text().as_str(), err.text().as_str()), ("out\x1b[1m", "bad"));
        }
    }

    #[tokio::test]
    async fn an_instance_that_was_stopped_meanwhile_is_an_error_with_the_way_out() {
        let simulator = Simulator::new();
        let inside = inside(&simulator).await;
        let stop = inside.server.set_state("a", InstanceAction::Stop, false, None).await.unwrap();
        stop.wait(GRACE).await.unwrap();
        let (_, _, ui) = kept();
        let error = streams(&ui, &inside, &ExecRequest::new(["x"]), false).await.unwrap_err();
        assert_eq!(error.hint_texts(), ["start it: `capn start c`"]);
    }
}
