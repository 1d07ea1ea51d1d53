//! `capn kubeconfig`

use camino::Utf8Path;
use clap::Args;
use serde_json::{Map, Value};

use super::NamespaceArg;
use crate::Context;
use crate::cluster;
use crate::error::{CommandError, Doing as _};
use crate::session::{Need, Session};
use crate::state::{StateDir, write_private};

/// Options of `kubeconfig`.
#[derive(Clone, Debug, Args)]
pub struct KubeconfigArgs {
    /// Name of the cluster
    pub name: String,
    /// Where it is.
    #[command(flatten)]
    pub namespace: NamespaceArg,
    /// Merge it into the first file of KUBECONFIG, or ~/.kube/config, and make it current
    #[arg(long)]
    pub merge: bool,
}

pub(super) async fn run(context: &Context, args: KubeconfigArgs) -> Result<(), CommandError> {
    let KubeconfigArgs { name, namespace, merge: is_merge } = args;
    let state = StateDir::of(context)?;
    let session = Session::open(&state, Need::Objects).await?;
    let text = read(&session, &namespace.namespace, &name).await;
    session.close().await?;
    let text = text?;
    if !is_merge {
        return context.ui.data(&text);
    }
    let path = context.environment.kubeconfig().ok_or_else(|| {
        CommandError::new(
            "there is no kubeconfig to merge into: neither KUBECONFIG nor HOME is set",
        )
    })?;
    let current = merge_into(&path, &text)?;
    context.ui.say(format!("merged into {path}; the current context is `{current}`"));
    Ok(())
}

async fn read(session: &Session, namespace: &str, name: &str) -> Result<String, CommandError> {
    cluster::existing(session.client(), namespace, name).await?;
    cluster::kubeconfig(session.client(), namespace, name).await
}

/// Merges a kubeconfig into a file and gives the context that is current now. The file as it was
/// is kept beside it.
fn merge_into(path: &Utf8Path, text: &str) -> Result<String, CommandError> {
    let before = match std::fs::read_to_string(path) {
        Ok(before) => Some(before),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).doing(format!("cannot read {path}")),
    };
    let into = match before.as_deref().map(str::trim) {
        None | Some("") => Value::Object(Map::new()),
        Some(before) => {
            serde_saphyr::from_str(before).doing(format!("cannot understand {path}"))?
        }
    };
    let from: Value =
        serde_saphyr::from_str(text).doing("cannot understand the cluster's kubeconfig")?;
    let merged = merge(into, &from);
    let current = merged["current-context"].as_str().unwrap_or_default().to_owned();
    if let Some(before) = &before {
        write_private(Utf8Path::new(&format!("{path}.before-capn")), before)?;
    }
    write_private(path, &crate::manifest::value_to_yaml(&merged)?)?;
    Ok(current)
}

/// Entries of `from` take the place of entries with the same name; all others stay.
fn merge(into: Value, from: &Value) -> Value {
    let mut into = match into {
        Value::Object(into) => into,
        _ => Map::new(),
    };
    into.entry("apiVersion").or_insert_with(|| "v1".into());
    into.entry("kind").or_insert_with(|| "Config".into());
    for list in ["clusters", "contexts", "users"] {
        let new = from[list].as_array().cloned().unwrap_or_default();
        let old = into.remove(list).and_then(|old| old.as_array().cloned()).unwrap_or_default();
        let is_new = |entry: &Value| new.iter().any(|other| other["name"] == entry["name"]);
        let mut merged: Vec<Value> = old.into_iter().filter(|entry| !is_new(entry)).collect();
        merged.extend(new.iter().cloned());
        into.insert(list.to_owned(), Value::Array(merged));
    }
    into.insert("current-context".to_owned(), from["current-context"].clone());
    Value::Object(into)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "apiVersion: v1\nkind: Config\nclusters: [{name: demo, cluster: {server: b}}]\n\
        users: [{name: demo-admin, user: {}}]\n\
        contexts: [{name: demo-admin@demo, context: {cluster: demo}}]\ncurrent-context: demo-admin@demo\n";

    #[test]
    fn entries_of_other_clusters_stay_and_the_same_cluster_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("config");
        let before = "apiVersion: v1\nkind: Config\npreferences: {colors: true}\nclusters:\n\
                      - {name: other, cluster: {server: x}}\n- {name: demo, cluster: {server: a}}\n\
                      current-context: other\n";
        std::fs::write(&path, before).unwrap();
        assert_eq!(merge_into(&path, NEW).unwrap(), "demo-admin@demo");
        let merged: Value =
            serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(merged["preferences"]["colors"], true);
        let servers: Vec<&str> = merged["clusters"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|cluster| cluster["cluster"]["server"].as_str())
            .collect();
        assert_eq!(servers, ["x", "b"]);
        let kept = std::fs::read_to_string(format!("{path}.before-capn")).unwrap();
        assert_eq!(kept, before);
    }

    #[test]
    fn a_missing_file_is_made_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join(".kube/config");
        merge_into(&path, NEW).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_file_that_is_not_yaml_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("config");
        std::fs::write(&path, "a: [").unwrap();
        assert!(merge_into(&path, NEW).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a: [");
    }
}
