//! The simulator with the real client.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use incus_client::api::{InstanceAction, InstanceFilter, InstanceSource, InstancesPost};
use incus_client::{Client, Error, EventItem, ExecRequest, FileOptions};
use incus_sim::{Clock, ExecResult, Fault, FaultKind, Simulator};

const LONG: Duration = Duration::from_secs(20);

fn client(simulator: &Simulator) -> Client {
    Client::custom("simulator", simulator.connector())
}

fn post(name: &str) -> InstancesPost {
    InstancesPost {
        name: name.into(),
        source: InstanceSource::alias("capn/node"),
        ..InstancesPost::default()
    }
}

async fn launch(client: &Client, name: &str) -> Result<(), Error> {
    client.create_instance(&post(name), None).await?.wait(LONG).await?;
    let start = client.set_state(name, InstanceAction::Start, false, None).await?;
    start.wait(LONG).await.map(drop)
}

#[tokio::test]
async fn an_instance_is_created_and_deleted() {
    let simulator = Simulator::new();
    simulator.add_image("default", "capn/node", &[("os", "debian")]);
    simulator.on_exec(|call| ExecResult {
        exit_code: 3,
        stdout: call.stdin.clone(),
        stderr: Bytes::from(call.request.command.join(" ")),
    });
    let client = client(&simulator);
    launch(&client, "web").await.unwrap();
    let found = client.instance("web").await.unwrap().unwrap();
    assert_eq!(found.config["image.os"], "debian");
    assert!(found.expanded_devices.contains_key("root"));
    let state = client.instance_state("web").await.unwrap().unwrap();
    assert_eq!(state.global_addresses().len(), 1);

    let output = client.exec("web", ExecRequest::new(["a", "b"]).stdin("in")).await.unwrap();
    assert_eq!((output.exit_code, output.stdout_text().as_ref()), (3, "in"));
    assert_eq!(output.stderr_text(), "a b");

    let options = FileOptions { mode: Some(0o600), ..FileOptions::default() };
    client.push_file("web", "/etc/x", "one", &options).await.unwrap();
    client.push_file("web", "/etc/x", "two", &options).await.unwrap();
    assert_eq!(client.pull_file("web", "/etc/x").await.unwrap().unwrap().content, "two");
    assert_eq!(client.list_dir("web", "/etc").await.unwrap().unwrap(), ["x"]);
    assert_eq!(simulator.file("default", "web", "/etc/x").unwrap(), "two");

    assert!(client.delete_instance("web").await.is_err(), "it runs");
    let stop = client.set_state("web", InstanceAction::Stop, true, None).await.unwrap();
    stop.wait(LONG).await.unwrap();
    client.delete_instance("web").await.unwrap().wait(LONG).await.unwrap();
    assert!(simulator.instances().is_empty());
}

#[tokio::test]
async fn a_stepped_operation_ends_on_step() {
    let simulator = Simulator::new();
    simulator.add_image("default", "capn/node", &[]);
    simulator.set_clock(Clock::Stepped);
    let client = client(&simulator);
    let create = client.create_instance(&post("web"), None).await.unwrap();
    let found = client.operations_for("/1.0/instances/web").await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(create.wait(Duration::from_millis(50)).await.is_err());
    assert!(simulator.step() && !simulator.step());
    create.wait(LONG).await.unwrap();
    assert_eq!(client.instances(&InstanceFilter::new()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_restart_loses_operations_and_their_effect() {
    let simulator = Simulator::new();
    simulator.add_image("default", "capn/node", &[]);
    simulator.set_clock(Clock::Stepped);
    let client = client(&simulator);
    let create = client.create_instance(&post("web"), None).await.unwrap();
    simulator.restart();
    let error = create.wait(LONG).await.unwrap_err();
    assert!(matches!(error, Error::OperationLost { .. }), "{error:?}");
    let (_, left) = simulator.instances().pop().unwrap();
    assert!(left.is_stopped() && !left.config.contains_key("volatile.apply_template"), "{left:?}");
    let delete = client.delete_instance("web").await.unwrap();
    assert!(simulator.step());
    delete.wait(LONG).await.unwrap();
    assert!(simulator.instances().is_empty());
}

#[tokio::test]
async fn a_server_on_a_socket_can_stop_and_restart() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("unix.socket");
    let simulator = Simulator::new();
    let client = Client::unix(&socket);
    assert!(client.server().await.is_err());
    for _ in 0..2 {
        let listening = simulator.listen(&socket).unwrap();
        assert!(client.server().await.is_ok());
        drop(listening);
        assert!(client.server().await.is_err());
    }
}

/// Two sockets stand for two members of a server cluster.
#[tokio::test]
async fn the_client_fails_over_to_another_socket() {
    let directory = tempfile::tempdir().unwrap();
    let sockets = [directory.path().join("one"), directory.path().join("two")];
    let simulator = Simulator::new();
    simulator.add_image("default", "capn/node", &[]);
    simulator.set_clock(Clock::Stepped);
    let listening = simulator.listen(&sockets[0]).unwrap();
    let _other = simulator.listen(&sockets[1]).unwrap();
    let client = Client::unix_builder(&sockets[0]).or(Client::unix_builder(&sockets[1])).build();
    let mut events = client.events(&[]);
    assert!(matches!(events.next().await, Some(EventItem::Connected)));

    // Closed during a wait for an operation.
    let create = client.create_instance(&post("web"), None).await.unwrap();
    let meanwhile = async {
        drop(listening);
        while !matches!(events.next().await, Some(EventItem::Reconnected)) {}
        assert!(simulator.step());
    };
    let meanwhile = tokio::time::timeout(LONG, meanwhile);
    let (ended, again) = tokio::join!(create.wait(LONG), meanwhile);
    again.expect("waited for the event stream to stand at the other socket");
    ended.unwrap();
    assert_eq!(client.instances(&InstanceFilter::new()).await.unwrap().len(), 1);
    let known = tokio::time::timeout(LONG, async {
        while let Some(item) = events.next().await {
            if let EventItem::Event(event) = item
                && event.operation().is_some_and(|ended| ended.status_code.is_final())
            {
                return;
            }
        }
    });
    known.await.expect("waited for the event of the operation that ended");
}

#[tokio::test]
async fn a_full_server_creates_nothing_and_leaves_nothing_behind() {
    let simulator = Simulator::new();
    simulator.add_image("default", "capn/node", &[]);
    simulator.set_full(true);
    let client = client(&simulator);
    let error = launch(&client, "web").await.unwrap_err();
    assert!(error.server_text().unwrap().contains("no space left on device"), "{error}");
    assert!(simulator.instances().is_empty());
    simulator.set_full(false);
    launch(&client, "web").await.unwrap();
    let told: Vec<_> = simulator.history().into_iter().map(|happened| happened.action).collect();
    // A failed creation is rolled back and reported, as on the real server.
    let created = ["instance-created", "instance-deleted", "instance-created", "instance-started"];
    assert_eq!(told, created);
}

#[tokio::test]
async fn stalled_requests_take_effect_before_or_not_at_all() {
    for (fault, made) in [(FaultKind::StallBefore, 0), (FaultKind::StallAfter, 1)] {
        let simulator = Simulator::new();
        simulator.add_image("default", "capn/node", &[]);
        simulator.inject(Fault::matching("POST /1.0/instances", fault));
        let client = client(&simulator);
        let (post, held) = (post("web"), simulator.stalled());
        tokio::select! {
            made = client.create_instance(&post, None) => panic!("answered: {made:?}"),
            () = held => {}
        }
        assert_eq!(simulator.instances().len(), made, "{fault:?}");
    }
}

/// Every request of a launch fails, is cut before or after its effect, or is doubled. The launch is
/// then repeated as a caller does, and must result in one running instance.
#[tokio::test]
async fn a_launch_is_finished_whatever_happens_to_its_requests() {
    const TRIES: usize = 4;
    let good = Simulator::new();
    good.add_image("default", "capn/node", &[]);
    for _ in 0..TRIES {
        resume(&client(&good), "web").await;
    }
    assert_eq!(good.requests().iter().filter(|r| r.changes()).count(), 2);
    let faults =
        [FaultKind::Fail(503), FaultKind::CutBefore, FaultKind::CutAfter, FaultKind::Twice];
    for number in 1..=good.requests().len() {
        for fault in faults {
            let simulator = Simulator::new();
            simulator.add_image("default", "capn/node", &[]);
            simulator.inject(Fault::nth(number, fault));
            let client = client(&simulator);
            for _ in 0..TRIES {
                resume(&client, "web").await;
            }
            let instances = simulator.instances();
            assert_eq!(instances.len(), 1, "{fault:?} at {number}");
            assert!(instances[0].1.is_running(), "{fault:?} at {number}");
        }
    }
}

/// Completes the launch from any state; errors are left to the next attempt.
async fn resume(client: &Client, name: &str) {
    let step = async {
        match client.instance(name).await? {
            None => client.create_instance(&post(name), None).await?.wait(LONG).await?,
            Some(found) if found.is_running() => return Ok(()),
            Some(_) => {
                let start = client.set_state(name, InstanceAction::Start, false, None).await?;
                start.wait(LONG).await?
            }
        };
        Ok::<_, Error>(())
    };
    if let Err(error) = step.await {
        assert!(error.is_transient() || error.server_text().is_some(), "{error}");
    }
}
