use super::*;
use crate::owner::Role;
use serde_json::{Value, json};

struct Case {
    machine: Machine,
    observed: Observed,
}

fn machine() -> Case {
    let owner = Owner {
        namespace: "default".into(),
        name: "demo-a".into(),
        uid: "u1".into(),
        cluster: "demo".into(),
        machine: Some("demo-a".into()),
        role: Role::Worker,
    };
    let launch = Launch {
        request: incus_api::InstancesPost::default(),
        target: None,
        injected_files: Vec::new(),
    };
    Case {
        machine: Machine {
            name: InstanceName::new("demo-a").unwrap(),
            owner,
            isolation: Isolation::Shared,
            deletion: None,
            provisioned: false,
            prerequisite: None,
            launch: Some(Box::new(launch)),
            when_stopped: WhenStopped::Restart,
            families: Vec::new(),
            ignored_vip: None,
        },
        observed: Observed::default(),
    }
}

impl Case {
    fn deleting(mut self) -> Self {
        self.machine.deletion = Some(Deletion { drain: DrainState::Done, grace: None });
        self
    }
    fn deletion(mut self, drain: DrainState, grace: Option<u64>) -> Self {
        self.machine.deletion = Some(Deletion { drain, grace: grace.map(Duration::from_secs) });
        self
    }
    fn provisioned(mut self) -> Self {
        self.machine.provisioned = true;
        self
    }
    fn gated(mut self, prerequisite: Prerequisite) -> Self {
        self.machine.prerequisite = Some(prerequisite);
        self.machine.launch = None;
        self
    }
    fn reporting(mut self) -> Self {
        self.machine.when_stopped = WhenStopped::Report;
        self
    }
    fn busy(mut self) -> Self {
        self.observed.operation = Some("Creating instance".into());
        self
    }
    fn instance(mut self, status: u16, marks: &[&str], changes: Value) -> Self {
        let mut config = self.machine.owner.config();
        config.extend(marks.iter().map(|mark| ((*mark).to_owned(), "x".to_owned())));
        for (key, value) in changes.as_object().into_iter().flatten() {
            match value.as_str() {
                Some(value) => config.insert(key.clone(), value.to_owned()),
                None => config.remove(key),
            };
        }
        self.observed.instance = Some(Box::new(
            serde_json::from_value(json!({
                "name": "demo-a", "status": "?", "status_code": status, "config": config,
            }))
            .unwrap(),
        ));
        self
    }
    fn fresh(self) -> Self {
        self.instance(102, &["volatile.apply_template"], json!({}))
    }
    fn stopped(self) -> Self {
        self.instance(102, &["volatile.last_state.power"], json!({}))
    }
    fn running(self) -> Self {
        self.instance(103, &["volatile.last_state.power"], json!({}))
    }
    fn with_address(mut self) -> Self {
        if let Some(instance) = &mut self.observed.instance {
            instance.state = serde_json::from_value(json!({ "network": { "eth0": {
                "host_name": "veth0",
                "addresses": [{ "family": "inet", "address": "10.0.0.7", "netmask": "24", "scope": "global" }],
            } } }))
            .unwrap();
        }
        self
    }
    fn plan(&self) -> Plan {
        plan(&self.machine, &self.observed)
    }
}

fn wait(on: WaitingOn) -> Plan {
    Plan::Wait(on)
}

#[test]
fn an_instance_is_created_when_all_prerequisites_are_met() {
    assert!(matches!(machine().plan(), Plan::Do(Step::Create(_))));
    for prerequisite in [
        Prerequisite::ClusterInfrastructure,
        Prerequisite::ControlPlane,
        Prerequisite::BootstrapData,
    ] {
        assert_eq!(
            machine().gated(prerequisite).plan(),
            wait(WaitingOn::Prerequisite(prerequisite))
        );
    }
    assert_eq!(machine().busy().plan(), wait(WaitingOn::Operation("Creating instance".into())));
}

#[test]
fn an_instance_goes_from_made_to_ready_one_step_at_a_time() {
    assert_eq!(
        machine().fresh().busy().plan(),
        wait(WaitingOn::Operation("Creating instance".into()))
    );
    assert_eq!(machine().fresh().plan(), Plan::Do(Step::Start(Vec::new(), Config::new())));
    assert_eq!(machine().instance(106, &[], json!({})).plan(), wait(WaitingOn::Change));
    assert_eq!(machine().running().plan(), wait(WaitingOn::Address(None)));
    assert_eq!(
        machine().running().with_address().plan(),
        Plan::Ready(vec!["10.0.0.7".parse().unwrap()])
    );
}

#[test]
fn files_are_injected_only_before_the_first_start() {
    let injected_file = InjectedFile::Link { path: "/init".into(), target: "/sbin/init".into() };
    let with_piece = |mut case: Case| {
        case.machine.launch.as_mut().unwrap().injected_files = vec![injected_file.clone()];
        case
    };
    let first = with_piece(machine()).fresh().plan();
    assert_eq!(first, Plan::Do(Step::Start(vec![injected_file.clone()], Config::new())));
    let later = with_piece(machine()).stopped().plan();
    assert_eq!(later, Plan::Do(Step::Start(Vec::new(), Config::new())));
    // It is not started without the data.
    let unknown = machine().gated(Prerequisite::BootstrapData).fresh().plan();
    assert_eq!(unknown, wait(WaitingOn::Prerequisite(Prerequisite::BootstrapData)));
}

#[test]
fn an_instance_may_be_made_before_its_data_and_is_started_with_it() {
    let early = |mut case: Case| {
        case.machine.prerequisite = Some(Prerequisite::ControlPlane);
        case
    };
    assert!(matches!(early(machine()).plan(), Plan::Do(Step::Create(_))));
    let made = early(machine()).fresh();
    assert_eq!(
        made.plan(),
        wait(WaitingOn::Prerequisite(Prerequisite::ControlPlane)),
        "there is no data yet"
    );

    let data = Config::from([(crate::launch::USER_DATA.to_owned(), "#cloud-config".to_owned())]);
    let mut with_data = machine();
    with_data.machine.launch.as_mut().unwrap().request.config = data.clone();
    assert_eq!(with_data.fresh().plan(), Plan::Do(Step::Start(Vec::new(), data)));
    assert_eq!(early(machine()).fresh().deleting().plan(), Plan::Do(Step::Delete));
}

#[test]
fn an_instance_whose_making_was_interrupted_is_made_again() {
    let unfinished = machine().instance(102, &[], json!({}));
    assert_eq!(unfinished.plan(), Plan::Do(Step::Discard));
    let still_working = machine().instance(102, &[], json!({})).busy();
    assert!(matches!(still_working.plan(), Plan::Wait(WaitingOn::Operation(_))));
    // A provisioned instance holds data and is never discarded.
    let provisioned = machine().provisioned().instance(102, &[], json!({}));
    assert_eq!(provisioned.plan(), Plan::Do(Step::Start(Vec::new(), Config::new())));
}

#[test]
fn a_stopped_instance_is_restarted_unless_the_policy_is_report() {
    assert_eq!(
        machine().provisioned().stopped().plan(),
        Plan::Do(Step::Start(Vec::new(), Config::new()))
    );
    assert_eq!(machine().provisioned().reporting().stopped().plan(), wait(WaitingOn::Start));
    // Before it is provisioned, it must run, or nothing can proceed.
    assert_eq!(
        machine().reporting().stopped().plan(),
        Plan::Do(Step::Start(Vec::new(), Config::new()))
    );
}

#[test]
fn a_lost_instance_is_reported_and_not_created_again() {
    assert_eq!(machine().provisioned().plan(), wait(WaitingOn::Replacement));
    assert_eq!(WaitingOn::Replacement.reason(), "InstanceDeleted");
}

#[test]
fn a_frozen_or_broken_instance_is_not_changed() {
    assert_eq!(machine().instance(110, &[], json!({})).plan(), wait(WaitingOn::Thaw));
    assert_eq!(machine().instance(112, &[], json!({})).plan(), wait(WaitingOn::Repair("?".into())));
}

#[test]
fn an_instance_with_another_owner_is_neither_used_nor_deleted() {
    let foreign = json!({ "user.capn.owner-uid": "u2" });
    let Plan::Refuse(clash) = machine().instance(103, &[], foreign.clone()).plan() else {
        panic!("not refused");
    };
    let message = clash.message();
    for part in ["default/demo-a", "instance named demo-a", "UID u2"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(machine().deleting().instance(103, &[], foreign).plan(), Plan::Gone);
}

#[test]
fn an_instance_of_the_go_provider_is_adopted_before_anything_else() {
    let upstream = json!({ "user.capn.owner-uid": null, "user.capn.owner": null });
    let adopt = machine().instance(103, &[], upstream.clone()).plan();
    assert!(matches!(adopt, Plan::Do(Step::Adopt(missing)) if missing.len() == 2));
    assert_eq!(machine().deleting().instance(103, &[], upstream).plan(), Plan::Do(Step::Delete));
}

#[test]
fn deletion_ends_when_the_instance_is_gone_and_needs_no_bootstrap_data() {
    assert_eq!(machine().deleting().running().plan(), Plan::Do(Step::Delete));
    assert_eq!(machine().deleting().gated(Prerequisite::BootstrapData).plan(), Plan::Gone);
    assert!(matches!(machine().deleting().busy().plan(), Plan::Wait(WaitingOn::Operation(_))));
    assert!(matches!(machine().deleting().fresh().busy().plan(), Plan::Wait(_)));
}

#[test]
fn a_running_instance_is_drained_then_stopped_then_deleted() {
    let (wait_, done) = (DrainState::Wait(Duration::from_secs(7)), DrainState::Done);
    let drain = WaitingOn::Drain(Duration::from_secs(7));
    assert_eq!(machine().deletion(wait_, Some(30)).running().plan(), wait(drain.clone()));
    assert_eq!(drain.reason(), "Draining");
    let stop = Plan::Do(Step::Stop(Duration::from_secs(30)));
    assert_eq!(machine().deletion(done, Some(30)).running().plan(), stop);
    for gone in [
        machine().deletion(done, None).running(),
        machine().deletion(wait_, Some(30)).stopped(),
        machine().deletion(wait_, Some(30)).fresh(),
        // Nothing in it can react to a shutdown request.
        machine().deletion(done, Some(30)).instance(110, &[], json!({})),
        machine().deletion(done, Some(30)).instance(112, &[], json!({})),
    ] {
        assert_eq!(gone.plan(), Plan::Do(Step::Delete));
    }
}

#[test]
fn waiting_for_an_address_polls_quickly_and_reports_later() {
    let early = WaitingOn::Address(Some(Duration::from_secs(2)));
    let late = WaitingOn::Address(Some(Duration::from_secs(90)));
    let pauses = PollIntervals::default();
    assert!(early.poll(&pauses) < late.poll(&pauses));
    let name = InstanceName::new("demo-a").unwrap();
    assert!(late.message(&name).contains("DHCP"), "{}", late.message(&name));
}

#[test]
fn a_missing_address_is_reported_with_the_likely_cause() {
    use crate::families::Family;
    let name = InstanceName::new("demo-a").unwrap();
    let after = |seconds| WaitingOn::Family(Family::V4, Some(Duration::from_secs(seconds)));
    for (seconds, reason, named) in [
        (5, reasons::WAITING_FOR_ADDRESS, false),
        (90, reasons::WAITING_FOR_ADDRESS, true),
        (200, reasons::ADDRESS_MISSING, true),
    ] {
        assert_eq!(after(seconds).reason(), reason, "{seconds}");
        let message = after(seconds).message(&name);
        assert_eq!(message.contains("drops DHCP"), named, "{message}");
        assert!(message.contains("IPv4"), "{message}");
    }
}

#[test]
fn an_instance_that_breaks_the_promise_is_not_started_and_still_deleted() {
    let open = |case: Case| {
        let mut case = case.provisioned().instance(102, &["volatile.last_state.power"], json!({}));
        let instance = case.observed.instance.as_mut().unwrap();
        instance.expanded_config.insert("security.privileged".into(), "true".into());
        plan(&case.machine, &case.observed)
    };
    let Plan::Violates(message) = open(machine()) else { panic!("{:?}", open(machine())) };
    assert!(
        message.contains("isolation is shared") && message.contains("security.privileged=true")
    );
    assert_eq!(open(machine().deleting()), Plan::Do(Step::Delete));
    let mut privileged = machine();
    privileged.machine.isolation = Isolation::Privileged;
    assert_eq!(open(privileged), Plan::Do(Step::Start(Vec::new(), Config::new())));
}
