//! Reads the etcd member from its static pod manifest, which is untrusted node data.

use capn_text::yaml::{self, Bounds};
use serde_json::Value;

use crate::error::CommandError;

/// An etcd member according to its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its name, which equals the node's name.
    pub(super) name: String,
    /// Its peer URL.
    pub(super) peer: String,
    /// Its data directory.
    pub(super) data: String,
    /// Its container image.
    pub(super) image: String,
}

/// Parses a manifest.
///
/// # Errors
///
/// Returns an error if it is not an etcd manifest written by kubeadm.
pub(super) fn read(manifest: &[u8]) -> Result<Member, CommandError> {
    let text = std::str::from_utf8(manifest)
        .map_err(|_| CommandError::new("the etcd manifest is not text"))?;
    let pod: Value = yaml::from_str(text, Bounds::FILE)
        .map_err(|error| CommandError::caused("cannot parse the etcd manifest", error))?;
    let container = &pod["spec"]["containers"][0];
    let command = container["command"].as_array().map(Vec::as_slice).unwrap_or_default();
    let flag = |name: &str| {
        let values = command.iter().filter_map(Value::as_str);
        let found =
            values.filter_map(|part| part.strip_prefix(name)?.strip_prefix('=')).next_back();
        found.unwrap_or_default().to_owned()
    };
    let member = Member {
        name: flag("--name"),
        peer: flag("--initial-advertise-peer-urls"),
        data: flag("--data-dir"),
        image: container["image"].as_str().unwrap_or_default().to_owned(),
    };
    let parts = [
        ("--name", &member.name, is_of(&member.name, "-.") && !member.name.starts_with('-')),
        (
            "--initial-advertise-peer-urls",
            &member.peer,
            member.peer.starts_with("https://") && is_of(&member.peer, "-.:/[]"),
        ),
        (
            "--data-dir",
            &member.data,
            member.data.len() > 1
                && member.data.starts_with('/')
                && is_of(&member.data, "-._/")
                && !member.data.contains("..")
                && !member.data.ends_with('/'),
        ),
        ("image", &member.image, is_of(&member.image, "-._:/@") && !member.image.starts_with('-')),
    ];
    match parts.iter().find(|(_, _, is_good)| !is_good) {
        None => Ok(member),
        Some((name, value, _)) => Err(CommandError::new(format!(
            "the etcd manifest was not written by kubeadm: `{name}` is `{value}`"
        ))),
    }
}

/// Returns whether a text only consists of letters, digits and these characters.
fn is_of(text: &str, others: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    !text.is_empty() && text.len() <= 512 && text.chars().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str, peer: &str, data: &str, image: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - command:\n    - etcd\n    - --name={name}\n    - --data-dir={data}\n    - --initial-advertise-peer-urls={peer}\n    image: {image}\n"
        )
    }

    #[test]
    fn the_member_is_read_and_what_could_be_more_than_a_name_is_refused() {
        let good =
            ("demo-0", "https://10.0.0.3:2380", "/var/lib/etcd", "registry.k8s.io/etcd:3.6.8-0");
        let of = |(name, peer, data, image): (&str, &str, &str, &str)| {
            read(manifest(name, peer, data, image).as_bytes())
        };
        let member = of(good).unwrap();
        assert_eq!((member.name.as_str(), member.peer.as_str()), (good.0, good.1));
        assert_eq!((member.data.as_str(), member.image.as_str()), (good.2, good.3));
        assert!(of((good.0, "https://[fd00::1]:2380", good.2, good.3)).is_ok());
        for bad in [
            ("", good.1, good.2, good.3),
            ("-x", good.1, good.2, good.3),
            ("a;b", good.1, good.2, good.3),
            (good.0, "http://10.0.0.3:2380", good.2, good.3),
            (good.0, "https://a:1,https://b:1", good.2, good.3),
            (good.0, good.1, "var/lib", good.3),
            (good.0, good.1, "/", good.3),
            (good.0, good.1, "/var/../etc", good.3),
            (good.0, good.1, good.2, "a$(b)"),
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
        assert!(read(b"spec: [").is_err());
        assert!(read(b"").is_err());
    }
}
