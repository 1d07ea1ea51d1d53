//! Whether an instance keeps the promise of its cluster's `isolation`. Pure.
//!
//! An instance is what its profiles, the defaults of capn and its own config and devices add up to.
//! In a cluster that is not `privileged` none of that may give root in the instance a way to the
//! host: what would is refused before the instance is made or started, and shown where it was changed
//! later. Keys and devices that are not known here are refused too, since a server learns new ones.
//! The table of docs/security.md is the table of the tests.

mod config;
mod devices;

use std::fmt::{self, Write as _};

use capn_api::Isolation;
use incus_api::{Config, Devices, InstanceFull, Profile};

/// Key of an instance: it has host ids that no other instance has.
const OWN_IDS: &str = "security.idmap.isolated";
/// Key by which a server says which ids an instance runs with; an empty list without a map.
const CURRENT_IDS: &str = "volatile.idmap.current";
/// Breaches that a message lists.
const LISTED: usize = 8;
/// Characters of a value that a message shows.
const SHOWN: usize = 60;

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A profile of the server.
    Profile(String),
    /// The manifest, or the instance itself.
    Own,
}

/// One thing that breaks the promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Where it comes from.
    pub source: Source,
    /// The setting, as the user would write it.
    pub setting: String,
    /// What it does, as the end of a sentence that begins with the setting.
    pub why: &'static str,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.why)?;
        match &self.source {
            Source::Profile(name) => write!(f, " (profile {})", shown(name)),
            Source::Own => Ok(()),
        }
    }
}

/// Config and devices from one place.
#[derive(Clone, Copy, Debug)]
struct Layer<'a> {
    profile: Option<&'a str>,
    config: &'a Config,
    devices: &'a Devices,
}

/// What breaks the promise in an instance that would be made of these profiles, in their order, and of
/// this config and these devices. A virtual machine has a kernel and ids of its own.
pub fn breaches_of_launch(
    isolation: Isolation,
    is_virtual_machine: bool,
    profiles: &[Profile],
    config: &Config,
    devices: &Devices,
) -> Vec<Breach> {
    let mut layers: Vec<Layer<'_>> = profiles
        .iter()
        .map(|profile| Layer {
            profile: Some(&profile.name),
            config: &profile.config,
            devices: &profile.devices,
        })
        .collect();
    layers.push(Layer { profile: None, config, devices });
    breaches(isolation, is_virtual_machine, &layers)
}

/// What breaks the promise in an instance of the server, as it would be started now.
pub fn breaches_of_instance(isolation: Isolation, instance: &InstanceFull) -> Vec<Breach> {
    // Its record is the server's.
    let is_set = |(key, _): &(&String, &String)| !key.starts_with("volatile.");
    let set = instance.expanded_config.iter().filter(is_set);
    let config = set.map(|(key, value)| (key.clone(), value.clone())).collect();
    let layer = Layer { profile: None, config: &config, devices: &instance.expanded_devices };
    breaches(isolation, is_virtual_machine(instance), &[layer])
}

/// The isolation that an instance has, whatever was asked for. `None` for a virtual machine, which
/// shares no kernel with the host.
pub fn of_instance(instance: &InstanceFull) -> Option<Isolation> {
    if is_virtual_machine(instance) {
        return None;
    }
    let config = &instance.expanded_config;
    // A changed key counts from the next start; this is what the instance runs with.
    let runs_without_map =
        instance.is_running() && instance.config.get(CURRENT_IDS).is_some_and(|map| map == "[]");
    let is_open = !breaches_of_instance(Isolation::Shared, instance).is_empty();
    Some(match is_true(config, OWN_IDS) {
        _ if runs_without_map || is_open => Isolation::Privileged,
        true => Isolation::Isolated,
        false => Isolation::Shared,
    })
}

/// What to tell of breaches: all of them, or the first few and how many more there are.
pub fn message(isolation: Isolation, breaches: &[Breach]) -> String {
    let mut text = format!("the cluster's isolation is {isolation}, which does not allow: ");
    for (place, breach) in breaches.iter().take(LISTED).enumerate() {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{}{breach}", if place > 0 { "; " } else { "" });
    }
    if breaches.len() > LISTED {
        let _infallible = write!(text, "; and {} more", breaches.len() - LISTED);
    }
    text.push_str(
        ". Remove it, or set spec.isolation of the LXCCluster to what the nodes are (docs/security.md has the table)",
    );
    text
}

fn breaches(isolation: Isolation, is_virtual_machine: bool, layers: &[Layer<'_>]) -> Vec<Breach> {
    if isolation == Isolation::Privileged {
        return Vec::new();
    }
    let mut found = Vec::new();
    let source = |profile: Option<&str>| match profile {
        Some(name) => Source::Profile(name.to_owned()),
        None => Source::Own,
    };
    // The last layer that has a key or a device decides.
    for (place, layer) in layers.iter().enumerate() {
        let later = layers.get(place + 1..).unwrap_or_default();
        for (key, value) in layer.config {
            if later.iter().any(|later| later.config.contains_key(key)) {
                continue;
            }
            if let Some(why) = config::breach(isolation, is_virtual_machine, key, value) {
                let setting = format!("config {}={}", shown(key), shown(value));
                found.push(Breach { source: source(layer.profile), setting, why });
            }
        }
        for (name, device) in layer.devices {
            if later.iter().any(|later| later.devices.contains_key(name)) {
                continue;
            }
            if let Some(why) = devices::breach(isolation, device) {
                let setting = format!("device {} ({})", shown(name), described(device));
                found.push(Breach { source: source(layer.profile), setting, why });
            }
        }
    }
    let has_own_ids = layers.iter().rev().find_map(|layer| layer.config.get(OWN_IDS));
    if isolation == Isolation::Isolated && !is_virtual_machine && has_own_ids.is_none() {
        let setting = format!("config without {OWN_IDS}=true");
        found.push(Breach { source: Source::Own, setting, why: config::SHARES_IDS });
    }
    found
}

fn is_virtual_machine(instance: &InstanceFull) -> bool {
    instance.instance_type == incus_api::InstanceType::VirtualMachine
}

fn is_true(config: &Config, key: &str) -> bool {
    config.get(key).is_some_and(|value| config::is_true(value))
}

/// A device as its type and where it leads, which is what matters.
fn described(device: &Config) -> String {
    let keys = ["type", "nictype", "source", "path", "listen", "connect", "bind"];
    let parts = keys.iter().filter_map(|key| Some(format!("{key}={}", shown(device.get(*key)?))));
    parts.collect::<Vec<_>>().join(",")
}

/// A text of somebody else's, short and without control characters.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).flat_map(char::escape_default).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
