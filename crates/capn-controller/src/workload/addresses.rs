//! Allowed addresses of workload clusters.

use std::future::{Ready, ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

/// Addresses to which a kubeconfig or an identity may lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Any address except those that only this host can reach and link-local ones. For a kubeconfig
    /// or an identity that an untrusted user may have written.
    #[default]
    Network,
    /// Addresses of this host as well. For files written by the owner of this process.
    ThisMachine,
}

impl Reach {
    /// Returns whether an address is allowed, in any notation.
    #[must_use]
    pub fn has(self, address: IpAddr) -> bool {
        match address.to_canonical() {
            ip if ip.is_loopback() => self == Self::ThisMachine,
            IpAddr::V4(ip) => {
                !(ip.is_unspecified()
                    || ip.is_link_local()
                    || ip.is_multicast()
                    || ip.is_broadcast())
            }
            IpAddr::V6(ip) => {
                !(ip.is_unspecified() || ip.is_unicast_link_local() || ip.is_multicast())
            }
        }
    }
}

/// Resolves a name and returns the allowed addresses.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    reach: Reach,
    /// Namespace of the cluster, whose lookups are limited together.
    namespace: Arc<str>,
}

impl Resolver {
    pub(super) fn new(reach: Reach, namespace: &str) -> Self {
        Self { reach, namespace: namespace.into() }
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { reach, namespace } = self.clone();
        Box::pin(async move {
            let found = group_limits::names::lookup(name.as_str(), 0, &namespace).await?;
            within(reach, found).await
        })
    }
}

fn within(
    reach: Reach,
    mut found: Vec<SocketAddr>,
) -> Ready<io::Result<std::vec::IntoIter<SocketAddr>>> {
    found.retain(|address| reach.has(address.ip()));
    ready(match found.is_empty() {
        false => Ok(found.into_iter()),
        true => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the name of the API server resolves to no allowed address (loopback and link-local addresses are not allowed)",
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_this_machine_and_link_local_ones_are_out_of_reach() {
        for (address, network, this_machine) in [
            ("10.0.0.7", true, true),
            ("192.0.2.1", true, true),
            ("fd42::7", true, true),
            ("2001:db8::1", true, true),
            ("127.0.0.1", false, true),
            ("127.9.9.9", false, true),
            ("::1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("0.0.0.0", false, false),
            ("::", false, false),
            ("224.0.0.1", false, false),
            ("ff02::1", false, false),
            ("255.255.255.255", false, false),
        ] {
            let ip: IpAddr = address.parse().unwrap();
            assert_eq!(Reach::Network.has(ip), network, "{address}");
            assert_eq!(Reach::ThisMachine.has(ip), this_machine, "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_host_is_rejected() {
        let found = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 0);
        let both = within(Reach::Network, vec![found("127.0.0.1"), found("10.0.0.7")]).await;
        assert_eq!(both.unwrap().collect::<Vec<_>>(), [found("10.0.0.7")]);
        let none = within(Reach::Network, vec![found("127.0.0.1"), found("fe80::1")]).await;
        assert_eq!(none.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
