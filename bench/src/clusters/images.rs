//! Images used by both sides of the benchmark.

use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

pub(super) const HAPROXY: &str = "capn/haproxy";
const KUBEADM: &str = "capn/kubeadm/";
const NODE: &str = "capn/node";
const PROPERTY_VERSION: &str = "capn.kubernetes-version";

/// Image of the nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeImage {
    pub(super) alias: String,
    /// Its Kubernetes version. Without one, the benchmark creates instances instead of nodes.
    pub(super) version: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Image {
    aliases: Vec<Alias>,
    properties: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Alias {
    name: String,
}

/// The image `asked`, otherwise the newest one with Kubernetes, otherwise the one without.
pub(super) fn of_nodes(asked: Option<&str>) -> anyhow::Result<NodeImage> {
    let output = Command::new("incus")
        .args(["image", "list", "--format", "json"])
        .output()
        .context("cannot run `incus`")?;
    ensure!(output.status.success(), "`incus image list` failed: is Incus running?");
    choose(&serde_json::from_slice::<Vec<Image>>(&output.stdout)?, asked)
}

fn choose(images: &[Image], asked: Option<&str>) -> anyhow::Result<NodeImage> {
    let mut named: Vec<(&str, &Image)> = images
        .iter()
        .flat_map(|image| image.aliases.iter().map(move |alias| (&*alias.name, image)))
        .collect();
    named.sort_by_key(|(alias, _)| *alias);
    ensure!(
        named.iter().any(|(alias, _)| *alias == HAPROXY),
        "no image {HAPROXY} on the local Incus: run `capn image build haproxy`"
    );
    let found = match asked {
        Some(asked) => named.iter().find(|(alias, _)| *alias == asked),
        None => named
            .iter()
            .rfind(|(alias, _)| alias.starts_with(KUBEADM))
            .or_else(|| named.iter().find(|(alias, _)| *alias == NODE)),
    };
    let (alias, image) = found.with_context(|| {
        let asked = asked.unwrap_or(NODE);
        format!("no image {asked} on the local Incus: run `capn image build`")
    })?;
    let version = image.properties.get(PROPERTY_VERSION).and_then(Value::as_str);
    Ok(NodeImage { alias: (*alias).to_owned(), version: version.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{NodeImage, choose};

    fn image(alias: &str, version: Option<&str>) -> Value {
        let properties =
            version.map_or_else(|| json!({}), |v| json!({ "capn.kubernetes-version": v }));
        json!({ "aliases": [{ "name": alias }], "properties": properties })
    }

    fn chosen(images: &[Value], asked: Option<&str>) -> Result<NodeImage, String> {
        choose(&serde_json::from_value::<Vec<_>>(images.into()).unwrap(), asked)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn kubernetes_images_come_before_plain_nodes() {
        let haproxy = image("capn/haproxy", None);
        let node = image("capn/node", None);
        let old = image("capn/kubeadm/v1.36.3", Some("v1.36.3"));
        let new = image("capn/kubeadm/v1.37.0", Some("v1.37.0"));
        let mine = image("mine", Some("v1.35.1"));
        let is = |alias: &str, version: Option<&str>| {
            Ok(NodeImage { alias: alias.to_owned(), version: version.map(str::to_owned) })
        };
        let all = [new, node.clone(), old, haproxy.clone(), mine];
        assert_eq!(chosen(&all, None), is("capn/kubeadm/v1.37.0", Some("v1.37.0")));
        assert_eq!(chosen(&all, Some("mine")), is("mine", Some("v1.35.1")));
        assert_eq!(chosen(&[node.clone(), haproxy.clone()], None), is("capn/node", None));
        assert!(chosen(&all, Some("other")).unwrap_err().contains("no image other"));
        assert!(chosen(&[haproxy], None).unwrap_err().contains("no image capn/node"));
        assert!(chosen(&[node], None).unwrap_err().contains("no image capn/haproxy"));
    }
}
