//! Every request of a good run goes wrong, and the end is the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use capn_plan::InstanceName;
use futures::{StreamExt as _, stream};
use incus_sim::{Clock, Fault, FaultKind, Seen};
use kube_plane::Plane;

use crate::{
    objects::CLUSTER,
    story::{Told, play},
    world::{World, plane},
};

/// How many runs go on at once.
const AT_ONCE: usize = 6;
/// Planes that they share. In one plane every change of one run wakes the watches of all others.
const PLANES: usize = 3;
/// With this variable every request goes wrong in every way, which takes minutes.
const ALL: &str = "CAPN_TEST_ALL_FAULTS";

/// The ways a request goes wrong. The last two also kill the reconcilers, before and after its
/// effect, and start them anew.
const WAYS: [FaultKind; 7] = [
    FaultKind::Fail(500),
    FaultKind::CutBefore,
    FaultKind::CutAfter,
    FaultKind::Twice,
    FaultKind::Restart,
    FaultKind::StallBefore,
    FaultKind::StallAfter,
];
/// Those that differ for a request without effect.
const WAYS_OF_READS: [FaultKind; 4] =
    [FaultKind::Fail(500), FaultKind::CutBefore, FaultKind::Restart, FaultKind::StallBefore];

/// One request of the good run: what it is, and how many like it came before.
#[derive(Clone, Debug)]
struct Which {
    text: String,
    before: usize,
    changes: bool,
    /// None of its kind came before. Another worker is of the same kind, and so is a control plane,
    /// whose instance is made and deleted by the same steps.
    first: bool,
}

/// The first change of a kind goes wrong in every way; further ones and reads in one way each, in
/// turn.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_a_request_the_end_is_the_same() {
    let begin = Instant::now();
    let mut planes = Vec::new();
    for _ in 0..PLANES {
        planes.push(plane().await);
    }
    let (told, requests) = good_run(&planes[0]).await;
    println!("a good run takes {} requests and {:?}", requests.len(), begin.elapsed());

    let all = std::env::var_os(ALL).is_some();
    let cases = requests.into_iter().enumerate().flat_map(|(at, which)| {
        let ways = match which.changes {
            _ if all || (which.changes && which.first) => WAYS.to_vec(),
            true => vec![WAYS[at % WAYS.len()]],
            false => vec![WAYS_OF_READS[at % WAYS_OF_READS.len()]],
        };
        ways.into_iter().map(move |kind| (which.clone(), kind))
    });
    let cases: Vec<_> = cases.enumerate().collect();
    let runs = cases.len();
    let ended: Vec<_> = stream::iter(cases)
        .map(|(number, (which, kind))| {
            let plane = planes[number % PLANES].clone();
            let (told, what) = (told.clone(), which.clone());
            let run = async move { bad_run(&plane, &told, number, &which, kind).await };
            let run = tokio::spawn(run);
            async move { run.await.map_err(|panic| format!("{kind:?} at {what:?}: {panic}")) }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let failed: Vec<_> = ended.iter().filter_map(|run| run.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} of {runs} runs failed: {failed:#?}", failed.len());
    let met = ended.iter().filter(|run| matches!(run, Ok(true))).count();
    println!("{met} of {runs} runs met their fault, after {:?}", begin.elapsed());
    // Reads come more or less often from run to run.
    assert!(met * 100 >= runs * 85, "only {met} of {runs} runs met their fault");
}

async fn good_run(plane: &Plane) -> (Told, Vec<Which>) {
    let mut world = World::new(plane, "good").await;
    world.start();
    let told = play(&world, None).await;
    let (mut before, mut kinds) = (BTreeMap::new(), BTreeSet::new());
    let requests = world.simulator.requests().into_iter().map(|request| {
        let text = pattern(&request, &world.namespace);
        let count = before.entry(text.clone()).or_insert(0);
        *count += 1;
        let kind = text.replace("demo-cp", "demo-md-").replace(char::is_numeric, "");
        let first = kinds.insert(kind);
        Which { text, before: *count - 1, changes: request.changes(), first }
    });
    (told, requests.collect())
}

/// The request without what differs from run to run.
fn pattern(request: &Seen, namespace: &str) -> String {
    let path = match request.path.strip_prefix("/1.0/operations/") {
        Some(_) => "/1.0/operations/".to_owned(),
        None => request.path.replace(balancer(namespace).as_str(), BALANCER),
    };
    format!("{} {path}", request.method)
}

/// Stands for the load balancer, whose name depends on the namespace.
const BALANCER: &str = "BALANCER";

fn balancer(namespace: &str) -> InstanceName {
    InstanceName::load_balancer(CLUSTER, namespace).unwrap()
}

/// Whether the fault was met.
async fn bad_run(
    plane: &Plane,
    told: &Told,
    number: usize,
    which: &Which,
    kind: FaultKind,
) -> bool {
    let mut world = World::new(plane, &format!("bad-{number}")).await;
    world.simulator.set_clock(Clock::Automatic(Duration::from_millis(1)));
    let text = which.text.replace(BALANCER, balancer(&world.namespace).as_str());
    world.simulator.inject(Fault::matching(text, kind).after(which.before));
    match kind {
        FaultKind::StallBefore | FaultKind::StallAfter => world.start_mortal(),
        _ => world.start(),
    }
    let begin = Instant::now();
    assert_eq!(play(&world, Some(told)).await, *told);
    nothing_twice(&world, kind);
    if begin.elapsed() > Duration::from_secs(10) {
        println!("{kind:?} at {which:?} took {:?}", begin.elapsed());
    }
    world.simulator.pending_faults().is_empty()
}

/// An instance is made once and started once, unless the server was killed while it was made.
fn nothing_twice(world: &World, kind: FaultKind) {
    let count = |action: &str, name: &str| {
        let history = world.simulator.history();
        history.iter().filter(|h| h.action == action && h.instance == name).count()
    };
    for name in ["demo-cp", "demo-md-0", "demo-md-1", "demo-md-2"] {
        // Somebody else has one of that name.
        let others = usize::from(name == "demo-cp");
        let made = count("instance-created", name) - others;
        assert_eq!(made, count("instance-deleted", name), "{name}");
        if kind != FaultKind::Restart {
            assert_eq!(made, 1, "{name} was made more than once");
            let started = count("instance-started", name) - others;
            assert_eq!(started, 1, "{name} was started more than once");
        }
    }
}
