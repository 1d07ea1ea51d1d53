//! Lets in requests as long as there is a share left for who sends them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
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

/// Bodies and answers up to this size are not counted.
pub(crate) const SMALL: usize = 64 << 10;
/// Users in the table before those who ask for nothing any more are taken out.
const TIDY: usize = 64;

/// What kind of request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Watch,
}

/// The shares of all who ask.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    users: Mutex<HashMap<Arc<str>, Weak<Shares>>>,
    all: Arc<Shares>,
    operators: Arc<Shares>,
}

/// What is left of a share.
#[derive(Debug)]
struct Shares {
    requests: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    /// In KiB, since permits are counted in 32 bits.
    kibibytes: Arc<Semaphore>,
    heavy: Arc<Semaphore>,
    /// The most that can be asked for.
    most: u32,
}

impl Shares {
    fn new(requests: usize, watches: usize, bytes: usize, heavy: usize) -> Arc<Self> {
        let kibibytes = (bytes >> 10).clamp(1, u32::MAX as usize);
        let semaphore =
            |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self {
            requests: semaphore(requests),
            watches: semaphore(watches),
            kibibytes: semaphore(kibibytes),
            heavy: semaphore(heavy.max(1)),
            most: u32::try_from(kibibytes).unwrap_or(u32::MAX),
        })
    }
}

/// What was taken of the shares. It is given back when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    permits: Vec<OwnedSemaphorePermit>,
    /// A user is in the table for as long as something of his share is taken.
    shares: Vec<Arc<Shares>>,
}

impl Taken {
    /// Keeps what was taken for something else too.
    pub(crate) fn add(&mut self, mut other: Self) {
        self.permits.append(&mut other.permits);
        self.shares.append(&mut other.shares);
    }
}

/// The way of one request through the gate.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) limits: Limits,
    /// The user's own, then everybody's.
    shares: Vec<Arc<Shares>>,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Self {
        let Limits { requests, watches, bytes, heavy, .. } = limits;
        let all = Shares::new(requests, watches, bytes, heavy);
        let operators = Shares::new(
            limits.requests_of_operators,
            limits.watches_of_operators,
            limits.bytes_of_operators,
            limits.heavy_of_operators,
        );
        Self { limits, users: Mutex::default(), all, operators }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes a share for a request, or answers 429.
    pub(crate) fn enter(&self, who: &Identity, kind: Kind) -> Result<Pass> {
        let shares = if who.is_master() {
            vec![Arc::clone(&self.operators)]
        } else {
            vec![self.of_user(&who.user), Arc::clone(&self.all)]
        };
        let mut permits = Vec::with_capacity(2);
        for share in &shares {
            let of = if kind == Kind::Watch { &share.watches } else { &share.requests };
            permits.push(Arc::clone(of).try_acquire_owned().map_err(|_| too_many(kind))?);
        }
        Ok(Pass { limits: self.limits, shares, permits })
    }

    fn of_user(&self, user: &Arc<str>) -> Arc<Shares> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shares) = users.get(user).and_then(Weak::upgrade) {
            return shares;
        }
        if users.len() >= TIDY {
            users.retain(|_, shares| shares.strong_count() > 0);
        }
        let limits = &self.limits;
        let shares = Shares::new(
            limits.requests_of_user,
            limits.watches_of_user,
            limits.bytes_of_user,
            limits.heavy_of_user,
        );
        users.insert(Arc::clone(user), Arc::downgrade(&shares));
        shares
    }
}

impl Pass {
    /// Waits for room in memory for so many bytes, but not long.
    pub(crate) async fn bytes(&self, bytes: usize) -> Result<Taken> {
        if bytes <= SMALL {
            return Ok(Taken::default());
        }
        let kibibytes = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        // What is larger than a share takes all of it.
        let kibibytes = self.shares.iter().map(|share| share.most).fold(kibibytes, u32::min);
        let all = async {
            let mut permits = Vec::with_capacity(self.shares.len());
            for share in &self.shares {
                let of = Arc::clone(&share.kibibytes);
                permits.push(of.acquire_many_owned(kibibytes).await.map_err(|_| closed())?);
            }
            Ok(self.take(permits))
        };
        timeout(self.limits.wait, all).await.unwrap_or_else(|_| Err(too_many(Kind::Request)))
    }

    /// Waits until there is a processor for a large request.
    pub(crate) async fn heavy(&self) -> Result<Taken> {
        let mut permits = Vec::with_capacity(self.shares.len());
        for share in &self.shares {
            let of = Arc::clone(&share.heavy);
            permits.push(of.acquire_owned().await.map_err(|_| closed())?);
        }
        Ok(self.take(permits))
    }

    fn take(&self, permits: Vec<OwnedSemaphorePermit>) -> Taken {
        Taken { permits, shares: self.shares.clone() }
    }

    /// What was taken, for as long as the answer lasts.
    pub(crate) fn into_taken(self) -> Taken {
        Taken { permits: self.permits, shares: self.shares }
    }
}

fn too_many(kind: Kind) -> ApiError {
    ApiError::too_many_requests(match kind {
        Kind::Request => "Too many requests, please try again later.",
        Kind::Watch => "Too many watches are open, please close some or try again later.",
    })
}

/// Never: the semaphores are not closed.
fn closed() -> ApiError {
    ApiError::unavailable("the server is shutting down")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate::new(Limits {
            requests: 3,
            requests_of_user: 2,
            requests_of_operators: 1,
            watches: 1,
            bytes: 300 << 10,
            bytes_of_user: 200 << 10,
            wait: std::time::Duration::from_millis(10),
            ..Limits::default()
        })
    }

    fn user(name: &str) -> Identity {
        Identity::named(name, Vec::new())
    }

    #[test]
    fn users_share_what_no_user_can_take_alone_and_operators_have_their_own() {
        let gate = gate();
        let enter = |who: &Identity| gate.enter(who, Kind::Request);
        let (jane, joe) = (user("jane"), user("joe"));
        let first = enter(&jane).unwrap();
        let second = enter(&jane).unwrap();
        let error = enter(&jane).unwrap_err();
        assert_eq!(error.code(), http::StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(error.to_value()["reason"], "TooManyRequests");
        let third = enter(&joe).unwrap();
        assert!(enter(&joe).is_err(), "all are taken");
        let _operator = enter(&Identity::of_token()).unwrap();
        assert!(enter(&Identity::of_token()).is_err());
        drop(third);
        let answer = (first.into_taken(), second.into_taken());
        assert!(enter(&jane).is_err(), "an answer is not taken yet");
        drop(answer);
        enter(&jane).unwrap();
        let _watch = gate.enter(&jane, Kind::Watch).unwrap();
        assert!(gate.enter(&joe, Kind::Watch).is_err());
    }

    #[tokio::test]
    async fn large_bodies_wait_for_room_but_not_long() {
        let gate = gate();
        let pass = gate.enter(&user("jane"), Kind::Request).unwrap();
        // More than there is takes all there is.
        let all = pass.bytes(usize::MAX).await.unwrap();
        assert_eq!(pass.bytes(100 << 10).await.unwrap_err().code(), 429);
        pass.bytes(SMALL).await.unwrap();
        let other = gate.enter(&user("joe"), Kind::Request).unwrap();
        other.bytes(100 << 10).await.unwrap();
        assert!(other.bytes(200 << 10).await.is_err(), "of all, there is less than his share");
        drop(all);
        pass.bytes(200 << 10).await.unwrap();
    }
}
