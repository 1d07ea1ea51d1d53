//! Minimal DNS client for the Service check: one query and its response (RFC 1035).

use std::net::IpAddr;

/// ID of every query.
const ID: u16 = 0x6361;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// Returns a query for the addresses of a name, in the address family of `like`.
pub(super) fn question(name: &str, like: IpAddr) -> Vec<u8> {
    let mut message = Vec::new();
    // Recursion desired; one question and no other records.
    for word in [ID, 0x0100, 1, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        // DNS labels in Kubernetes have at most 63 characters.
        message.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        message.extend(label.as_bytes());
    }
    message.push(0);
    let kind = if like.is_ipv4() { TYPE_A } else { TYPE_AAAA };
    message.extend(kind.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message
}

/// Returns the message with a length prefix, for TCP.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    length.to_be_bytes().iter().chain(message).copied().collect()
}

/// Returns the addresses in a response.
///
/// # Errors
///
/// Returns what is wrong with the response, as text to follow "gets".
pub(super) fn addresses(message: &[u8]) -> Result<Vec<IpAddr>, String> {
    let broken = || "an invalid DNS message".to_owned();
    let word = |at: usize| {
        let bytes = message.get(at..at + 2)?;
        Some(u16::from_be_bytes(bytes.try_into().ok()?))
    };
    let (Some(id), Some(flags)) = (word(0), word(2)) else { return Err(broken()) };
    if id != ID || flags & 0x8000 == 0 {
        return Err(broken());
    }
    match flags & 0xf {
        0 => {}
        2 => return Err("SERVFAIL".to_owned()),
        3 => return Err("NXDOMAIN: no such name".to_owned()),
        5 => return Err("REFUSED".to_owned()),
        code => return Err(format!("error code {code}")),
    }
    let (questions, answers) = (word(4).unwrap_or(0), word(6).unwrap_or(0));
    let mut at = 12;
    for _ in 0..questions {
        at = after_name(message, at).ok_or_else(broken)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..answers {
        at = after_name(message, at).ok_or_else(broken)?;
        let (kind, length) = (word(at).ok_or_else(broken)?, word(at + 8).ok_or_else(broken)?);
        let data = message.get(at + 10..at + 10 + usize::from(length)).ok_or_else(broken)?;
        at += 10 + data.len();
        match kind {
            TYPE_A => found.extend(<[u8; 4]>::try_from(data).map(IpAddr::from)),
            TYPE_AAAA => found.extend(<[u8; 16]>::try_from(data).map(IpAddr::from)),
            _ => {}
        }
    }
    Ok(found)
}

/// Returns the offset after a name, which ends with its last label or with a compression pointer.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const NAME: &str = "kubernetes.default.svc.cluster.local";

    /// A response as CoreDNS sends it: the question, and one record whose name is a pointer.
    pub(in crate::cluster::services) fn answer(question: &[u8], address: [u8; 4]) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2] |= 0x84;
        message[7] = 1;
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        message.extend(address);
        message
    }

    fn asked() -> Vec<u8> {
        question(NAME, Ipv4Addr::LOCALHOST.into())
    }

    #[test]
    fn a_query_encodes_name_and_record_type() {
        let v4 = asked();
        assert_eq!(v4.get(12..24), Some(&b"\x0akubernetes\x07"[..]));
        assert_eq!(v4.get(v4.len() - 5..), Some(&[0, 0, 1, 0, 1][..]));
        let v6 = question(NAME, Ipv6Addr::LOCALHOST.into());
        assert_eq!(v6.get(v6.len() - 5..), Some(&[0, 0, 28, 0, 1][..]));
        assert_eq!(framed(&v4).get(..2), Some(&[0, u8::try_from(v4.len()).unwrap()][..]));
    }

    #[test]
    fn a_response_yields_addresses() {
        let found = addresses(&answer(&asked(), [10, 96, 0, 1]));
        assert_eq!(found, Ok(vec![Ipv4Addr::new(10, 96, 0, 1).into()]));
    }

    #[test]
    fn an_invalid_response_is_described() {
        let mut no_name = asked();
        no_name[2] |= 0x80;
        no_name[3] = 3;
        let whole = answer(&asked(), [10, 96, 0, 1]);
        let cases = [
            (no_name, "NXDOMAIN: no such name"),
            (asked(), "an invalid DNS message"),
            (Vec::new(), "an invalid DNS message"),
            (whole[..whole.len() - 2].to_vec(), "an invalid DNS message"),
            (b"caNONSENSE, and more of it".to_vec(), "an invalid DNS message"),
        ];
        for (message, want) in cases {
            assert_eq!(addresses(&message), Err(want.to_owned()), "{message:?}");
        }
    }
}
