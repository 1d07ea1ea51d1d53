//! Names of architectures: those of Debian, which products use, and those of the kernel, which
//! servers and `metadata.yaml` use.

/// Debian's name, kernel's name, other names in use.
const KNOWN: &[(&str, &str, &[&str])] = &[
    ("amd64", "x86_64", &[]),
    ("arm64", "aarch64", &[]),
    ("armhf", "armv7l", &["armv7"]),
    ("i386", "i686", &["i586"]),
    ("ppc64el", "ppc64le", &["powerpc64le"]),
    ("riscv64", "riscv64", &[]),
    ("s390x", "s390x", &[]),
    ("loong64", "loongarch64", &[]),
];

/// Returns Debian's name of an architecture with any of these names.
pub(super) fn debian_name(name: &str) -> Option<&'static str> {
    let is = |(debian, kernel, more): &&(&str, &str, &[&str])| {
        *debian == name || *kernel == name || more.contains(&name)
    };
    KNOWN.iter().find(is).map(|(debian, ..)| *debian)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_map_to_the_debian_architecture() {
        for (name, expected) in [
            ("amd64", Some("amd64")),
            ("x86_64", Some("amd64")),
            ("aarch64", Some("arm64")),
            ("armv7l", Some("armhf")),
            ("pdp11", None),
        ] {
            assert_eq!(debian_name(name), expected, "{name}");
        }
    }
}
