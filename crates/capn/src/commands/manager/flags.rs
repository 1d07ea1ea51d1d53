//! Values of flags in the format of Go's controller managers.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use clap::Args;

/// A listen address, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(Option<SocketAddr>);

impl Listen {
    /// Returns the address; `None` means disabled.
    pub fn address(self) -> Option<SocketAddr> {
        self.0
    }
}

/// Parses `127.0.0.1:9440`, `[::1]:9440`, `localhost:9440`, `:9440` (all addresses of both
/// families), and `0` or an empty string to disable.
///
/// # Errors
///
/// Returns a message if the text is invalid.
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
    numeric.map(|address| Listen(Some(address))).ok_or_else(|| {
        "expected an address such as `:9440` or `127.0.0.1:9440`, or `0` to disable".to_owned()
    })
}

fn every_address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

/// Accepted so that the arguments of an existing Deployment remain valid.
#[derive(Clone, Debug, Default, Args)]
pub struct Ignored {
    /// Ignored: there is no webhook
    #[arg(long, hide = true, value_name = "PORT")]
    pub webhook_port: Option<u16>,
    /// Ignored: there is no webhook
    #[arg(long, hide = true, value_name = "DIR")]
    pub webhook_cert_dir: Option<String>,
    /// Ignored: there is no webhook
    #[arg(long, hide = true, value_name = "NAME")]
    pub webhook_cert_name: Option<String>,
    /// Ignored: there is no webhook
    #[arg(long, hide = true, value_name = "NAME")]
    pub webhook_key_name: Option<String>,
    /// Ignored: there are no such profiles
    #[arg(
        long, hide = true, default_value = "false", default_missing_value = "true",
        num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set
    )]
    pub contention_profiling: bool,
    /// Not supported: there is no profiler
    #[arg(long, hide = true, default_value = "", value_name = "ADDRESS")]
    pub profiler_address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_use_the_go_syntax() {
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
