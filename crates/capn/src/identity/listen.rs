//! The address at which clients with certificates reach a server.

use incus_client::Client;
use incus_client::api::{Config, Server};

use super::Identity;
use crate::error::{CommandError, Doing as _};

/// Server setting for the HTTPS listen address.
const KEY: &str = "core.https_address";
/// Default port of a server.
const PORT: u16 = 8443;

/// Returns the URL of the server behind `admin`, and makes the server listen there first if
/// `listen` is given.
///
/// `address` overrides the address that clients use.
///
/// # Errors
///
/// Returns an error if the server does not listen on the network and `listen` is not given, or if
/// it already listens on a different address.
pub async fn url(
    admin: &Identity,
    client: &Client,
    server: &Server,
    listen: Option<&str>,
    address: Option<&str>,
) -> Result<String, CommandError> {
    let listens = text(server, KEY);
    let listens = match (listens, listen) {
        // A remote is reached through its URL, so the server listens there.
        (_, None) if admin.socket().is_none() => {
            return Ok(address.map_or_else(|| admin.server.clone(), with_scheme));
        }
        (None, None) => return Err(not_listening(admin)),
        (Some(listens), None) => listens,
        (Some(listens), Some(wanted)) if same(&listens, wanted) => listens,
        (Some(listens), Some(wanted)) => {
            return Err(CommandError::usage(format!(
                "the server already listens on {listens}, not on {wanted}"
            ))
            .hint("omit `--listen`; use `--address` to set the address that clients use"));
        }
        (None, Some(wanted)) => {
            let wanted = with_port(wanted);
            let config = Config::from([(KEY.to_owned(), wanted.clone())]);
            client
                .patch_server_config(&config)
                .await
                .doing(format!("cannot make the server listen on {wanted}"))?;
            wanted
        }
    };
    match address {
        Some(address) => Ok(with_scheme(address)),
        None => {
            let server = client.server().await.doing("cannot read the addresses of the server")?;
            Ok(with_scheme(&reachable(&listens, &server.environment.addresses)))
        }
    }
}

/// Returns whether the URL is only reachable from the server's own machine.
pub fn is_loopback(url: &str) -> bool {
    let host = url.trim_start_matches("https://");
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn not_listening(admin: &Identity) -> CommandError {
    let client = match admin.socket() {
        Some(socket) if socket.as_str().contains("lxd") => "lxc",
        _ => "incus",
    };
    CommandError::new(format!(
        "the server at {} does not listen on the network, which client certificates require",
        admin.server
    ))
    .hint(format!(
        "make it listen: `{client} config set {KEY} ADDRESS:{PORT}`, where managers can reach ADDRESS"
    ))
    .hint("or let this command do it: `--listen ADDRESS` (`--listen 127.0.0.1` for this machine only)")
}

fn text(server: &Server, key: &str) -> Option<String> {
    let value = server.config.get(key)?.as_str()?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// Picks an address that clients can use from the server's listen address.
fn reachable(listens: &str, addresses: &[String]) -> String {
    let (host, port) = listens.rsplit_once(':').unwrap_or((listens, "8443"));
    match host {
        "" | "[::]" | "0.0.0.0" | "*" => {
            let fits = |address: &&String| address.ends_with(&format!(":{port}"));
            addresses
                .iter()
                .find(|address| fits(address) && !is_loopback(address))
                .cloned()
                .unwrap_or_else(|| format!("127.0.0.1:{port}"))
        }
        _ => with_port(listens),
    }
}

fn with_port(address: &str) -> String {
    let is_bare_v6 = address.parse::<std::net::Ipv6Addr>().is_ok();
    match address {
        address if is_bare_v6 => format!("[{address}]:{PORT}"),
        address if address.ends_with(']') || !address.contains(':') => format!("{address}:{PORT}"),
        address => address.to_owned(),
    }
}

fn with_scheme(address: &str) -> String {
    let address = address.trim_start_matches("https://").trim_end_matches('/');
    format!("https://{}", with_port(address))
}

fn same(listens: &str, wanted: &str) -> bool {
    with_port(listens) == with_port(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_an_address_that_is_not_a_wildcard() {
        let addresses = ["127.0.0.1:8443", "192.0.2.7:8443", "10.0.0.1:8443"].map(str::to_owned);
        for (listens, expected) in [
            (":8443", "192.0.2.7:8443"),
            ("[::]:8443", "192.0.2.7:8443"),
            ("192.0.2.9:9443", "192.0.2.9:9443"),
            ("127.0.0.1", "127.0.0.1:8443"),
            ("0.0.0.0:7443", "127.0.0.1:7443"),
        ] {
            assert_eq!(reachable(listens, &addresses), expected, "{listens}");
        }
    }

    #[test]
    fn addresses_get_the_usual_port_and_ipv6_brackets() {
        for (address, url) in [
            ("192.0.2.1", "https://192.0.2.1:8443"),
            ("https://h:1/", "https://h:1"),
            ("fd00::1", "https://[fd00::1]:8443"),
            ("[fd00::1]", "https://[fd00::1]:8443"),
            ("[fd00::1]:7", "https://[fd00::1]:7"),
        ] {
            assert_eq!(with_scheme(address), url, "{address}");
        }
        assert!(is_loopback("https://127.0.0.1:8443") && is_loopback("https://[::1]:8443"));
        assert!(!is_loopback("https://[fd00::1]:8443") && !is_loopback("https://h:1"));
    }
}
