//! Who holds the connections, and who has to go when there are too many.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustls_pki_types::CertificateDer;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Limits;

/// The places of a server.
#[derive(Debug)]
pub(crate) struct Places {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    strangers: HashMap<u64, Stranger>,
    users: HashMap<Arc<str>, usize>,
    known: usize,
    operators: usize,
}

/// A stranger's place: what it takes to choose who goes.
#[derive(Debug)]
struct Stranger {
    address: IpAddr,
    evicted: CancellationToken,
    activity: Arc<Mutex<Activity>>,
}

/// Whose a place is.
#[derive(Debug)]
enum Holder {
    Stranger,
    User(Arc<str>),
    Operator,
}

/// Requests that are being answered, and since when there are that many.
#[derive(Debug)]
struct Activity {
    running: usize,
    since: Instant,
}

/// One connection. Its place is free when the last of this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    id: u64,
    places: Arc<Places>,
    holder: Mutex<Holder>,
    /// Ready when the place was given to another.
    pub(crate) evicted: CancellationToken,
    activity: Arc<Mutex<Activity>>,
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Running(Arc<Mutex<Activity>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// A place for a new connection, and whether another stranger lost his for it.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> (Arc<Place>, bool) {
        let address = network(address);
        let mut state = lock(&self.state);
        let there = state.strangers.values().filter(|other| other.address == address).count();
        let crowded = if there >= self.limits.strangers_of_address {
            state.evict_of(address);
            true
        } else if state.strangers.len() >= self.limits.strangers {
            state.evict();
            true
        } else {
            false
        };
        let id = state.next;
        state.next += 1;
        let evicted = CancellationToken::new();
        let activity = Arc::new(Mutex::new(Activity { running: 0, since: Instant::now() }));
        let stranger =
            Stranger { address, evicted: evicted.clone(), activity: Arc::clone(&activity) };
        state.strangers.insert(id, stranger);
        drop(state);
        let holder = Mutex::new(Holder::Stranger);
        let places = Arc::clone(self);
        (Arc::new(Place { id, places, holder, evicted, activity }), crowded)
    }

    /// Frees a place, and with it a file descriptor, where there is a stranger.
    pub(crate) fn make_room(&self) {
        lock(&self.state).evict();
    }
}

impl State {
    /// Ends a connection of the address that has most of them.
    fn evict(&mut self) {
        let mut counts = HashMap::<IpAddr, usize>::new();
        for stranger in self.strangers.values() {
            *counts.entry(stranger.address).or_default() += 1;
        }
        if let Some((address, _)) = counts.into_iter().max_by_key(|(_, count)| *count) {
            self.evict_of(address);
        }
    }

    /// Ends the connection of an address that has been idle longest, so that each new one has as much
    /// time as there can be for its handshake. One whose request is being answered goes only where all
    /// are.
    fn evict_of(&mut self, address: IpAddr) {
        let of = self.strangers.iter().filter(|(_, stranger)| stranger.address == address);
        let oldest = of.min_by_key(|(id, stranger)| {
            let activity = lock(&stranger.activity);
            (activity.running > 0, activity.since, **id)
        });
        let Some(id) = oldest.map(|(id, _)| *id) else { return };
        if let Some(stranger) = self.strangers.remove(&id) {
            stranger.evicted.cancel();
        }
    }
}

/// What counts as one address: an IPv6 host has its whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Place {
    /// Gives the connection to a user. Whether there is a place for him.
    fn identify(&self, user: &str, operator: bool) -> bool {
        let mut holder = lock(&self.holder);
        if !matches!(*holder, Holder::Stranger) {
            return true;
        }
        let limits = &self.places.limits;
        let mut state = lock(&self.places.state);
        if operator {
            if state.operators >= limits.operators {
                return false;
            }
            state.operators += 1;
            *holder = Holder::Operator;
        } else {
            let his = state.users.get(user).copied().unwrap_or(0);
            if state.known >= limits.known || his >= limits.known_of_user {
                return false;
            }
            let user: Arc<str> = user.into();
            state.known += 1;
            *state.users.entry(Arc::clone(&user)).or_default() += 1;
            *holder = Holder::User(user);
        }
        state.strangers.remove(&self.id);
        true
    }

    pub(crate) fn is_stranger(&self) -> bool {
        matches!(*lock(&self.holder), Holder::Stranger)
    }

    /// Notes a request until what is returned is dropped.
    pub(crate) fn begin(&self) -> Running {
        lock(&self.activity).running += 1;
        Running(Arc::clone(&self.activity))
    }

    /// When the connection has to go if no request comes before. `None` while one is being answered.
    pub(crate) fn idle_until(&self) -> Option<Instant> {
        let limits = &self.places.limits;
        let idle = if self.is_stranger() { limits.stranger_idle } else { limits.idle };
        let activity = lock(&self.activity);
        (activity.running == 0).then(|| activity.since + idle)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut activity = lock(&self.0);
        activity.running = activity.running.saturating_sub(1);
        activity.since = Instant::now();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.places.state);
        match &*lock(&self.holder) {
            Holder::Stranger => {
                state.strangers.remove(&self.id);
            }
            Holder::Operator => state.operators = state.operators.saturating_sub(1),
            Holder::User(user) => {
                state.known = state.known.saturating_sub(1);
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

/// The other end of a connection, after its handshake.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The certificate it showed, if TLS asked for one and found it good.
    pub certificate: Option<CertificateDer<'static>>,
    pub(crate) place: Arc<Place>,
}

impl Peer {
    /// Says whose the connection is. It counts as his from then on, or as one of the operators.
    ///
    /// `false`: he, or all users together, have too many connections; this one stays a stranger's.
    #[must_use]
    pub fn identify(&self, user: &str, operator: bool) -> bool {
        self.place.identify(user, operator)
    }
}
