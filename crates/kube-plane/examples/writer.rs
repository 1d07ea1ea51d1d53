//! Writes forever and prints acknowledged writes; the durability test kills it.
//!
//! Prints `name revision` after each acknowledged write.

use std::{io::Write, path::PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use kube_plane::{Plane, PlaneOptions};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).map(PathBuf::from).ok_or("usage: writer FILE")?;
    let options = PlaneOptions { path: Some(path), ..PlaneOptions::default() };
    let plane = Plane::open(options).await?;
    let api: Api<ConfigMap> = Api::default_namespaced(plane.client());
    let mut output = std::io::stdout().lock();
    for n in 0u64.. {
        let map: ConfigMap = serde_json::from_value(json!({"metadata": {"generateName": "m-"}}))?;
        let name = api.create(&PostParams::default(), &map).await?.name_any();
        let patch = Patch::Merge(json!({"data": {"n": n.to_string()}}));
        let written = api.patch(&name, &PatchParams::default(), &patch).await?;
        let revision = written.resource_version().unwrap_or_default();
        writeln!(output, "{name} {revision}")?;
        output.flush()?;
    }
    Ok(())
}
