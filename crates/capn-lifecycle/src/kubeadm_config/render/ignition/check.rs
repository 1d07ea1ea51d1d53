//! Validation rules of Ignition 2.3.
//!
//! Ignition performs the same checks when a machine boots, but then nobody sees the result.

use std::collections::BTreeSet;

use serde_json::Value;

use super::ROOT;
use super::reader::Findings;

/// Maximum length of a filesystem label, by format.
const LABELS: &[(&str, usize)] =
    &[("ext4", 16), ("btrfs", 256), ("xfs", 12), ("swap", 15), ("vfat", 11)];
/// Maximum length of a partition label.
const PARTITION_LABEL: usize = 36;
const UNIT_TYPES: &[&str] = &[
    ".service",
    ".socket",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".target",
    ".path",
    ".timer",
    ".snapshot",
    ".slice",
    ".scope",
];
const SHA512_DIGITS: usize = 128;

/// Validates a configuration. Each finding begins with the path in the Ignition configuration.
pub(super) fn check(config: &Value, findings: &Findings) {
    let ignition = &config["ignition"];
    for (at, reference) in list(&ignition["config"], "ignition.config", "append") {
        fetched(&at, reference, findings);
    }
    if !ignition["config"]["replace"].is_null() {
        fetched("ignition.config.replace", &ignition["config"]["replace"], findings);
    }
    let tls = &ignition["security"]["tls"];
    for (at, reference) in list(tls, "ignition.security.tls", "certificateAuthorities") {
        fetched(&at, reference, findings);
    }
    storage(&config["storage"], findings);
    for (at, unit) in list(&config["systemd"], "systemd", "units") {
        systemd_unit(&at, unit, findings);
    }
    for (at, unit) in list(&config["networkd"], "networkd", "units") {
        named(&at, unit, &[".link", ".netdev", ".network"], findings);
        dropins(&at, unit, findings);
    }
    for (at, user) in list(&config["passwd"], "passwd", "users") {
        if let Some(create) = user.get("create") {
            let place = format!("{at}.create");
            findings.warning(&place, "is deprecated; its keys belong to the user itself");
            let both = [
                "gecos",
                "groups",
                "homeDir",
                "noCreateHome",
                "noLogInit",
                "noUserGroup",
                "primaryGroup",
                "shell",
                "system",
                "uid",
            ];
            if both.iter().any(|key| user.get(key).is_some()) && create.is_object() {
                findings.error(&place, "cannot be used with the same keys of the user");
            }
        }
    }
}

/// Returns the entries of a list, each with its path.
fn list<'a>(
    parent: &'a Value,
    at: &str,
    key: &str,
) -> impl Iterator<Item = (String, &'a Value)> + use<'a> {
    let place = format!("{at}.{key}");
    let entries = parent[key].as_array().into_iter().flatten().enumerate();
    entries.map(move |(index, entry)| (format!("{place}[{index}]"), entry))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn absolute(at: &str, path: &str, findings: &Findings) {
    if !path.starts_with('/') {
        findings.error(at, "is not an absolute path");
    }
}

fn storage(storage: &Value, findings: &Findings) {
    for (at, disk) in list(storage, "storage", "disks") {
        absolute(&format!("{at}.device"), text(disk, "device"), findings);
        let mut numbers = BTreeSet::new();
        for (at, partition) in list(disk, &at, "partitions") {
            let number = partition["number"].as_i64().unwrap_or_default();
            if number < 0 || (number != 0 && !numbers.insert(number)) {
                findings.error(&format!("{at}.number"), "is negative or used twice");
            }
            let label = text(partition, "label");
            if label.len() > PARTITION_LABEL {
                findings.error(&format!("{at}.label"), "is longer than 36 bytes");
            }
            if label.contains(':') {
                findings.warning(
                    &format!("{at}.label"),
                    "contains a colon, at which sgdisk truncates it",
                );
            }
            for key in ["guid", "typeGuid"] {
                if !matches!(text(partition, key), "") && !is_guid(text(partition, key)) {
                    findings.error(&format!("{at}.{key}"), "is not a GUID");
                }
            }
        }
    }
    for (at, raid) in list(storage, "storage", "raid") {
        match text(raid, "level") {
            "linear" | "raid0" | "0" | "stripe" if raid["spares"].as_i64().unwrap_or(0) != 0 => {
                findings.error(&format!("{at}.spares"), "cannot be used with this level");
            }
            "linear" | "raid0" | "0" | "stripe" | "raid1" | "1" | "mirror" | "raid4" | "4"
            | "raid5" | "5" | "raid6" | "6" | "raid10" | "10" => {}
            _ => findings.error(&format!("{at}.level"), "is not a RAID level"),
        }
        for (at, device) in list(raid, &at, "devices") {
            absolute(&at, device.as_str().unwrap_or_default(), findings);
        }
    }
    let mut names = BTreeSet::from([ROOT]);
    for (at, filesystem) in list(storage, "storage", "filesystems") {
        self::filesystem(&at, filesystem, findings);
        if !names.insert(text(filesystem, "name")) {
            findings.warning(&format!("{at}.name"), "is also the name of another filesystem");
        }
    }
    for kind in ["files", "directories", "links"] {
        for (at, node) in list(storage, "storage", kind) {
            absolute(&format!("{at}.path"), text(node, "path"), findings);
            if !names.contains(text(node, "filesystem")) {
                findings.warning(
                    &format!("{at}.filesystem"),
                    "is not a filesystem of this configuration",
                );
            }
            let mode = node["mode"].as_i64().unwrap_or_default();
            if !(0..=0o7777).contains(&mode) {
                findings.error(&format!("{at}.mode"), "is not between 0 and 07777");
            }
            for owner in ["user", "group"] {
                if node[owner].get("id").is_some() && node[owner].get("name").is_some() {
                    findings.error(&format!("{at}.{owner}"), "set one of id and name");
                }
            }
            if node["append"] == true && node["overwrite"] == true {
                findings.error(&at, "set one of append and overwrite");
            }
            if kind == "files" {
                let contents = &node["contents"];
                fetched(&format!("{at}.contents"), contents, findings);
                if !matches!(text(contents, "compression"), "" | "gzip") {
                    findings.error(&format!("{at}.contents.compression"), "is not gzip");
                }
            }
        }
    }
}

fn filesystem(at: &str, filesystem: &Value, findings: &Findings) {
    let (mount, path) = (filesystem.get("mount"), filesystem.get("path"));
    if mount.is_some() == path.is_some() {
        findings.error(at, "set one of mount and path");
    }
    if let Some(path) = path {
        absolute(&format!("{at}.path"), path.as_str().unwrap_or_default(), findings);
    }
    let Some(mount) = mount else { return };
    let at = format!("{at}.mount");
    absolute(&format!("{at}.device"), text(mount, "device"), findings);
    match LABELS.iter().find(|(format, _)| *format == text(mount, "format")) {
        None => findings.error(
            &format!("{at}.format"),
            "is not ext4, btrfs, xfs, swap or vfat, the formats of Ignition",
        ),
        Some((format, longest)) if text(mount, "label").len() > *longest => {
            let problem = format!("is longer than the {longest} bytes of {format}");
            findings.error(&format!("{at}.label"), problem);
        }
        Some(_) => {}
    }
    if mount.get("create").is_some() {
        let place = format!("{at}.create");
        findings.warning(&place, "is deprecated; use wipeFilesystem and options");
        if mount["wipeFilesystem"] == true || mount.get("options").is_some() {
            findings.error(&place, "cannot be used with wipeFilesystem or options");
        }
    }
}

/// An object with a URL and an optional hash.
fn fetched(at: &str, reference: &Value, findings: &Findings) {
    let source = text(reference, "source");
    let scheme = source.split_once(':').map_or("", |(scheme, _)| scheme);
    // Without a URL, the file is empty.
    if !source.is_empty() && !["http", "https", "oem", "tftp", "s3", "data"].contains(&scheme) {
        findings
            .error(&format!("{at}.source"), "is not a URL with http, https, oem, tftp, s3 or data");
    }
    if let Some(hash) = reference["verification"]["hash"].as_str() {
        let place = format!("{at}.verification.hash");
        match hash.split_once('-') {
            Some(("sha512", sum)) if sum.len() == SHA512_DIGITS => {}
            Some(("sha512", _)) => {
                findings.error(&place, "does not have the 128 digits of SHA-512");
            }
            _ => findings.error(&place, "is not a hash of sha512, the only function"),
        }
    }
}

fn systemd_unit(at: &str, unit: &Value, findings: &Findings) {
    named(at, unit, UNIT_TYPES, findings);
    dropins(at, unit, findings);
    let contents = text(unit, "contents");
    let is_enabled = unit["enable"] == true || unit["enabled"] == true;
    let has_install = contents.lines().any(|line| line.trim() == "[Install]");
    // A unit without contents is one of the image.
    if is_enabled && !contents.is_empty() && !has_install {
        findings.warning(
            &format!("{at}.contents"),
            "has no section [Install], so enabling it has no effect",
        );
    }
}

/// A unit file of systemd or networkd with one of some suffixes.
fn named(at: &str, file: &Value, suffixes: &[&str], findings: &Findings) {
    let name = text(file, "name");
    if !suffixes.iter().any(|suffix| name.ends_with(suffix)) || name.contains('/') {
        findings.error(&format!("{at}.name"), format!("does not end in {}", suffixes.join(", ")));
    }
    if let Some(line) = wrong_line(text(file, "contents")) {
        let problem = format!("line {line} is not a section or `KEY=VALUE`");
        findings.error(&format!("{at}.contents"), problem);
    }
}

fn dropins(at: &str, unit: &Value, findings: &Findings) {
    for (at, dropin) in list(unit, at, "dropins") {
        named(&at, dropin, &[".conf"], findings);
    }
}

/// Returns the first invalid line of a systemd unit, starting at 1.
fn wrong_line(contents: &str) -> Option<usize> {
    let mut continues = false;
    for (index, line) in contents.lines().enumerate() {
        let text = line.trim();
        let is_fine = continues
            || text.is_empty()
            || text.starts_with(['#', ';'])
            || (text.starts_with('[') && text.ends_with(']'))
            || text.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty());
        if !is_fine {
            return Some(index + 1);
        }
        continues = text.ends_with('\\');
    }
    None
}

fn is_guid(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}
