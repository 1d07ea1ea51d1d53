//! Every request of a successful run fails once, and the result is the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use capn_plan::InstanceName;
use futures::{StreamExt as _, stream};
use incus_sim::{Clock, Fault, FaultKind, RecordedRequest};
use kube_plane::Plane;

use crate::{
    harness::{TestEnv, plane},
    objects::CLUSTER,
    scenario::{Told, play},
};

/// Number of concurrent runs.
const AT_ONCE: usize = 6;
/// Planes that they share. In a single plane, every change of one run would wake the watches of all
/// others.
const PLANES: usize = 3;
/// If this variable is set, every request fails in every way, which takes minutes.
const ALL: &str = "CAPN_TEST_ALL_FAULTS";

/// The ways in which a request fails. The last two also kill and restart the reconcilers, before
/// and after the effect of the request.
const WAYS: [FaultKind; 7] = [
    FaultKind::Fail(500),
    FaultKind::CutBefore,
    FaultKind::CutAfter,
    FaultKind::Twice,
    FaultKind::Restart,
    FaultKind::StallBefore,
    FaultKind::StallAfter,
];
/// Those that differ for a request without an effect.
const WAYS_OF_READS: [FaultKind; 4] =
    [FaultKind::Fail(500), FaultKind::CutBefore, FaultKind::Restart, FaultKind::StallBefore];

/// A request of the successful run, and the number of equal requests before it.
#[derive(Clone, Debug)]
struct Which {
    text: String,
    before: usize,
    changes: bool,
    /// Whether it is the first of its kind. Workers are of the same kind, and so are control
    /// planes, whose instances are created and deleted by the same steps.
    first: bool,
}

/// The first change of a kind fails in every way; further ones, and reads, fail in one way each, in
/// turn.
#[tokio::test(flavor = "multi_thread")]
async fn request_faults_do_not_change_the_result() {
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
    // The number of reads varies from run to run.
    assert!(met * 100 >= runs * 85, "only {met} of {runs} runs met their fault");
}

async fn good_run(plane: &Plane) -> (Told, Vec<Which>) {
    let mut env = TestEnv::new(plane, "good").await;
    env.start();
    let told = play(&env, None).await;
    let (mut before, mut kinds) = (BTreeMap::new(), BTreeSet::new());
    let requests = env.simulator.requests().into_iter().map(|request| {
        let text = pattern(&request, &env.namespace);
        let count = before.entry(text.clone()).or_insert(0);
        *count += 1;
        let kind = text.replace("demo-cp", "demo-md-").replace(char::is_numeric, "");
        let first = kinds.insert(kind);
        Which { text, before: *count - 1, changes: request.changes(), first }
    });
    (told, requests.collect())
}

/// Returns the request without parts that vary from run to run.
fn pattern(request: &RecordedRequest, namespace: &str) -> String {
    let path = match request.path.strip_prefix("/1.0/operations/") {
        Some(_) => "/1.0/operations/".to_owned(),
        None => request.path.replace(balancer(namespace).as_str(), BALANCER),
    };
    format!("{} {path}", request.method)
}

/// Placeholder for the load balancer, whose name depends on the namespace.
const BALANCER: &str = "BALANCER";

fn balancer(namespace: &str) -> InstanceName {
    InstanceName::load_balancer(CLUSTER, namespace).unwrap()
}

/// Returns whether the fault occurred.
async fn bad_run(
    plane: &Plane,
    told: &Told,
    number: usize,
    which: &Which,
    kind: FaultKind,
) -> bool {
    let mut env = TestEnv::new(plane, &format!("bad-{number}")).await;
    env.simulator.set_clock(Clock::Automatic(Duration::from_millis(1)));
    let text = which.text.replace(BALANCER, balancer(&env.namespace).as_str());
    env.simulator.inject(Fault::matching(text, kind).after(which.before));
    match kind {
        FaultKind::StallBefore | FaultKind::StallAfter => env.start_mortal(),
        _ => env.start(),
    }
    let begin = Instant::now();
    assert_eq!(play(&env, Some(told)).await, *told);
    nothing_twice(&env, kind);
    if begin.elapsed() > Duration::from_secs(10) {
        println!("{kind:?} at {which:?} took {:?}", begin.elapsed());
    }
    env.simulator.pending_faults().is_empty()
}

/// An instance is created once and started once, unless the server was killed during its creation.
fn nothing_twice(env: &TestEnv, kind: FaultKind) {
    let count = |action: &str, name: &str| {
        let history = env.simulator.history();
        history.iter().filter(|h| h.action == action && h.instance == name).count()
    };
    for name in ["demo-cp", "demo-md-0", "demo-md-1", "demo-md-2"] {
        // An instance of another owner has one of these names.
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
