//! Flow control: admits requests while the sender has a share left.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    Limits,
    identity::Identity,
    status::{ApiError, Result},
};

/// Bodies and responses up to this size are not counted, in bytes.
pub(crate) const SMALL: usize = 64 << 10;
/// Number of users in the table at which idle ones are removed.
const SWEEP_AT: usize = 64;
/// Watches have a share of memory of their own, which is smaller by this factor.
const WATCH_PART: usize = 4;

/// Kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    Request,
    Watch,
}

/// The shares of all users.
#[derive(Debug)]
pub(crate) struct FlowControl {
    limits: Limits,
    users: Mutex<HashMap<Arc<str>, Weak<Shares>>>,
    all: Arc<Shares>,
    operators: Arc<Shares>,
}

/// The remaining capacity of a share.
#[derive(Debug)]
struct Shares {
    requests: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    /// In KiB, since the number of permits is limited to 32 bits.
    kibibytes: Arc<Semaphore>,
    /// As `kibibytes`, for events of watches: clients that do not read them block no requests.
    watch_kibibytes: Arc<Semaphore>,
    expensive: Arc<Semaphore>,
    /// The largest possible request for memory.
    max_kibibytes: u32,
    /// As `max_kibibytes`, for a watch.
    max_watch_kibibytes: u32,
}

impl Shares {
    fn new(requests: usize, watches: usize, bytes: usize, expensive: usize) -> Arc<Self> {
        let kibibytes = (bytes >> 10).clamp(1, u32::MAX as usize);
        let watch_kibibytes = (kibibytes / WATCH_PART).max(1);
        let semaphore =
            |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self {
            requests: semaphore(requests),
            watches: semaphore(watches),
            kibibytes: semaphore(kibibytes),
            watch_kibibytes: semaphore(watch_kibibytes),
            expensive: semaphore(expensive.max(1)),
            max_kibibytes: u32::try_from(kibibytes).unwrap_or(u32::MAX),
            max_watch_kibibytes: u32::try_from(watch_kibibytes).unwrap_or(u32::MAX),
        })
    }

    /// Returns the memory that requests of a kind may take, and the largest possible request.
    fn memory(&self, kind: RequestKind) -> (&Arc<Semaphore>, u32) {
        match kind {
            RequestKind::Request => (&self.kibibytes, self.max_kibibytes),
            RequestKind::Watch => (&self.watch_kibibytes, self.max_watch_kibibytes),
        }
    }
}

/// Reserved capacity. Dropping it returns the capacity.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    permits: Vec<OwnedSemaphorePermit>,
    admission: Option<Arc<Vec<OwnedSemaphorePermit>>>,
    /// Keeps the user in the table while part of their share is reserved.
    shares: Vec<Arc<Shares>>,
}

impl Reservation {
    /// Adds another reservation.
    pub(crate) fn add(&mut self, mut other: Self) {
        self.permits.append(&mut other.permits);
        self.admission = self.admission.take().or(other.admission);
        self.shares.append(&mut other.shares);
    }
}

/// The memory that the responses to a user may take.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    /// The share of the user, then the common share.
    shares: Vec<Arc<Shares>>,
    kind: RequestKind,
    wait: Duration,
}

/// An admitted request.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) limits: Limits,
    pub(crate) memory: Memory,
    permits: Arc<Vec<OwnedSemaphorePermit>>,
}

impl FlowControl {
    pub(crate) fn new(limits: Limits) -> Self {
        let Limits { requests, watches, bytes, expensive, .. } = limits;
        let all = Shares::new(requests, watches, bytes, expensive);
        let operators = Shares::new(
            limits.operator_requests,
            limits.operator_watches,
            limits.operator_bytes,
            limits.operator_expensive,
        );
        Self { limits, users: Mutex::default(), all, operators }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Admits a request, or returns error 429.
    pub(crate) fn admit(&self, who: &Identity, kind: RequestKind) -> Result<Admitted> {
        let shares = if who.is_master() {
            vec![Arc::clone(&self.operators)]
        } else {
            vec![self.of_user(&who.user), Arc::clone(&self.all)]
        };
        let mut permits = Vec::with_capacity(2);
        for share in &shares {
            let of = if kind == RequestKind::Watch { &share.watches } else { &share.requests };
            permits.push(Arc::clone(of).try_acquire_owned().map_err(|_| too_many(kind))?);
        }
        let memory = Memory { shares, kind, wait: self.limits.wait };
        Ok(Admitted { limits: self.limits, memory, permits: Arc::new(permits) })
    }

    fn of_user(&self, user: &Arc<str>) -> Arc<Shares> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shares) = users.get(user).and_then(Weak::upgrade) {
            return shares;
        }
        if users.len() >= SWEEP_AT {
            users.retain(|_, shares| shares.strong_count() > 0);
        }
        let limits = &self.limits;
        let shares = Shares::new(
            limits.requests_per_user,
            limits.watches_per_user,
            limits.bytes_per_user,
            limits.expensive_per_user,
        );
        users.insert(Arc::clone(user), Arc::downgrade(&shares));
        shares
    }
}

impl Memory {
    /// Reserves memory, in bytes. Waits for it for a limited time.
    pub(crate) async fn bytes(&self, bytes: usize) -> Result<Reservation> {
        if bytes <= SMALL {
            return Ok(Reservation::default());
        }
        let kibibytes = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        // A request for more than a share takes all of it.
        let kibibytes =
            self.shares.iter().map(|share| share.memory(self.kind).1).fold(kibibytes, u32::min);
        let all = async {
            let mut permits = Vec::with_capacity(self.shares.len());
            for share in &self.shares {
                let of = Arc::clone(share.memory(self.kind).0);
                permits.push(of.acquire_many_owned(kibibytes).await.map_err(|_| closed())?);
            }
            Ok(self.take(permits))
        };
        timeout(self.wait, all).await.unwrap_or_else(|_| Err(too_many(RequestKind::Request)))
    }

    fn take(&self, permits: Vec<OwnedSemaphorePermit>) -> Reservation {
        Reservation { permits, admission: None, shares: self.shares.clone() }
    }
}

impl Admitted {
    /// Reserves memory, in bytes. Waits for it for a limited time.
    pub(crate) async fn bytes(&self, bytes: usize) -> Result<Reservation> {
        self.memory.bytes(bytes).await
    }

    /// Waits for a slot for an expensive request.
    pub(crate) async fn expensive(&self) -> Result<Reservation> {
        let shares = &self.memory.shares;
        let mut permits = Vec::with_capacity(shares.len());
        for share in shares {
            let of = Arc::clone(&share.expensive);
            permits.push(of.acquire_owned().await.map_err(|_| closed())?);
        }
        Ok(self.memory.take(permits))
    }

    /// Returns the reservation, to be kept until the response is done.
    pub(crate) fn into_reservation(self) -> Reservation {
        self.hold()
    }

    /// Returns a reservation that lasts as long as the admission or longer.
    pub(crate) fn hold(&self) -> Reservation {
        let admission = Some(Arc::clone(&self.permits));
        Reservation { permits: Vec::new(), admission, shares: self.memory.shares.clone() }
    }
}

fn too_many(kind: RequestKind) -> ApiError {
    ApiError::too_many_requests(match kind {
        RequestKind::Request => "Too many requests, please try again later.",
        RequestKind::Watch => "Too many watches are open, please close some or try again later.",
    })
}

/// Not reached: the semaphores are never closed.
fn closed() -> ApiError {
    ApiError::unavailable("the server is shutting down")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow_control() -> FlowControl {
        FlowControl::new(Limits {
            requests: 3,
            requests_per_user: 2,
            operator_requests: 1,
            watches: 1,
            bytes: 300 << 10,
            bytes_per_user: 200 << 10,
            wait: std::time::Duration::from_millis(10),
            ..Limits::default()
        })
    }

    fn user(name: &str) -> Identity {
        Identity::named(name, Vec::new())
    }

    #[test]
    fn users_share_capacity_and_operators_have_their_own() {
        let flow_control = flow_control();
        let admit = |who: &Identity| flow_control.admit(who, RequestKind::Request);
        let (jane, joe) = (user("jane"), user("joe"));
        let first = admit(&jane).unwrap();
        let second = admit(&jane).unwrap();
        let error = admit(&jane).unwrap_err();
        assert_eq!(error.code(), http::StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(error.to_value()["reason"], "TooManyRequests");
        let third = admit(&joe).unwrap();
        assert!(admit(&joe).is_err(), "the common share is used up");
        let _operator = admit(&Identity::of_token()).unwrap();
        assert!(admit(&Identity::of_token()).is_err());
        drop(third);
        let answer = (first.into_reservation(), second.into_reservation());
        assert!(admit(&jane).is_err(), "a response has not been read yet");
        drop(answer);
        admit(&jane).unwrap();
        let _watch = flow_control.admit(&jane, RequestKind::Watch).unwrap();
        assert!(flow_control.admit(&joe, RequestKind::Watch).is_err());
    }

    #[tokio::test]
    async fn large_bodies_wait_for_memory_with_a_timeout() {
        let flow_control = flow_control();
        let pass = flow_control.admit(&user("jane"), RequestKind::Request).unwrap();
        // More than there is takes all there is.
        let all = pass.bytes(usize::MAX).await.unwrap();
        assert_eq!(pass.bytes(100 << 10).await.unwrap_err().code(), 429);
        pass.bytes(SMALL).await.unwrap();
        let other = flow_control.admit(&user("joe"), RequestKind::Request).unwrap();
        other.bytes(100 << 10).await.unwrap();
        assert!(
            other.bytes(200 << 10).await.is_err(),
            "the common share is smaller than that of the user"
        );
        drop(all);
        pass.bytes(200 << 10).await.unwrap();
    }

    #[tokio::test]
    async fn events_that_nobody_reads_block_no_requests() {
        let flow_control = flow_control();
        let watch = flow_control.admit(&user("jane"), RequestKind::Watch).unwrap();
        let _unread = watch.bytes(usize::MAX).await.unwrap();
        assert!(watch.bytes(100 << 10).await.is_err(), "the share of watches is used up");
        let request = flow_control.admit(&user("jane"), RequestKind::Request).unwrap();
        request.bytes(200 << 10).await.unwrap();
    }
}
