//! Connection slots: who owns them, and which connection is evicted when there are too many.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls_pki_types::CertificateDer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Limits;

/// The connection slots of a server.
#[derive(Debug)]
pub(crate) struct Slots {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    unauthenticated: HashMap<u64, Unauthenticated>,
    users: HashMap<Arc<str>, usize>,
    authenticated: usize,
    operators: usize,
}

/// An unauthenticated connection, with the data that decides which one is evicted.
#[derive(Debug)]
struct Unauthenticated {
    address: IpAddr,
    evicted: CancellationToken,
    activity: Arc<Mutex<Activity>>,
}

/// Owner of a slot.
#[derive(Debug)]
enum Owner {
    Unauthenticated,
    User(Arc<str>),
    Operator,
}

/// Number of running requests, and the time of the last change.
#[derive(Debug)]
struct Activity {
    running: usize,
    since: Instant,
    next: u64,
    /// Requests with a chunk of the response that the peer has not read, since when.
    unread: BTreeMap<u64, Instant>,
}

impl Activity {
    fn new() -> Self {
        Self { running: 0, since: Instant::now(), next: 0, unread: BTreeMap::new() }
    }
}

/// The slot of one connection. Dropping the last reference frees it.
#[derive(Debug)]
pub(crate) struct Slot {
    id: u64,
    slots: Arc<Slots>,
    owner: Mutex<Owner>,
    /// Cancelled when another connection has taken the slot.
    pub(crate) evicted: CancellationToken,
    activity: Arc<Mutex<Activity>>,
}

/// A running request.
#[derive(Debug)]
pub(crate) struct Running {
    id: u64,
    activity: Arc<Mutex<Activity>>,
}

impl Running {
    /// Records that the peer has to read a chunk before the response goes on.
    pub(crate) fn waits_for_peer(&self) {
        lock(&self.activity).unread.insert(self.id, Instant::now());
    }

    /// Records that the peer has read what was sent.
    pub(crate) fn goes_on(&self) {
        lock(&self.activity).unread.remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slots {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Takes a slot for a new connection. The flag tells whether another unauthenticated connection
    /// was evicted for it.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> (Arc<Slot>, bool) {
        let address = network(address);
        let mut state = lock(&self.state);
        let from_address =
            state.unauthenticated.values().filter(|other| other.address == address).count();
        let evicted_another = if from_address >= self.limits.unauthenticated_per_address {
            state.evict_from(address);
            true
        } else if state.unauthenticated.len() >= self.limits.unauthenticated {
            state.evict();
            true
        } else {
            false
        };
        let id = state.next;
        state.next += 1;
        let evicted = CancellationToken::new();
        let activity = Arc::new(Mutex::new(Activity::new()));
        let unauthenticated =
            Unauthenticated { address, evicted: evicted.clone(), activity: Arc::clone(&activity) };
        state.unauthenticated.insert(id, unauthenticated);
        drop(state);
        let owner = Mutex::new(Owner::Unauthenticated);
        let slots = Arc::clone(self);
        (Arc::new(Slot { id, slots, owner, evicted, activity }), evicted_another)
    }

    /// Evicts an unauthenticated connection, if there is one, to free a slot and a file descriptor.
    pub(crate) fn evict_one(&self) {
        lock(&self.state).evict();
    }
}

impl State {
    /// Evicts a connection from the address that has the most.
    fn evict(&mut self) {
        let mut counts = HashMap::<IpAddr, usize>::new();
        for unauthenticated in self.unauthenticated.values() {
            *counts.entry(unauthenticated.address).or_default() += 1;
        }
        if let Some((address, _)) = counts.into_iter().max_by_key(|(_, count)| *count) {
            self.evict_from(address);
        }
    }

    /// Evicts the connection from an address that has been idle longest, so that each new one has
    /// as much time as possible for its handshake. A connection with a running request is evicted
    /// only if all have one.
    fn evict_from(&mut self, address: IpAddr) {
        let of = self
            .unauthenticated
            .iter()
            .filter(|(_, unauthenticated)| unauthenticated.address == address);
        let oldest = of.min_by_key(|(id, unauthenticated)| {
            let activity = lock(&unauthenticated.activity);
            (activity.running > 0, activity.since, **id)
        });
        let Some(id) = oldest.map(|(id, _)| *id) else { return };
        if let Some(unauthenticated) = self.unauthenticated.remove(&id) {
            unauthenticated.evicted.cancel();
        }
    }
}

/// Returns the network that counts as one address: the /64 of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Slot {
    /// Assigns the connection to a user. Returns `false` when the user has no slot left.
    fn identify(&self, user: &str, operator: bool) -> bool {
        let mut owner = lock(&self.owner);
        if !matches!(*owner, Owner::Unauthenticated) {
            return true;
        }
        let limits = &self.slots.limits;
        let mut state = lock(&self.slots.state);
        if operator {
            if state.operators >= limits.operators {
                return false;
            }
            state.operators += 1;
            *owner = Owner::Operator;
        } else {
            let of_user = state.users.get(user).copied().unwrap_or(0);
            if state.authenticated >= limits.authenticated
                || of_user >= limits.authenticated_per_user
            {
                return false;
            }
            let user: Arc<str> = user.into();
            state.authenticated += 1;
            *state.users.entry(Arc::clone(&user)).or_default() += 1;
            *owner = Owner::User(user);
        }
        state.unauthenticated.remove(&self.id);
        true
    }

    pub(crate) fn is_unauthenticated(&self) -> bool {
        matches!(*lock(&self.owner), Owner::Unauthenticated)
    }

    /// Counts a request as running until the returned value is dropped.
    pub(crate) fn begin(&self) -> Running {
        let mut activity = lock(&self.activity);
        activity.running += 1;
        activity.next += 1;
        Running { id: activity.next, activity: Arc::clone(&self.activity) }
    }

    /// Returns the time at which the connection is closed if the peer reads nothing of a response.
    pub(crate) fn unread_until(&self) -> Option<Instant> {
        let oldest = lock(&self.activity).unread.values().min().copied();
        oldest.map(|since| since + self.slots.limits.write_timeout)
    }

    /// Returns the time at which the connection is closed if no request arrives before. `None`
    /// while a request is running.
    pub(crate) fn idle_until(&self) -> Option<Instant> {
        let limits = &self.slots.limits;
        let idle =
            if self.is_unauthenticated() { limits.unauthenticated_idle } else { limits.idle };
        let activity = lock(&self.activity);
        (activity.running == 0).then(|| activity.since + idle)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut activity = lock(&self.activity);
        activity.unread.remove(&self.id);
        activity.running = activity.running.saturating_sub(1);
        activity.since = Instant::now();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = lock(&self.slots.state);
        match &*lock(&self.owner) {
            Owner::Unauthenticated => {
                state.unauthenticated.remove(&self.id);
            }
            Owner::Operator => state.operators = state.operators.saturating_sub(1),
            Owner::User(user) => {
                state.authenticated = state.authenticated.saturating_sub(1);
                if let Some(count) = state.users.get_mut(user) {
                    *count -= 1;
                    if *count == 0 {
                        state.users.remove(user);
                    }
                }
            }
        }
    }
}

/// The remote end of a connection, after the handshake.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Address of the peer.
    pub address: SocketAddr,
    /// Client certificate, if TLS asked for one and verified it.
    pub certificate: Option<CertificateDer<'static>>,
    pub(crate) slot: Arc<Slot>,
}

impl Peer {
    /// Assigns the connection to a user, or to the share of the operators.
    ///
    /// Returns `false` when the user, or all users together, have too many connections. The
    /// connection then stays unauthenticated.
    #[must_use]
    pub fn identify(&self, user: &str, operator: bool) -> bool {
        self.slot.identify(user, operator)
    }
}
