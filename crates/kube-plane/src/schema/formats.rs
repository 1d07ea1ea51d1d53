//! String formats that Kubernetes validates. Others have no effect, as in Kubernetes.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::OnceLock,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use regex::Regex;

/// Returns whether a text has a format.
pub(super) fn holds(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "duration" => is_go_duration(text),
        "byte" => STANDARD.decode(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "ip" => text.parse::<IpAddr>().is_ok(),
        "cidr" => text.parse::<ipnet::IpNet>().is_ok(),
        "mac" => {
            let groups: Vec<&str> = text.split([':', '-']).collect();
            matches!(groups.len(), 6 | 8)
                && groups.iter().all(|g| g.len() == 2 && g.bytes().all(|b| b.is_ascii_hexdigit()))
        }
        "uri" => matches(&URI, r"^[A-Za-z][A-Za-z0-9+.-]*:\S*$", text) || text.starts_with('/'),
        "email" => matches(&EMAIL, r"^[^@\s]+@[^@\s]+$", text),
        "hostname" => is_hostname(text),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => uuid::Uuid::parse_str(text).is_ok(),
        _ => true,
    }
}

static URI: OnceLock<Option<Regex>> = OnceLock::new();
static EMAIL: OnceLock<Option<Regex>> = OnceLock::new();

fn matches(cell: &OnceLock<Option<Regex>>, pattern: &str, text: &str) -> bool {
    cell.get_or_init(|| Regex::new(pattern).ok()).as_ref().is_none_or(|r| r.is_match(text))
}

fn is_hostname(text: &str) -> bool {
    text.len() <= 255
        && text.trim_end_matches('.').split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

/// As Go's `time.ParseDuration`: `1h30m`, `-1.5s`, `0`.
fn is_go_duration(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let after = &rest[digits..];
        let fraction = after.strip_prefix('.').map_or(0, |after| {
            1 + after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len()
        });
        if digits == 0 && fraction <= 1 {
            return false;
        }
        let after = &after[fraction..];
        let units = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
        let Some(unit) = units.iter().find(|unit| after.starts_with(**unit)) else { return false };
        rest = &after[unit.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::holds;

    #[test]
    fn string_formats_are_validated() {
        let table = [
            ("date-time", "2026-01-02T03:04:05Z", true),
            ("date-time", "2026-01-02T03:04:05.123+02:00", true),
            ("date-time", "yesterday", false),
            ("date", "2026-02-30", false),
            ("duration", "1h30m", true),
            ("duration", "1.5s", true),
            ("duration", "90", false),
            ("duration", "", false),
            ("byte", "aGVsbG8=", true),
            ("byte", "a b", false),
            ("cidr", "10.0.0.0/8", true),
            ("cidr", "10.0.0.0/33", false),
            ("ipv4", "::1", false),
            ("ipv6", "::1", true),
            ("mac", "00:11:22:aa:bb:cc", true),
            ("uri", "https://example.org/a", true),
            ("uri", "not a uri", false),
            ("email", "a@b", true),
            ("hostname", "a.b-c.d", true),
            ("hostname", "-a", false),
            ("uuid", "5b1c8a4e-3b0e-4d2a-9a64-0d6c3e5a7f10", true),
            ("int64", "anything", true),
        ];
        for (format, text, good) in table {
            assert_eq!(holds(format, text), good, "{format} {text}");
        }
    }
}
