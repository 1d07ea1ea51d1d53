//! The state of the simulated server, and its control by the test.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use incus_api::{
    Event, EventKind, EventLifecycle, FileHeaders, Flavor, Image, ImageAliasesEntry, ImageMetadata,
    Instance, InstanceFull, InstanceState, Operation, StatusCode,
};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;

use crate::conditions::{Conditions, InstanceEvent};
use crate::exec::{ExecCall, ExecResult, Session};
use crate::fault::{Fault, RecordedRequest, Schedule};
use crate::networks::Subnets;

/// When operations finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// Automatically after this time.
    Automatic(Duration),
    /// When the test calls [`Simulator::step`].
    Stepped,
}

/// The simulated server. Clones are the same server.
#[derive(Clone)]
pub struct Simulator {
    state: Arc<Mutex<ServerState>>,
    events: broadcast::Sender<Arc<Event>>,
    pub(crate) connections: Arc<Mutex<Vec<Connection>>>,
}

/// A connection that can be cut.
pub(crate) struct Connection {
    /// Path of the listening socket; `None` for a connection in memory.
    pub(crate) socket: Option<Arc<Path>>,
    pub(crate) pipe: AbortOnDropHandle<()>,
}

pub(crate) type Key = (String, String);
pub(crate) type Effect = Box<dyn FnOnce(&mut ServerState) -> Result<Vec<Lifecycle>, String> + Send>;
type Runner = Arc<dyn Fn(&ExecCall) -> ExecResult + Send + Sync>;

/// A lifecycle event to send after the change.
pub(crate) struct Lifecycle {
    pub(crate) action: &'static str,
    pub(crate) project: String,
    pub(crate) name: String,
}

pub(crate) struct SimInstance {
    pub(crate) instance: Instance,
    pub(crate) state: InstanceState,
    pub(crate) metadata: ImageMetadata,
    pub(crate) templates: BTreeMap<String, Bytes>,
    pub(crate) files: BTreeMap<String, (FileHeaders, Bytes)>,
    /// Whether an operation is still creating the instance.
    pub(crate) creating: bool,
}

pub(crate) struct ServerState {
    pub(crate) flavor: Flavor,
    pub(crate) clock: Clock,
    pub(crate) instances: BTreeMap<Key, SimInstance>,
    pub(crate) images: BTreeMap<Key, Image>,
    pub(crate) aliases: BTreeMap<Key, ImageAliasesEntry>,
    /// Profiles, networks, pools, projects by kind, project (empty where it does not matter) and
    /// name.
    pub(crate) generic: BTreeMap<(&'static str, String, String), Value>,
    pub(crate) operations: BTreeMap<String, Operation>,
    waiting: Vec<(String, Effect)>,
    pub(crate) sessions: HashMap<String, Session>,
    pub(crate) schedule: Schedule,
    pub(crate) runner: Runner,
    pub(crate) addresses: u32,
    pub(crate) subnets: Subnets,
    pub(crate) config: Map<String, Value>,
    pub(crate) conditions: Conditions,
    pub(crate) history: Vec<InstanceEvent>,
    /// Changes that a failed operation has rolled back.
    pub(crate) rolled_back: Vec<Lifecycle>,
}

impl Default for Simulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Simulator {
    /// An Incus server with the pool `default`, the network `incusbr0`, the profile and project
    /// `default`, and without instances or images. Its operations finish at once.
    #[must_use]
    pub fn new() -> Self {
        let state = ServerState {
            flavor: Flavor::Incus,
            clock: Clock::Automatic(Duration::ZERO),
            instances: BTreeMap::new(),
            images: BTreeMap::new(),
            aliases: BTreeMap::new(),
            generic: initial_resources(),
            operations: BTreeMap::new(),
            waiting: Vec::new(),
            sessions: HashMap::new(),
            schedule: Schedule::default(),
            runner: Arc::new(|_| ExecResult::default()),
            addresses: 1,
            subnets: Subnets::default(),
            config: Map::new(),
            conditions: Conditions::default(),
            history: Vec::new(),
            rolled_back: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            events: broadcast::Sender::new(4096),
            connections: Arc::default(),
        }
    }

    /// Sets whether the server identifies as Incus or LXD.
    pub fn set_flavor(&self, flavor: Flavor) {
        self.lock().flavor = flavor;
    }

    /// Sets the clock. Running operations keep theirs.
    pub fn set_clock(&self, clock: Clock) {
        self.lock().clock = clock;
    }

    /// Finishes the oldest operation that waits for [`Clock::Stepped`]; returns false if there is
    /// none.
    pub fn step(&self) -> bool {
        let next = {
            let mut state = self.lock();
            if state.waiting.is_empty() { None } else { Some(state.waiting.remove(0)) }
        };
        match next {
            Some((id, effect)) => {
                self.finish(&id, effect);
                true
            }
            None => false,
        }
    }

    /// Adds an image with these properties.
    pub fn add_image(&self, project: &str, alias: &str, properties: &[(&str, &str)]) -> String {
        let fingerprint = uuid::Uuid::new_v4().simple().to_string().repeat(2);
        let properties =
            properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let image = Image {
            fingerprint: fingerprint.clone(),
            architecture: "x86_64".into(),
            properties,
            project: project.to_owned(),
            ..Image::default()
        };
        let entry = ImageAliasesEntry {
            name: alias.to_owned(),
            target: fingerprint.clone(),
            ..ImageAliasesEntry::default()
        };
        let mut state = self.lock();
        state.images.insert((project.to_owned(), fingerprint.clone()), image);
        state.aliases.insert((project.to_owned(), alias.to_owned()), entry);
        fingerprint
    }

    /// All instances as `(project, instance)`, for a test's assertions.
    #[must_use]
    pub fn instances(&self) -> Vec<(String, InstanceFull)> {
        let state = self.lock();
        state.instances.iter().map(|((project, _), m)| (project.clone(), m.full())).collect()
    }

    /// A file of an instance, for a test's assertions.
    #[must_use]
    pub fn file(&self, project: &str, instance: &str, path: &str) -> Option<Bytes> {
        let state = self.lock();
        let machine = state.instances.get(&(project.to_owned(), instance.to_owned()))?;
        machine.files.get(path).map(|(_, content)| content.clone())
    }

    /// Stops an instance as a crash would; returns false if it is not running.
    pub fn crash(&self, project: &str, instance: &str) -> bool {
        let key = (project.to_owned(), instance.to_owned());
        let running = match self.lock().instances.get_mut(&key) {
            Some(machine) if machine.instance.is_running() => {
                machine.set_running(None);
                true
            }
            _ => false,
        };
        if running {
            self.publish(&[Lifecycle { action: "instance-shutdown", project: key.0, name: key.1 }]);
        }
        running
    }

    /// Sets the function that answers commands. By default every command succeeds without output.
    pub fn on_exec(&self, run: impl Fn(&ExecCall) -> ExecResult + Send + Sync + 'static) {
        self.lock().runner = Arc::new(run);
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.lock().schedule.faults.push(fault);
    }

    /// Faults that have not taken effect yet.
    #[must_use]
    pub fn pending_faults(&self) -> Vec<Fault> {
        self.lock().schedule.faults.clone()
    }

    /// Requests received since the start or the last [`Simulator::forget_requests`].
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.lock().schedule.seen.clone()
    }

    /// Restarts the count of requests, and drops pending faults.
    pub fn forget_requests(&self) {
        self.lock().schedule = Schedule::default();
    }

    /// Kills and restarts the daemon: connections break, and running operations are forgotten
    /// without taking effect. Instances keep running. An instance that was being created is left
    /// unfinished.
    pub fn restart(&self) {
        {
            let mut state = self.lock();
            state.operations.clear();
            state.waiting.clear();
            state.sessions.clear();
            for machine in state.instances.values_mut() {
                machine.creating = false;
            }
        }
        self.cut();
    }

    /// Breaks all connections.
    pub fn cut(&self) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    pub(crate) fn publish(&self, lifecycles: &[Lifecycle]) {
        for lifecycle in lifecycles {
            self.lock().history.push(InstanceEvent {
                action: lifecycle.action.to_owned(),
                project: lifecycle.project.clone(),
                instance: lifecycle.name.clone(),
            });
            let event = EventLifecycle {
                action: lifecycle.action.to_owned(),
                source: format!("/1.0/instances/{}?project={}", lifecycle.name, lifecycle.project),
                name: lifecycle.name.clone(),
                project: lifecycle.project.clone(),
                ..EventLifecycle::default()
            };
            self.send(EventKind::Lifecycle, crate::api_error::json(event), &lifecycle.project);
        }
    }

    pub(crate) fn publish_operation(&self, operation: &Operation, project: &str) {
        self.send(EventKind::Operation, crate::api_error::json(operation), project);
    }

    fn send(&self, kind: EventKind, metadata: Value, project: &str) {
        if self.lock().conditions.mute.contains(&kind) {
            return;
        }
        let event = Event { kind, metadata, project: project.to_owned(), ..Event::default() };
        // An error means that nobody is listening.
        drop(self.events.send(Arc::new(event)));
    }

    /// Starts an operation whose effect follows the clock.
    pub(crate) fn start(
        &self,
        description: &str,
        project: &str,
        instance: &str,
        effect: Effect,
    ) -> Operation {
        let mut operation = Operation {
            id: uuid::Uuid::new_v4().to_string(),
            description: description.to_owned(),
            status: "Running".into(),
            status_code: StatusCode::Running,
            ..Operation::default()
        };
        if !instance.is_empty() {
            let path = format!("/1.0/instances/{instance}?project={project}");
            operation.resources.insert("instances".into(), vec![path]);
        }
        operation.metadata.insert("project".into(), project.into());
        let clock = {
            let mut state = self.lock();
            state.operations.insert(operation.id.clone(), operation.clone());
            state.clock
        };
        self.publish_operation(&operation, project);
        let id = operation.id.clone();
        match clock {
            Clock::Stepped => self.lock().waiting.push((id, effect)),
            Clock::Automatic(after) => {
                let simulator = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    simulator.finish(&id, effect);
                });
            }
        }
        operation
    }

    fn finish(&self, id: &str, effect: Effect) {
        let (operation, lifecycles) = {
            let mut state = self.lock();
            // After a restart the operation is forgotten and has no effect.
            if !state.operations.contains_key(id) {
                return;
            }
            let result = effect(&mut state);
            let rolled_back = std::mem::take(&mut state.rolled_back);
            let Some(operation) = state.operations.get_mut(id) else { return };
            let lifecycles = match result {
                Ok(lifecycles) => {
                    operation.status_code = StatusCode::Success;
                    lifecycles
                }
                Err(message) => {
                    operation.status_code = StatusCode::Failure;
                    operation.err = message;
                    rolled_back
                }
            };
            operation.status = operation.status_code.to_string();
            (operation.clone(), lifecycles)
        };
        self.publish(&lifecycles);
        let project = operation.metadata.get("project").and_then(Value::as_str).unwrap_or_default();
        self.publish_operation(&operation, project);
        let (simulator, id) = (self.clone(), operation.id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(OPERATION_RETENTION).await;
            simulator.lock().operations.remove(&id);
        });
    }
}

/// How long the server remembers a finished operation.
const OPERATION_RETENTION: Duration = Duration::from_secs(5);

impl SimInstance {
    pub(crate) fn full(&self) -> InstanceFull {
        InstanceFull {
            instance: self.instance.clone(),
            state: Some(self.state.clone()),
            ..InstanceFull::default()
        }
    }

    /// Sets the instance to running with this address, or to stopped.
    pub(crate) fn set_running(&mut self, address: Option<String>) {
        let code = if address.is_some() { StatusCode::Running } else { StatusCode::Stopped };
        self.instance.status_code = code;
        self.instance.status = code.to_string();
        self.state = InstanceState {
            status: code.to_string(),
            status_code: code,
            pid: i64::from(address.is_some()),
            ..InstanceState::default()
        };
        let power = if address.is_some() { "RUNNING" } else { "STOPPED" };
        self.instance.config.insert("volatile.last_state.power".into(), power.into());
        self.instance.config.remove("volatile.apply_template");
        if let Some(address) = address {
            let nic = json!({
                "addresses": [{"family": "inet", "address": address, "netmask": "16", "scope": "global"}],
                "host_name": "veth0", "state": "up", "type": "broadcast",
            });
            let nic = serde_json::from_value(nic).unwrap_or_default();
            self.state.network.insert("eth0".into(), nic);
        }
    }
}

fn initial_resources() -> BTreeMap<(&'static str, String, String), Value> {
    let profile = json!({
        "name": "default", "description": "", "config": {}, "project": "default",
        "devices": {
            "eth0": {"type": "nic", "network": "incusbr0", "name": "eth0"},
            "root": {"type": "disk", "path": "/", "pool": "default"},
        },
    });
    let network = json!({
        "name": "incusbr0", "type": "bridge", "managed": true, "status": "Created",
        "description": "",
        "config": {"ipv4.address": "10.99.0.1/16", "ipv4.nat": "true", "ipv6.address": "none"},
    });
    let pool = json!({
        "name": "default", "driver": "dir", "status": "Created", "description": "", "config": {},
    });
    let project = json!({"name": "default", "description": "", "config": {}});
    let key = |kind, project: &str, name: &str| (kind, project.to_owned(), name.to_owned());
    BTreeMap::from([
        (key("profiles", "default", "default"), profile),
        (key("networks", "", "incusbr0"), network),
        (key("storage-pools", "", "default"), pool),
        (key("projects", "", "default"), project),
    ])
}
