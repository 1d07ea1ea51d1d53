//! Values of flags as Go's managers take them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use clap::Args;

/// Where to listen, or nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(Option<SocketAddr>);

impl Listen {
    /// The address; `None`: nowhere.
    pub fn address(self) -> Option<SocketAddr> {
        self.0
    }
}

/// Reads `127.0.0.1:9440`, `[::1]:9440`, `localhost:9440`, `:9440` (every address of the host, both
/// families), and `0` or nothing for nowhere.
///
/// # Errors
///
/// What is wrong with the text.
pub(super) fn listen(text: &str) -> Result<Listen, String> {
    if matches!(text, "" | "0") {
        return Ok(Listen(None));
    }
    let numeric = match text.rsplit_once(':') {
        Some(("", port)) => port.parse().ok().map(every_address),
        Some(("localhost", port)) => {
            port.parse().ok().map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        }
        _ => text.parse().ok(),
    };
    numeric
        .map(|address| Listen(Some(address)))
        .ok_or_else(|| "write it like `:9440` or `127.0.0.1:9440`, or `0` for nowhere".to_owned())
}

fn every_address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

/// Accepted so that the arguments of an existing Deployment stay valid.
#[derive(Clone, Debug, Default, Args)]
pub struct Ignored {
    /// There is no webhook to serve
    #[arg(long, hide = true, value_name = "PORT")]
    pub webhook_port: Option<u16>,
    /// There is no webhook to serve
    #[arg(long, hide = true, value_name = "DIR")]
    pub webhook_cert_dir: Option<String>,
    /// There is no webhook to serve
    #[arg(long, hide = true, value_name = "NAME")]
    pub webhook_cert_name: Option<String>,
    /// There is no webhook to serve
    #[arg(long, hide = true, value_name = "NAME")]
    pub webhook_key_name: Option<String>,
    /// There are no such profiles
    #[arg(
        long, hide = true, default_value = "false", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set
    )]
    pub contention_profiling: bool,
    /// There is no profiler
    #[arg(long, hide = true, default_value = "", value_name = "ADDRESS")]
    pub profiler_address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_go() {
        let read = |text| listen(text).map(|listen| listen.address().map(|a| a.to_string()));
        assert_eq!(read(":9440"), Ok(Some("[::]:9440".to_owned())));
        assert_eq!(read("localhost:1"), Ok(Some("127.0.0.1:1".to_owned())));
        assert_eq!(read("127.0.0.1:8443"), Ok(Some("127.0.0.1:8443".to_owned())));
        assert_eq!(read("[::1]:8443"), Ok(Some("[::1]:8443".to_owned())));
        assert_eq!(read("0"), Ok(None));
        assert_eq!(read(""), Ok(None));
        for wrong in ["9440", ":", "host:1", ":99999"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
