//! A tiny image: busybox, an init that shuts down on request, an address by DHCP, and stand-ins for
//! the programs that configure a load balancer.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use incus_client::{ImageFiles, ImageUpload, api::ImageAlias};

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 20] = [
    "sh", "cat", "echo", "sleep", "ls", "ip", "udhcpc", "id", "head", "mkdir", "rm", "mv", "chmod",
    "kill", "ps", "grep", "test", "true", "date", "touch",
];
const INIT: &str = "#!/bin/sh\n\
    trap 'exit 0' PWR TERM\n\
    ip link set lo up\n\
    until ip link set eth0 up && udhcpc -n -q -t 5 -T 1 -i eth0 -s /etc/udhcpc; do sleep 1; done \
    >/dev/null 2>&1 &\n\
    while :; do sleep 1 & wait $!; done\n";
const UDHCPC: &str = "#!/bin/sh\n[ \"$1\" = bound ] && ip addr add $ip/$mask dev eth0\n";
/// Accepts any non-empty configuration that does not contain `refuse-me`.
const HAPROXY: &str = "#!/bin/sh\n\
    for file; do :; done\n\
    grep -q refuse-me \"$file\" || exec test -s \"$file\"\n\
    echo \"[ALERT] parsing [$file:2] : unknown keyword 'refuse-me'\" >&2\n\
    exit 1\n";
/// Records its arguments.
const SYSTEMCTL: &str = "#!/bin/sh\necho \"$@\" >>/run/systemctl.log\n";
const METADATA: &str = "architecture: x86_64\ncreation_date: 1700000000\n\
    properties:\n  os: tiny\n  description: tiny test image\n";

/// Alias of the image.
pub(crate) const ALIAS: &str = "capn-t-tiny";

type Tar = tar::Builder<flate2::write::GzEncoder<File>>;

/// Writes the image file. `None`, with a message, if busybox is missing.
pub(crate) fn tiny(test: &str, directory: &Path) -> Option<ImageUpload> {
    if !Path::new(BUSYBOX).exists() {
        println!("SKIPPED: {test}: {BUSYBOX} is missing (package busybox-static)");
        return None;
    }
    let path: PathBuf = directory.join("tiny.tar.gz");
    let encoder =
        flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
    let mut tar = Tar::new(encoder);
    // Images with equal content share a fingerprint, and projects of other tests may be deleting
    // it.
    let metadata = format!("{METADATA}  serial: {}\n", uuid::Uuid::new_v4());
    file(&mut tar, "metadata.yaml", 0o644, metadata.as_bytes());
    for directory in ["bin", "sbin", "etc/haproxy", "proc", "sys", "dev", "root", "tmp", "run"] {
        entry(&mut tar, tar::EntryType::Directory, &format!("rootfs/{directory}/"), 0o755, &[]);
    }
    file(&mut tar, "rootfs/bin/busybox", 0o755, &std::fs::read(BUSYBOX).unwrap());
    for (path, text) in [
        ("sbin/init", INIT),
        ("etc/udhcpc", UDHCPC),
        ("bin/haproxy", HAPROXY),
        ("bin/systemctl", SYSTEMCTL),
    ] {
        file(&mut tar, &format!("rootfs/{path}"), 0o755, text.as_bytes());
    }
    for applet in APPLETS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_link(&mut header, format!("rootfs/bin/{applet}"), "busybox").unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
    Some(ImageUpload {
        files: ImageFiles::Unified(path),
        public: false,
        properties: Default::default(),
        aliases: vec![ImageAlias::named(ALIAS)],
    })
}

fn file(tar: &mut Tar, path: &str, mode: u32, content: &[u8]) {
    entry(tar, tar::EntryType::Regular, path, mode, content);
}

fn entry(tar: &mut Tar, kind: tar::EntryType, path: &str, mode: u32, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).unwrap();
}
