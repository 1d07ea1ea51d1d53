//! `metadata.yaml` of an image and its templates.
//!
//! The server renders the templates into the instance when it is created. They use only what both
//! Incus 6.0 and LXD 5.0 support.

use std::collections::BTreeMap;

use flate2::{Compression, GzBuilder};
use serde::Serialize;

#[derive(Serialize)]
struct Metadata<'a> {
    architecture: &'a str,
    creation_date: i64,
    properties: &'a BTreeMap<String, String>,
    templates: BTreeMap<&'static str, Template>,
}

#[derive(Serialize)]
struct Template {
    when: [&'static str; 2],
    template: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<&'static str, &'static str>,
}

/// Target, file name in `templates/`, text, and the default if the text uses one.
type Source = (&'static str, &'static str, &'static str, Option<&'static str>);

const EMPTY_CLOUD_CONFIG: &str = "#cloud-config\n{}\n";

const INSTANCE_TEMPLATES: &[Source] = &[
    ("/etc/hostname", "hostname.tpl", "{{ instance.name }}\n", None),
    (
        "/etc/hosts",
        "hosts.tpl",
        "127.0.0.1\tlocalhost\n\
         127.0.1.1\t{{ instance.name }}\n\
         \n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
        None,
    ),
];

/// `cloud-init.*` are the current keys, `user.*` the older ones that LXD users still set.
const CLOUD_INIT_TEMPLATES: &[Source] = &[
    (
        "/var/lib/cloud/seed/nocloud-net/meta-data",
        "cloud-init-meta.tpl",
        "instance-id: {{ instance.name }}\n\
         local-hostname: {{ instance.name }}\n\
         {{ config_get(\"user.meta-data\", \"\") }}\n",
        None,
    ),
    (
        "/var/lib/cloud/seed/nocloud-net/user-data",
        "cloud-init-user.tpl",
        "{{ config_get(\"cloud-init.user-data\", config_get(\"user.user-data\", properties.default)) }}\n",
        Some(EMPTY_CLOUD_CONFIG),
    ),
    (
        "/var/lib/cloud/seed/nocloud-net/vendor-data",
        "cloud-init-vendor.tpl",
        "{{ config_get(\"cloud-init.vendor-data\", config_get(\"user.vendor-data\", properties.default)) }}\n",
        Some(EMPTY_CLOUD_CONFIG),
    ),
];

/// Returns all template texts, for the hash of the recipe.
pub(crate) fn templates_text(cloud_init: bool) -> String {
    let more = if cloud_init { CLOUD_INIT_TEMPLATES } else { &[] };
    let all = INSTANCE_TEMPLATES.iter().chain(more);
    all.map(|(target, _, text, default)| format!("{target}\n{text}{default:?}\n")).collect()
}

/// Metadata of an image.
#[derive(Debug, Clone)]
pub(crate) struct ImageMetadata {
    /// Architecture as named by servers: `x86_64`, `aarch64`.
    pub(crate) architecture: &'static str,
    /// Creation time, in seconds since 1970.
    pub(crate) creation_date: i64,
    /// Image properties.
    pub(crate) properties: BTreeMap<String, String>,
    /// Whether the image has cloud-init.
    pub(crate) cloud_init: bool,
}

impl ImageMetadata {
    fn sources(&self) -> impl Iterator<Item = &'static Source> {
        let cloud_init = if self.cloud_init { CLOUD_INIT_TEMPLATES } else { &[] };
        INSTANCE_TEMPLATES.iter().chain(cloud_init)
    }

    /// Returns the text of `metadata.yaml`.
    fn yaml(&self) -> std::io::Result<String> {
        let templates = self
            .sources()
            .map(|(target, template, _, default)| {
                let properties = default.iter().map(|text| ("default", *text)).collect();
                (*target, Template { when: ["create", "copy"], template, properties })
            })
            .collect();
        // JSON is valid YAML, and needs no second serializer with other quoting rules.
        serde_json::to_string_pretty(&Metadata {
            architecture: self.architecture,
            creation_date: self.creation_date,
            properties: &self.properties,
            templates,
        })
        .map_err(std::io::Error::other)
    }

    /// Returns the metadata part of a split image: a compressed tar archive with reproducible
    /// bytes.
    ///
    /// # Errors
    ///
    /// None that a caller can cause; the writers are in memory.
    pub(crate) fn archive(&self) -> std::io::Result<Vec<u8>> {
        let gz = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        let mut tar = tar::Builder::new(gz);
        let mut add = |path: &str, text: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(self.creation_date.unsigned_abs());
            tar.append_data(&mut header, path, text.as_bytes())
        };
        add("metadata.yaml", &self.yaml()?)?;
        for (_, name, text, _) in self.sources() {
            add(&format!("templates/{name}"), text)?;
        }
        tar.into_inner()?.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn metadata(cloud_init: bool) -> ImageMetadata {
        ImageMetadata {
            architecture: "x86_64",
            creation_date: 1_700_000_000,
            properties: [("os".to_owned(), "debian".to_owned())].into(),
            cloud_init,
        }
    }

    fn unpack(archive: &[u8]) -> BTreeMap<String, String> {
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archive));
        tar.entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let path = entry.path().unwrap().display().to_string();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                (path, text)
            })
            .collect()
    }

    #[test]
    fn every_named_template_exists() {
        for cloud_init in [false, true] {
            let files = unpack(&metadata(cloud_init).archive().unwrap());
            let yaml: serde_json::Value = serde_json::from_str(&files["metadata.yaml"]).unwrap();
            let named = yaml["templates"].as_object().unwrap();
            assert_eq!(named.len(), if cloud_init { 5 } else { 2 });
            for template in named.values() {
                let name = template["template"].as_str().unwrap();
                assert!(files.contains_key(&format!("templates/{name}")), "{name}");
            }
            assert_eq!(yaml["properties"]["os"], "debian");
        }
    }

    #[test]
    fn the_same_metadata_gives_the_same_bytes() {
        assert_eq!(metadata(true).archive().unwrap(), metadata(true).archive().unwrap());
    }
}
