//! Checks that an instance conforms to the `isolation` of its cluster.
//!
//! An instance is the combination of its profiles, the defaults of capn, and its own config and
//! devices. In a cluster that is not `privileged`, none of these may give root in the instance
//! access to the host. A violation is refused before the instance is created or started, and
//! reported if it is introduced later. Unknown keys and devices are refused too, because newer
//! servers add new ones. The tests use the table in docs/understand/security.md.

mod config;
mod devices;

use std::fmt::{self, Write as _};

use capn_api::Isolation;
use incus_api::{Config, Devices, InstanceFull, Profile};

/// Instance config key: whether the instance has host IDs that no other instance has.
const OWN_IDS: &str = "security.idmap.isolated";
/// Config key in which a server reports the IDs that an instance runs with. An empty list means no
/// map.
const CURRENT_IDS: &str = "volatile.idmap.current";
/// Maximum number of violations in a message.
const LISTED: usize = 8;
/// Maximum number of characters of a value in a message.
const SHOWN: usize = 60;

/// Source of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A profile of the server.
    Profile(String),
    /// The manifest or the instance itself.
    Own,
}

/// A setting that violates the isolation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Source of the setting.
    pub source: Source,
    /// The setting, as the user would write it.
    pub setting: String,
    /// The effect of the setting, as the end of a sentence that begins with the setting.
    pub why: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.why)?;
        match &self.source {
            Source::Profile(name) => write!(f, " (profile {})", shown(name)),
            Source::Own => Ok(()),
        }
    }
}

/// Config and devices from one source.
#[derive(Clone, Copy, Debug)]
struct Layer<'a> {
    profile: Option<&'a str>,
    config: &'a Config,
    devices: &'a Devices,
}

/// Returns the violations of an instance that would be created with these profiles, in order, and
/// this config and these devices. A virtual machine has its own kernel and IDs.
pub fn violations_of_launch(
    isolation: Isolation,
    is_virtual_machine: bool,
    profiles: &[Profile],
    config: &Config,
    devices: &Devices,
) -> Vec<Violation> {
    let mut layers: Vec<Layer<'_>> = profiles
        .iter()
        .map(|profile| Layer {
            profile: Some(&profile.name),
            config: &profile.config,
            devices: &profile.devices,
        })
        .collect();
    layers.push(Layer { profile: None, config, devices });
    violations(isolation, is_virtual_machine, &layers)
}

/// Returns the violations of an existing instance, as it would be started now.
pub fn violations_of_instance(isolation: Isolation, instance: &InstanceFull) -> Vec<Violation> {
    // Volatile keys belong to the server.
    let is_set = |(key, _): &(&String, &String)| !key.starts_with("volatile.");
    let set = instance.expanded_config.iter().filter(is_set);
    let config = set.map(|(key, value)| (key.clone(), value.clone())).collect();
    let layer = Layer { profile: None, config: &config, devices: &instance.expanded_devices };
    violations(isolation, is_virtual_machine(instance), &[layer])
}

/// Returns the actual isolation of an instance. `None` for a virtual machine, which does not share
/// the kernel of the host.
pub fn of_instance(instance: &InstanceFull) -> Option<Isolation> {
    if is_virtual_machine(instance) {
        return None;
    }
    let config = &instance.expanded_config;
    // A changed key takes effect at the next start; this is what the instance runs with now.
    let runs_without_map =
        instance.is_running() && instance.config.get(CURRENT_IDS).is_some_and(|map| map == "[]");
    let is_open = !violations_of_instance(Isolation::Shared, instance).is_empty();
    Some(match is_true(config, OWN_IDS) {
        _ if runs_without_map || is_open => Isolation::Privileged,
        true => Isolation::Isolated,
        false => Isolation::Shared,
    })
}

/// Formats the violations: all of them, or the first few and the number of the others.
pub fn message(isolation: Isolation, violations: &[Violation]) -> String {
    let mut text = format!("the cluster's isolation is {isolation}, which does not allow: ");
    for (place, violation) in violations.iter().take(LISTED).enumerate() {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{}{violation}", if place > 0 { "; " } else { "" });
    }
    if violations.len() > LISTED {
        let _infallible = write!(text, "; and {} more", violations.len() - LISTED);
    }
    text.push_str(
        ". Remove it, or set spec.isolation of the LXCCluster to match the nodes (see the table in docs/understand/security.md)",
    );
    text
}

fn violations(
    isolation: Isolation,
    is_virtual_machine: bool,
    layers: &[Layer<'_>],
) -> Vec<Violation> {
    if isolation == Isolation::Privileged {
        return Vec::new();
    }
    let mut found = Vec::new();
    let source = |profile: Option<&str>| match profile {
        Some(name) => Source::Profile(name.to_owned()),
        None => Source::Own,
    };
    // The last layer that sets a key or device wins.
    for (place, layer) in layers.iter().enumerate() {
        let later = layers.get(place + 1..).unwrap_or_default();
        for (key, value) in layer.config {
            if later.iter().any(|later| later.config.contains_key(key)) {
                continue;
            }
            if let Some(why) = config::violation(isolation, is_virtual_machine, key, value) {
                let setting = format!("config {}={}", shown(key), shown(value));
                found.push(Violation { source: source(layer.profile), setting, why });
            }
        }
        for (name, device) in layer.devices {
            if later.iter().any(|later| later.devices.contains_key(name)) {
                continue;
            }
            let named = config::other_lines(name).or_else(|| devices::violation(isolation, device));
            if let Some(why) = named {
                let setting = format!("device {} ({})", shown(name), described(device));
                found.push(Violation { source: source(layer.profile), setting, why });
            }
        }
    }
    let has_own_ids = layers.iter().rev().find_map(|layer| layer.config.get(OWN_IDS));
    if isolation == Isolation::Isolated && !is_virtual_machine && has_own_ids.is_none() {
        let setting = format!("config without {OWN_IDS}=true");
        found.push(Violation { source: Source::Own, setting, why: config::SHARES_IDS });
    }
    found
}

fn is_virtual_machine(instance: &InstanceFull) -> bool {
    instance.instance_type == incus_api::InstanceType::VirtualMachine
}

fn is_true(config: &Config, key: &str) -> bool {
    config.get(key).is_some_and(|value| config::is_true(value))
}

/// Formats a device as its type and target.
fn described(device: &Config) -> String {
    let keys = [
        "type",
        "nictype",
        "source",
        "path",
        "listen",
        "connect",
        "bind",
        "nat",
        "vlan",
        "ipv4.routes",
        "ipv6.routes",
    ];
    let parts = keys.iter().filter_map(|key| Some(format!("{key}={}", shown(device.get(*key)?))));
    parts.collect::<Vec<_>>().join(",")
}

/// Formats user-provided text: truncated, without control characters.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).flat_map(char::escape_default).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
