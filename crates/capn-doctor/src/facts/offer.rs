//! DHCP test of a bridge on this host, as an instance would use it.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use smoltcp::wire::{DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpMessageType, DhcpPacket, DhcpRepr};
use smoltcp::wire::{EthernetAddress, Ipv4Address};
use tokio::time::{Instant, interval, timeout_at};

/// Time limit for an offer.
const OFFER_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval of requests. One may be lost while the NIC comes up.
const REQUEST_INTERVAL: Duration = Duration::from_millis(500);
/// Time limit of an `ip` command.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// Prefix of the network namespaces of requests, followed by the process ID.
const PREFIX: &str = "capn-dhcp-";
/// Directory of the namespaces of `ip netns`.
const NAMESPACES: &str = "/run/netns";
/// Directory of the host's network interfaces.
const INTERFACES: &str = "/sys/class/net";
/// NIC in the namespace, named as in an instance.
const NIC: &str = "eth0";
/// A locally administered address.
const MAC: EthernetAddress = EthernetAddress([0x02, 0x63, 0x61, 0x70, 0x6e, 0x01]);

/// Result of a DHCP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// This address was offered. It was not accepted.
    Received(Ipv4Addr),
    /// No offer arrived within 3 s.
    Missing,
    /// No request was made, for this reason.
    NotTested(String),
}

/// Requests an address on a bridge of this host, through a NIC in a separate network namespace. The
/// offer is not accepted, so that no lease is created. Needs root.
///
/// # Cancellation
///
/// Leaves the namespace and its NIC behind; the next call removes them.
pub async fn offer(bridge: &str) -> Offer {
    if !Path::new(INTERFACES).join(bridge).exists() {
        return Offer::NotTested(format!("this host has no interface `{bridge}`"));
    }
    // Files of a process in /proc belong to its effective user.
    if !std::fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0) {
        return Offer::NotTested("the test needs root: `sudo capn doctor`".to_owned());
    }
    remove_leftovers().await;
    let process = std::process::id().to_string();
    let asked = match connect(bridge, &process).await {
        Ok(socket) => ask(socket).await,
        Err(error) => Err(error),
    };
    remove(&process).await;
    match asked {
        Ok(Some(address)) => Offer::Received(address),
        Ok(None) => Offer::Missing,
        Err(error) => Offer::NotTested(format!("cannot attach a NIC: {error}")),
    }
}

/// Removes what a process created for its request: the port first, since the kernel removes the
/// namespace later.
async fn remove(process: &str) {
    let port = port(process);
    if Path::new(INTERFACES).join(&port).exists()
        && let Err(error) = ip(&["link", "del", &port]).await
    {
        tracing::warn!(port, %error, "cannot remove the port of a DHCP test from the bridge");
    }
    let namespace = format!("{PREFIX}{process}");
    if let Err(error) = ip(&["netns", "del", &namespace]).await {
        tracing::warn!(namespace, %error, "cannot remove the namespace of a DHCP test");
    }
}

/// Returns the end of the NIC that is attached to the bridge.
fn port(process: &str) -> String {
    format!("capnd{process}")
}

/// Removes what interrupted calls left behind.
async fn remove_leftovers() {
    let entries = std::fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
    for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
        let Some(process) = name.strip_prefix(PREFIX) else { continue };
        let is_running = Path::new("/proc").join(process).exists();
        if !is_running || process == std::process::id().to_string() {
            remove(process).await;
        }
    }
}

/// Creates the namespace with a NIC on the bridge, and a socket in it.
async fn connect(bridge: &str, process: &str) -> io::Result<UdpSocket> {
    let (namespace, port) = (format!("{PREFIX}{process}"), port(process));
    // `ip` needs colons as separators.
    let mac = MAC.to_string().replace('-', ":");
    ip(&["netns", "add", &namespace]).await?;
    let add = ["link", "add", &port, "type", "veth", "peer", "name", NIC, "address", &mac];
    ip(&[&add[..], &["netns", &namespace]].concat()).await?;
    ip(&["link", "set", &port, "master", bridge, "up"]).await?;
    ip(&["-n", &namespace, "link", "set", NIC, "up"]).await?;
    // A thread cannot leave a namespace again, so a separate thread enters it.
    let thread = std::thread::spawn(move || socket_within(&namespace));
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    match joined {
        Ok(Ok(socket)) => socket,
        _ => Err(io::Error::other("the socket thread stopped")),
    }
}

fn socket_within(namespace: &str) -> io::Result<UdpSocket> {
    let file = File::open(Path::new(NAMESPACES).join(namespace))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
    // The NIC has no address yet, so that there is no route back to the server.
    for interface in ["all", NIC] {
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter"), "0")?;
    }
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DHCP_CLIENT_PORT))
}

/// Sends requests until an offer arrives or the time is over.
async fn ask(socket: UdpSocket) -> io::Result<Option<Ipv4Addr>> {
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UdpSocket::from_std(socket)?;
    socket.bind_device(Some(NIC.as_bytes()))?;
    socket.set_broadcast(true)?;
    let transaction: u32 = rand::random();
    let request = discover(transaction)?;
    let deadline = Instant::now() + OFFER_TIMEOUT;
    let mut again = interval(REQUEST_INTERVAL);
    let mut answer = [0_u8; 1500];
    loop {
        tokio::select! {
            _ = again.tick() => {
                socket.send_to(&request, (Ipv4Addr::BROADCAST, DHCP_SERVER_PORT)).await?;
            }
            received = timeout_at(deadline, socket.recv(&mut answer)) => {
                let Ok(received) = received else { return Ok(None) };
                // Flooding of the bridge must not delay the result.
                if Instant::now() > deadline {
                    return Ok(None);
                }
                if let Some(address) = offered(&answer[..received?], transaction) {
                    return Ok(Some(address));
                }
            }
        }
    }
}

/// Returns a DHCPDISCOVER that asks for a broadcast response.
fn discover(transaction: u32) -> io::Result<Vec<u8>> {
    let request = DhcpRepr {
        message_type: DhcpMessageType::Discover,
        transaction_id: transaction,
        secs: 0,
        client_hardware_address: MAC,
        client_ip: Ipv4Address::UNSPECIFIED,
        your_ip: Ipv4Address::UNSPECIFIED,
        server_ip: Ipv4Address::UNSPECIFIED,
        router: None,
        subnet_mask: None,
        relay_agent_ip: Ipv4Address::UNSPECIFIED,
        broadcast: true,
        requested_ip: None,
        client_identifier: None,
        server_identifier: None,
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        renew_duration: None,
        rebind_duration: None,
        lease_duration: None,
        additional_options: &[],
    };
    let mut bytes = vec![0; request.buffer_len()];
    request.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).map_err(io::Error::other)?;
    Ok(bytes)
}

/// Returns the address in an offer for this request.
fn offered(bytes: &[u8], transaction: u32) -> Option<Ipv4Addr> {
    let packet = DhcpPacket::new_checked(bytes).ok()?;
    let answer = DhcpRepr::parse(&packet).ok()?;
    let is_ours = answer.transaction_id == transaction
        && answer.message_type == DhcpMessageType::Offer
        && answer.client_hardware_address == MAC;
    is_ours.then_some(answer.your_ip)
}

/// Runs `ip` of iproute2.
async fn ip(arguments: &[&str]) -> io::Result<()> {
    let mut command = tokio::process::Command::new("ip");
    command.args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(COMMAND_TIMEOUT, command.output())
        .await
        .map_err(|_| io::Error::other(format!("`ip {}` timed out", arguments.join(" "))))?
        .map_err(|error| io::Error::other(format!("cannot run `ip`: {error}")))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "`ip {}`: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_remote_bridge_is_not_probed() {
        let said = offer("capn-none0").await;
        assert_eq!(said, Offer::NotTested("this host has no interface `capn-none0`".to_owned()));
    }

    #[test]
    fn only_an_offer_for_this_request_is_one() {
        let request = discover(7).unwrap();
        assert_eq!(offered(&request, 7), None, "a request is no offer");
        let answer = |change: fn(&mut DhcpRepr<'_>)| {
            let packet = DhcpPacket::new_checked(&request[..]).unwrap();
            let mut answer = DhcpRepr::parse(&packet).unwrap();
            answer.message_type = DhcpMessageType::Offer;
            answer.your_ip = Ipv4Addr::new(10, 0, 0, 7);
            change(&mut answer);
            let mut bytes = vec![0; answer.buffer_len()];
            answer.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..])).unwrap();
            bytes
        };
        assert_eq!(offered(&answer(|_| {}), 7), Some(Ipv4Addr::new(10, 0, 0, 7)));
        assert_eq!(offered(&answer(|a| a.transaction_id = 8), 7), None);
        assert_eq!(offered(&answer(|a| a.message_type = DhcpMessageType::Nak), 7), None);
        assert_eq!(offered(b"short", 7), None);
    }
}
