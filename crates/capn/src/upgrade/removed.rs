//! APIs that clients use and that later Kubernetes versions remove.
//!
//! An API server counts requests to deprecated APIs since its start and reports in which release
//! they are removed, in the metric `apiserver_requested_deprecated_apis`
//! (kubernetes.io/docs/reference/using-api/deprecation-policy). Behind a load balancer, one of the
//! API servers responds.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use capn_controller::workload::METRICS;
use capn_text::display;
use futures::AsyncBufReadExt as _;
use futures::TryStreamExt as _;
use http::Request;
use kube::Client;

use crate::error::{CommandError, Doing as _};

/// The option that skips the check.
pub(super) const FLAG: &str = "--allow-removed-apis";
const METRIC: &str = "apiserver_requested_deprecated_apis";
/// Maximum number of APIs; each is listed when an upgrade is refused.
const MOST: usize = 100;
/// Maximum length of a name's part in output.
const LONGEST: usize = 100;
/// Time limit of the request.
const PATIENCE: Duration = Duration::from_secs(30);

/// A used API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemovedApi {
    /// Minor version of Kubernetes 1 that removes it.
    pub minor: u32,
    /// Its group; empty for the core group.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its resource, plural.
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

/// Reads which deprecated APIs were used since the API server's start.
///
/// # Errors
///
/// Returns an error if it does not respond or its metrics cannot be read.
pub(super) async fn read(client: &Client) -> Result<Vec<RemovedApi>, CommandError> {
    let doing = "cannot read the used deprecated APIs from the API server";
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

/// Parses a line of the metric; `None` for other lines, and for APIs without a planned removal.
fn parse(line: &str) -> Option<RemovedApi> {
    let labels = line.strip_prefix(METRIC)?.strip_prefix('{')?.rsplit_once('}')?.0;
    // Kubernetes' values of these labels contain no comma, quote or backslash.
    let labels: BTreeMap<&str, &str> = labels
        .split(',')
        .filter_map(|label| label.split_once('='))
        .filter_map(|(key, value)| Some((key, value.strip_prefix('"')?.strip_suffix('"')?)))
        .collect();
    let release = labels.get("removed_release")?;
    let minor = release.strip_prefix("1.")?.parse().ok()?;
    let text = |key| {
        let value = labels.get(key).copied().unwrap_or_default();
        display::line(value, LONGEST).into_owned()
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
            // Deprecated, but not planned for removal.
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
