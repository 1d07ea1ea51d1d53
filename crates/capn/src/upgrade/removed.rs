//! APIs that clients of the cluster use and that the next versions of Kubernetes do not have.
//!
//! An API server counts the requests to deprecated APIs since its start and says in which release each
//! API goes, in the metric `apiserver_requested_deprecated_apis`
//! (kubernetes.io/docs/reference/using-api/deprecation-policy). Behind a load balancer one of the API servers answers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use capn_controller::workload::METRICS;
use capn_text::shown;
use futures::AsyncBufReadExt as _;
use futures::TryStreamExt as _;
use http::Request;
use kube::Client;

use crate::error::{CommandError, Doing as _};

/// The option that leaves the check out.
pub(super) const FLAG: &str = "--allow-removed-apis";
const METRIC: &str = "apiserver_requested_deprecated_apis";
/// How many are read at most; each is named when an upgrade is refused.
const MOST: usize = 100;
/// Longest part of a name that is shown.
const LONGEST: usize = 100;
/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An API that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemovedApi {
    /// Minor version of Kubernetes 1 that does not have it any more.
    pub minor: u32,
    /// Its group; empty for the core group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its resource, in the plural.
    pub resource: String,
}

impl fmt::Display for RemovedApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        write!(f, " {} (removed in 1.{})", self.version, self.minor)
    }
}

/// Asks an API server of the cluster which deprecated APIs were used since it started.
///
/// # Errors
///
/// When it does not answer, or its metrics may not be read.
pub(super) async fn read(client: &Client) -> Result<Vec<RemovedApi>, CommandError> {
    let doing = "cannot ask the API server which deprecated APIs are used";
    let request = Request::get(METRICS).body(Vec::new()).doing(doing)?;
    let lines = async {
        let mut lines = client.request_stream(request).await.doing(doing)?.lines();
        let mut found = Vec::new();
        while let Some(line) = lines.try_next().await.doing(doing)? {
            if found.len() < MOST {
                found.extend(parse(&line));
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    };
    tokio::time::timeout(PATIENCE, lines).await.doing(doing)?
}

/// A line of the metric; `None` for any other, and for APIs of which no release is known that removes them.
fn parse(line: &str) -> Option<RemovedApi> {
    let labels = line.strip_prefix(METRIC)?.strip_prefix('{')?.rsplit_once('}')?.0;
    // No label of this metric has a comma, a quote or a backslash in a value of Kubernetes'.
    let labels: BTreeMap<&str, &str> = labels
        .split(',')
        .filter_map(|label| label.split_once('='))
        .filter_map(|(key, value)| Some((key, value.strip_prefix('"')?.strip_suffix('"')?)))
        .collect();
    let release = labels.get("removed_release")?;
    let minor = release.strip_prefix("1.")?.parse().ok()?;
    let text = |key| {
        let value = labels.get(key).copied().unwrap_or_default();
        shown::line(value, LONGEST).into_owned()
    };
    let (group, version, resource) = (text("group"), text("version"), text("resource"));
    Some(RemovedApi { minor, group, version, resource })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_metric_are_understood() {
        let of = |labels: &str| parse(&format!("{METRIC}{{{labels}}} 1"));
        for (line, wanted) in [
            (
                r#"group="flowcontrol.apiserver.k8s.io",removed_release="1.32",resource="flowschemas",subresource="",version="v1beta3""#,
                Some("flowschemas.flowcontrol.apiserver.k8s.io v1beta3 (removed in 1.32)"),
            ),
            (
                r#"group="",removed_release="1.40",resource="things",subresource="status",version="v1""#,
                Some("things v1 (removed in 1.40)"),
            ),
            // Deprecated, and there to stay.
            (
                r#"group="",removed_release="",resource="endpoints",subresource="",version="v1""#,
                None,
            ),
            (r#"group="",removed_release="2.0",resource="a",version="v1""#, None),
            (r#"removed_release=1.40"#, None),
            ("", None),
        ] {
            assert_eq!(of(line).map(|found| found.to_string()).as_deref(), wanted, "{line}");
        }
        for line in [
            "",
            "# TYPE apiserver_requested_deprecated_apis gauge",
            "apiserver_requested_deprecated_apis 1",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
