//! Commands in instances.

use std::time::{Duration, Instant};

use incus_client::api::InstanceAction;
use incus_client::{Error, ExecRequest, ExecTerminal, TerminalSize, TerminalStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{MINUTE, in_project, running, wait_for};

#[tokio::test]
async fn a_command_gives_its_output_and_exit_code() {
    let test = "a_command_gives_its_output_and_exit_code";
    in_project(test, |_, client| async move {
        let Some(name) = running(test, &client).await else { return };
        let request = ExecRequest::shell("cat; echo $A; pwd; echo bad >&2; exit 3")
            .stdin("in\n")
            .env("A", "b c");
        let request = ExecRequest { cwd: Some("/etc".into()), ..request };
        let output = client.exec(&name, request).await.unwrap();
        assert_eq!(output.exit_code, 3);
        assert_eq!(output.stdout_text(), "in\nb c\n/etc\n");
        assert_eq!(output.stderr_text(), "bad\n");

        let request = ExecRequest { user: 7, group: 8, ..ExecRequest::shell("id -u; id -g") };
        assert_eq!(client.exec(&name, request).await.unwrap().stdout_text(), "7\n8\n");

        let none = client.exec(&name, ExecRequest::new(["/no/such/program"])).await.unwrap();
        assert_eq!(none.exit_code, 127, "{none:?}");
        assert!(!none.stderr.is_empty(), "{none:?}");

        let killed = client.exec(&name, ExecRequest::shell("kill -9 $$")).await.unwrap();
        assert_eq!(killed.exit_code, 137);
    })
    .await;
}

#[tokio::test]
async fn an_exit_code_needs_no_streams() {
    let test = "an_exit_code_needs_no_streams";
    in_project(test, |_, client| async move {
        let Some(name) = running(test, &client).await else { return };
        let cases = [
            // It has input and output, as with streams.
            (ExecRequest::shell("cat; echo out; echo bad >&2; exit 3"), 3),
            (ExecRequest::shell("kill -9 $$"), 137),
            (ExecRequest::new(["/no/such/program"]), 127),
        ];
        for (request, expected) in cases {
            let code = client.exec_code(&name, &request).await.unwrap();
            assert_eq!(code, expected, "{:?}", request.command);
        }
        let slow = ExecRequest::shell("sleep 5").deadline(Duration::from_secs(1));
        let error = client.exec_code(&name, &slow).await.unwrap_err();
        assert!(matches!(error, Error::ExecDeadline { .. }), "{error}");
        let error = client.exec_code("capn-t-none", &slow).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
    })
    .await;
}

#[tokio::test]
async fn large_input_and_output_are_streamed() {
    let test = "large_input_and_output_are_streamed";
    in_project(test, |_, client| async move {
        let Some(name) = running(test, &client).await else { return };
        let input: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
        let request = ExecRequest::new(["cat"]).stdin(input.clone());
        let output = client.exec(&name, request).await.unwrap();
        assert!(output.stdout == input, "{} of {} bytes", output.stdout.len(), input.len());

        let request = ExecRequest::new(["head", "-c", "3"]).stdin(input);
        let output = client.exec(&name, request).await.unwrap();
        assert_eq!((output.exit_code, output.stdout.len()), (0, 3), "input left over is fine");

        let request = ExecRequest::shell("head -c 100000 /dev/zero");
        let request = ExecRequest { output_limit_bytes: 10, ..request };
        let output = client.exec(&name, request).await.unwrap();
        assert_eq!((output.exit_code, output.stdout.len()), (0, 10));
    })
    .await;
}

#[tokio::test]
async fn a_command_is_killed_at_its_deadline() {
    let test = "a_command_is_killed_at_its_deadline";
    in_project(test, |_, client| async move {
        let Some(name) = running(test, &client).await else { return };
        let request = ExecRequest::new(["sleep", "7777"]).deadline(Duration::from_secs(1));
        let started = Instant::now();
        let error = client.exec(&name, request).await.unwrap_err();
        assert!(matches!(error, Error::ExecDeadline { .. }), "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(60));
        wait_for("the command to be gone", || async {
            let ps = client.exec(&name, ExecRequest::new(["ps"])).await.unwrap();
            (!ps.stdout_text().contains("7777")).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_stopped_instance_runs_nothing() {
    let test = "a_stopped_instance_runs_nothing";
    in_project(test, |_, client| async move {
        let Some(name) = running(test, &client).await else { return };
        let stop = client.set_state(&name, InstanceAction::Stop, true, None).await.unwrap();
        stop.wait(MINUTE).await.unwrap();
        let error = client.exec(&name, ExecRequest::new(["true"])).await.unwrap_err();
        assert!(error.server_text().unwrap().contains("not running"), "{error}");
        let error = client.exec("capn-t-none", ExecRequest::new(["true"])).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_and_ends_with_its_owner() {
    let test = "a_tunnel_carries_bytes_both_ways_and_ends_with_its_owner";
    in_project(test, |_, client| async move {
        let Some(name) = running(test, &client).await else { return };
        let request = ExecRequest::shell("echo ready >&2; exec cat");
        let mut tunnel = client.tunnel(&name, &request).await.unwrap();
        for text in ["one", "two"] {
            tunnel.write_all(text.as_bytes()).await.unwrap();
            tunnel.flush().await.unwrap();
            let mut back = [0; 3];
            tunnel.read_exact(&mut back).await.unwrap();
            assert_eq!(back, text.as_bytes());
        }
        wait_for("stderr", || async { (tunnel.stderr_tail() == "ready\n").then_some(()) }).await;
        tunnel.shutdown().await.unwrap();
        let mut rest = Vec::new();
        tunnel.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());

        let dropped = client.tunnel(&name, &ExecRequest::new(["sleep", "8888"])).await.unwrap();
        drop(dropped);
        wait_for("the command to be gone", || async {
            let ps = client.exec(&name, ExecRequest::new(["ps"])).await.unwrap();
            (!ps.stdout_text().contains("8888")).then_some(())
        })
        .await;

        let mut failing = client.tunnel(&name, &ExecRequest::shell("echo no >&2")).await.unwrap();
        failing.read_to_end(&mut rest).await.unwrap();
        wait_for("the reason", || async { (failing.stderr_tail() == "no\n").then_some(()) }).await;
    })
    .await;
}

#[tokio::test]
async fn a_signal_reaches_the_command() {
    let test = "a_signal_reaches_the_command";
    in_project(test, |_, client| async move {
        let Some(name) = running(test, &client).await else { return };
        let script = "trap 'exit 5' USR1; echo set; while :; do sleep 1 & wait $!; done";
        let mut stream = client.exec_stream(&name, &ExecRequest::shell(script)).await.unwrap();
        let mut ready = [0; 4];
        stream.stdout.read_exact(&mut ready).await.unwrap();
        stream.control.signal(10).await.unwrap();
        assert_eq!(stream.control.wait(MINUTE).await.unwrap(), 5);
    })
    .await;
}

#[tokio::test]
async fn a_command_on_a_terminal_has_its_size_and_ends_when_it_is_closed() {
    let test = "a_command_on_a_terminal_has_its_size_and_ends_when_it_is_closed";
    in_project(test, |_, client| async move {
        let Some(name) = running(test, &client).await else { return };
        let size = TerminalSize { columns: 101, rows: 33 };
        // Repeated for each line that it reads, until it is told to exit.
        let script = "while read line && [ \"$line\" != end ]; do busybox stty size; done; exit 5";
        let request = ExecRequest::shell(script).env("TERM", "xterm");
        let ExecTerminal { mut stream, control } =
            client.exec_terminal(&name, &request, size).await.unwrap();
        let (mut signals, end) = control.split();
        asked_until(&mut stream, "33 101").await;
        signals.resize(TerminalSize { columns: 122, rows: 44 }).await.unwrap();
        // The size is sent over another connection than the input.
        asked_until(&mut stream, "44 122").await;
        stream.write_all(b"end\n").await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        // The server waits for this end.
        drop(stream);
        let ended = end.wait(MINUTE).await.unwrap();
        assert_eq!((ended.exit_code, ended.error.as_str()), (5, ""));
    })
    .await;
}

/// Types lines until the command has written a text.
async fn asked_until(stream: &mut TerminalStream, text: &str) {
    let mut seen = String::new();
    let asking = async {
        while !seen.contains(text) {
            stream.write_all(b"a\n").await.unwrap();
            let mut buffer = [0; 4096];
            let n = stream.read(&mut buffer).await.unwrap();
            assert_ne!(n, 0, "ended with {seen:?}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    };
    if tokio::time::timeout(MINUTE, asking).await.is_err() {
        panic!("no {text:?} within a minute: {seen:?}");
    }
}
