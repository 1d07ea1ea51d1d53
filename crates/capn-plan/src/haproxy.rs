//! The haproxy configuration of a load balancer.

use std::{collections::BTreeMap, fmt::Write as _};

use sha2::{Digest, Sha256};

mod template;

pub use template::{Template, TemplateError};

/// Input of the haproxy configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Haproxy {
    /// Port that clients connect to.
    pub frontend_port: u16,
    /// Port of the API server on each control plane.
    pub backend_port: u16,
    /// Whether to listen on IPv6 as well.
    pub ipv6: bool,
    /// Address of each control plane, by name. Empty: nothing is forwarded yet.
    pub backends: BTreeMap<String, std::net::IpAddr>,
    /// Health check of the control planes.
    pub check: Check,
    /// A custom configuration that replaces the built-in one.
    pub template: Option<Template>,
}

/// Health check that decides whether a control plane receives connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Check {
    /// `GET /healthz` over TLS must return 200.
    #[default]
    Healthz,
    /// The port must be open. For API servers that reject anonymous requests
    /// (`--anonymous-auth=false`).
    Port,
}

impl Check {
    fn lines(self) -> &'static str {
        match self {
            Self::Healthz => {
                "  option httpchk GET /healthz
  http-check expect status 200
  default-server check check-ssl verify none inter 1s fastinter 500ms downinter 1s fall 3 rise 1 on-marked-down shutdown-sessions"
            }
            Self::Port => {
                "  default-server check inter 1s fastinter 500ms downinter 1s fall 3 rise 1 on-marked-down shutdown-sessions"
            }
        }
    }
}

impl Haproxy {
    /// Renders the configuration file. The same input yields the same bytes.
    ///
    /// Connections are forwarded unchanged, so clients verify the certificate of the API server
    /// themselves. [`Check::Healthz`] does not verify the certificate, because the load balancer
    /// only uses the status code. There is no statistics page.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if a custom template cannot be rendered.
    pub fn render(&self) -> Result<String, TemplateError> {
        match &self.template {
            Some(template) => template.render(self),
            None => Ok(self.ours()),
        }
    }

    fn ours(&self) -> String {
        let Self { frontend_port, backend_port, ipv6, backends, check, template: _ } = self;
        let check = check.lines();
        // A kernel without IPv6 rejects the second form.
        let bind =
            if *ipv6 { format!(":::{frontend_port} v4v6") } else { format!("*:{frontend_port}") };
        let mut text = format!(
            "# Written by capn; changes are lost.
global
  log stdout format raw local0 info
  user haproxy
  group haproxy
  # Else it is derived from the limit of open files, which is without bounds in some containers.
  # Where the limit is lower than this needs, haproxy lowers it instead of refusing to start.
  maxconn 2000
  no strict-limits
  # After a reload the old process ends with its last connection, which may be to a control plane
  # that is gone. Clients connect again.
  hard-stop-after 30s

defaults
  log global
  mode tcp
  option tcplog
  option dontlognull
  timeout connect 5s
  timeout client 50s
  timeout server 50s
  # Watches are quiet for long; both ends keep them open by TCP keepalive.
  timeout tunnel 1h
  option clitcpka
  option srvtcpka
  retries 3
  option redispatch

frontend control-plane
  bind {bind}
  default_backend kube-apiservers

backend kube-apiservers
{check}
"
        );
        for (name, address) in backends {
            let host = match address {
                std::net::IpAddr::V4(ip) => ip.to_string(),
                std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            };
            // Writing to a String cannot fail.
            let written = writeln!(text, "  server {name} {host}:{backend_port}");
            debug_assert!(written.is_ok());
        }
        text
    }
}

/// Returns the hash that records an applied configuration: the first 16 hex digits of its SHA-256.
pub fn hash(text: &str) -> String {
    let mut digits = hex::encode(Sha256::digest(text.as_bytes()));
    digits.truncate(16);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_in_order_of_name_and_both_families_are_written_right() {
        let haproxy = Haproxy {
            frontend_port: 8443,
            backend_port: 6443,
            ipv6: true,
            backends: BTreeMap::from([
                ("b".to_owned(), "2001:db8::7".parse().unwrap()),
                ("a".to_owned(), "10.0.0.7".parse().unwrap()),
            ]),
            check: Check::Healthz,
            template: None,
        };
        insta::assert_snapshot!(haproxy.ours(), @r"
        # Written by capn; changes are lost.
        global
          log stdout format raw local0 info
          user haproxy
          group haproxy
          # Else it is derived from the limit of open files, which is without bounds in some containers.
          # Where the limit is lower than this needs, haproxy lowers it instead of refusing to start.
          maxconn 2000
          no strict-limits
          # After a reload the old process ends with its last connection, which may be to a control plane
          # that is gone. Clients connect again.
          hard-stop-after 30s

        defaults
          log global
          mode tcp
          option tcplog
          option dontlognull
          timeout connect 5s
          timeout client 50s
          timeout server 50s
          # Watches are quiet for long; both ends keep them open by TCP keepalive.
          timeout tunnel 1h
          option clitcpka
          option srvtcpka
          retries 3
          option redispatch

        frontend control-plane
          bind :::8443 v4v6
          default_backend kube-apiservers

        backend kube-apiservers
          option httpchk GET /healthz
          http-check expect status 200
          default-server check check-ssl verify none inter 1s fastinter 500ms downinter 1s fall 3 rise 1 on-marked-down shutdown-sessions
          server a 10.0.0.7:6443
          server b [2001:db8::7]:6443
        ");
    }

    #[test]
    fn without_ipv6_only_ipv4_is_bound() {
        let haproxy = Haproxy {
            frontend_port: 6443,
            backend_port: 6443,
            ipv6: false,
            backends: BTreeMap::new(),
            check: Check::Healthz,
            template: None,
        };
        assert!(haproxy.ours().contains("  bind *:6443\n"));
        let plain = Haproxy { check: Check::Port, ..haproxy };
        let text = plain.ours();
        assert!(!text.contains("healthz") && !text.contains("check-ssl"), "{text}");
        assert!(text.contains("  default-server check inter 1s"), "{text}");
    }

    #[test]
    fn the_hash_changes_with_the_text() {
        assert_eq!(hash("a"), hash("a"));
        assert_ne!(hash("a"), hash("b"));
        assert_eq!(hash("a").len(), 16);
    }
}
