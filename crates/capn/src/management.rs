//! Access to a management cluster.

use camino::{Utf8Path, Utf8PathBuf};
use http::{HeaderName, HeaderValue};
use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};

use crate::environment::Environment;
use crate::error::{CommandError, Doing as _};

/// Returns a client configuration for the management cluster. Sources, in this order: the given
/// file, the service account of this process's pod, `KUBECONFIG`, `~/.kube/config`.
///
/// Impersonation settings in the kubeconfig (`as`, `as-groups`) are honoured, as in kubectl.
///
/// # Errors
///
/// Returns an error if no source exists or the source cannot be read.
pub async fn config(
    environment: &Environment,
    file: Option<&Utf8Path>,
    context: Option<&str>,
) -> Result<Config, CommandError> {
    if file.is_none() && environment.is_in_pod() {
        return Config::incluster().doing("cannot use the service account of this pod");
    }
    match file {
        Some(file) => from_file(file, context).await,
        None => from_files(&environment.kubeconfigs(), context).await,
    }
}

/// Like [`config`], from one file.
///
/// # Errors
///
/// Returns an error if it cannot be read or does not have the context.
pub async fn from_file(file: &Utf8Path, context: Option<&str>) -> Result<Config, CommandError> {
    from_files(&[file.to_owned()], context).await
}

async fn from_files(files: &[Utf8PathBuf], context: Option<&str>) -> Result<Config, CommandError> {
    let kubeconfig = read(files)?;
    let options =
        KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let names = files.iter().map(|file| file.as_str()).collect::<Vec<_>>().join(", ");
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .doing(format!("cannot use the kubeconfig {names}"))?;
    config.headers.extend(acting_as(&config.auth_info)?);
    Ok(config)
}

/// As with kubectl, the first file that sets a value wins.
fn read(files: &[Utf8PathBuf]) -> Result<Kubeconfig, CommandError> {
    let mut merged: Option<Kubeconfig> = None;
    for file in files.iter().filter(|file| file.exists() || files.len() == 1) {
        let next = Kubeconfig::read_from(file)
            .map_err(|error| CommandError::caused(format!("cannot read {file}"), error))
            .map_err(|error| {
                error.hint("set the kubeconfig of a management cluster: `--kubeconfig FILE`")
            })?;
        merged = Some(match merged {
            None => next,
            Some(first) => first.merge(next).doing(format!("cannot merge {file}"))?,
        });
    }
    merged.ok_or_else(|| {
        CommandError::new("no management cluster is configured")
            .hint("set its kubeconfig: `--kubeconfig FILE` or KUBECONFIG")
            .hint("without a management cluster, use `capn up` or `capn serve`")
    })
}

/// Returns the impersonation fields, which the client library parses but does not apply.
fn acting_as(auth: &AuthInfo) -> Result<Vec<(HeaderName, HeaderValue)>, CommandError> {
    let users = auth.impersonate.iter().map(|user| ("impersonate-user", user));
    let groups = auth.impersonate_groups.iter().flatten().map(|group| ("impersonate-group", group));
    users
        .chain(groups)
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value)
                .doing(format!("the kubeconfig requests invalid impersonation `{value}`"))?;
            Ok((HeaderName::from_static(name), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_may_request_impersonation() {
        let auth = AuthInfo {
            impersonate: Some("system:serviceaccount:capn-system:capn-manager".to_owned()),
            impersonate_groups: Some(vec!["a".to_owned(), "b".to_owned()]),
            ..AuthInfo::default()
        };
        let headers = acting_as(&auth).unwrap();
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["impersonate-user", "impersonate-group", "impersonate-group"]);
        assert!(acting_as(&AuthInfo::default()).unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_has_a_hint() {
        let environment = Environment::with([("HOME", "/nonexistent")]);
        let refused = config(&environment, None, None).await.unwrap_err();
        assert!(refused.hint_texts().iter().any(|hint| hint.contains("--kubeconfig")), "{refused}");
        let file = Utf8Path::new("/nonexistent/file");
        let refused = config(&Environment::default(), Some(file), None).await.unwrap_err();
        assert!(refused.to_string().contains("/nonexistent/file"), "{refused}");
    }
}
