//! Reconcile errors.

use capn_api::conditions::reasons;
use capn_controller::guard::Panicked;
use capn_plan::diagnosis::{self, Class};
use capn_text::display;
use jiff::Timestamp;
use kube::Resource;

use crate::remote::{IdentityError, RENEW_CLIENT};

/// Reconcile error of one object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A request to the Kubernetes API failed.
    #[error("{act} {object}")]
    Kube {
        /// The operation: `get`, `change` …
        act: &'static str,
        /// Kind, namespace and name.
        object: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// The identity is invalid.
    #[error("use the identity in Secret {secret}")]
    Identity {
        /// Namespace and name.
        secret: String,
        #[source]
        source: IdentityError,
    },
    /// The server is unreachable or rejects the connection.
    #[error("reach the server that Secret {secret} names")]
    Reach {
        /// Namespace and name.
        secret: String,
        #[source]
        source: Box<incus_client::Error>,
    },
    /// The server does not know the client certificate.
    #[error("the server {endpoint} does not trust the certificate in Secret {secret}")]
    Untrusted {
        /// Namespace and name.
        secret: String,
        /// Socket path or URL.
        endpoint: String,
    },
    /// The client certificate has expired, so the server does not accept it.
    #[error("the client certificate in Secret {secret} expired at {ended}")]
    Expired {
        /// Namespace and name.
        secret: String,
        /// When it expired.
        ended: Timestamp,
    },
    /// An operation on an instance failed on the server.
    #[error("{act} instance {instance}")]
    Server {
        /// The operation: `create`, `start` …
        act: &'static str,
        /// Name of the instance.
        instance: String,
        /// Relevant lines of the instance's log, if the log was read.
        log: Vec<String>,
        #[source]
        source: Box<incus_client::Error>,
    },
    /// An operation on a network or one of its objects failed on the server.
    #[error("{act} {what}")]
    Network {
        /// The operation: `create`, `check` …
        act: &'static str,
        /// The object of the operation.
        what: String,
        #[source]
        source: Box<incus_client::Error>,
    },
    /// A command in an instance failed.
    #[error("{act} instance {instance}: the command exited with code {exit_code}: {output}")]
    Command {
        /// The operation: `configure` …
        act: &'static str,
        /// Name of the instance.
        instance: String,
        /// Exit code.
        exit_code: i32,
        /// The end of its output.
        output: String,
    },
    /// The bootstrap data cannot be read yet.
    #[error("the bootstrap data Secret {secret} {problem}")]
    Bootstrap {
        /// Namespace and name.
        secret: String,
        /// The problem.
        problem: &'static str,
    },
    /// The kubeconfig of the workload cluster is unusable.
    #[error("the kubeconfig in Secret {secret} cannot be used: {problem}")]
    Kubeconfig {
        /// Namespace and name.
        secret: String,
        /// The problem.
        problem: String,
    },
    /// The LXCCluster that names the server is missing.
    #[error("the LXCCluster that names the server of the instance does not exist")]
    NoCluster,
    /// All addresses that the load balancer may use are in use.
    #[error("{message}")]
    NoAddress {
        /// A message with the number of addresses.
        message: String,
    },
    /// The server has not finished an operation.
    #[error("{message}")]
    Unfinished {
        /// Description of the operation.
        message: String,
    },
    /// The spec is invalid.
    #[error("{message}")]
    Invalid {
        /// The problem and what to do.
        message: String,
    },
    /// The reconcile panicked.
    #[error(transparent)]
    Defect(#[from] Panicked),
    /// The process is shutting down.
    #[error("interrupted by the shutdown of the process")]
    Stopping,
}

impl Failure {
    /// Creates the failure of a command that exited with an error.
    pub(crate) fn command(
        act: &'static str,
        instance: &str,
        output: &incus_client::ExecOutput,
    ) -> Self {
        Self::Command {
            act,
            instance: instance.to_owned(),
            exit_code: output.exit_code,
            output: output.last_lines(3),
        }
    }

    /// Wraps an error of the Kubernetes API: `map_err(Failure::kube("change", &machine))`.
    pub(crate) fn kube<K: Resource<DynamicType = ()>>(
        act: &'static str,
        object: &K,
    ) -> impl FnOnce(kube::Error) -> Self {
        let meta = object.meta();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let name = meta.name.as_deref().unwrap_or_default();
        Self::kube_named(act, &K::kind(&()), namespace, name)
    }

    /// Wraps an error of the Kubernetes API about an object that is known only by name.
    pub(crate) fn kube_named(
        act: &'static str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> impl FnOnce(kube::Error) -> Self + use<> {
        let object = format!("{kind} {namespace}/{name}");
        move |source| Self::Kube { act, object, source: Box::new(source) }
    }

    /// Wraps an error of the server about an instance.
    pub(crate) fn server(
        act: &'static str,
        instance: &str,
    ) -> impl FnOnce(incus_client::Error) -> Self + use<> {
        let instance = instance.to_owned();
        move |source| Self::Server { act, instance, log: Vec::new(), source: Box::new(source) }
    }

    /// Wraps an error of the server about a network.
    pub(crate) fn network(
        act: &'static str,
        what: impl Into<String>,
    ) -> impl FnOnce(incus_client::Error) -> Self {
        let what = what.into();
        move |source| Self::Network { act, what, source: Box::new(source) }
    }

    /// Returns whether the object changed since it was read.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube { source, .. }
            if matches!(source.as_ref(), kube::Error::Api(status) if status.code == 409))
    }

    /// Returns the failure that decides when the object is reconciled again, after an attempt to write this one
    /// to its status. If that did not succeed, its own error does: a final failure would otherwise show the
    /// status of before until the next resync.
    pub(crate) fn after_report(self, reported: Result<(), Self>) -> Self {
        match reported {
            Ok(()) => self,
            Err(error) if error.is_kube_not_found() => self,
            Err(error) => {
                tracing::debug!(
                    error = error.message(),
                    failure = self.message(),
                    "cannot report a failure"
                );
                error
            }
        }
    }

    /// Returns whether the server did not respond, which says nothing about its instances.
    pub(crate) fn is_server_away(&self) -> bool {
        match self {
            Self::Reach { .. } => true,
            Self::Server { source, .. } | Self::Network { source, .. } => source.is_connection(),
            _ => false,
        }
    }

    /// Returns whether the Kubernetes object no longer exists.
    pub(crate) fn is_kube_not_found(&self) -> bool {
        matches!(self, Self::Kube { source, .. }
            if matches!(source.as_ref(), kube::Error::Api(status) if status.code == 404))
    }

    /// Returns whether and when retrying can help.
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Kube { .. }
            | Self::Command { .. }
            | Self::Bootstrap { .. }
            | Self::NoCluster
            | Self::Unfinished { .. }
            | Self::Defect(_)
            | Self::Stopping => Class::Passing,
            Self::Reach { source, .. } if source.is_forbidden() => Class::Blocked,
            Self::Reach { .. } => Class::Passing,
            Self::Identity { .. }
            | Self::Untrusted { .. }
            | Self::Expired { .. }
            | Self::Kubeconfig { .. }
            | Self::NoAddress { .. } => Class::Blocked,
            Self::Server { .. } | Self::Network { .. } => self.diagnosis().class,
            Self::Invalid { .. } => Class::Final,
        }
    }

    /// Returns the reason of the condition. `passing` and `aborted` are the kind's own reasons for
    /// operations on instances.
    pub(crate) fn reason(&self, passing: &'static str, aborted: &'static str) -> &'static str {
        match self {
            Self::Identity { .. } | Self::Untrusted { .. } | Self::Expired { .. } => {
                reasons::IDENTITY_UNAVAILABLE
            }
            _ if self.is_server_away() => reasons::SERVER_UNAVAILABLE,
            _ if self.class() == Class::Final => aborted,
            _ => passing,
        }
    }

    /// Returns the message of the condition: the operation, the cause, and what to do. The same
    /// failure yields the same text, so that reporting it again changes nothing. Quotes of servers
    /// and instances are sanitized and truncated.
    pub(crate) fn message(&self) -> String {
        display::text(&self.whole_message(), display::SERVER_TEXT).into_owned()
    }

    fn whole_message(&self) -> String {
        let cause = match self {
            Self::Server { log, source, .. } => {
                let mut cause = stable(source);
                for line in log {
                    cause.push_str("; ");
                    cause.push_str(line);
                }
                Some(cause)
            }
            Self::Reach { source, .. } | Self::Network { source, .. } => Some(stable(source)),
            Self::Kube { source, .. } => Some(chain(source.as_ref())),
            Self::Identity { source, .. } => Some(chain(source)),
            Self::Untrusted { .. }
            | Self::Expired { .. }
            | Self::Command { .. }
            | Self::Bootstrap { .. }
            | Self::Kubeconfig { .. }
            | Self::NoCluster
            | Self::Unfinished { .. }
            | Self::NoAddress { .. }
            | Self::Invalid { .. }
            | Self::Defect(_)
            | Self::Stopping => None,
        };
        let mut text = self.to_string();
        if let Some(cause) = cause {
            text = format!("{text}: {cause}");
        }
        if let Some(hint) = self.hint() {
            text = format!("{text}; {hint}");
        }
        text
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Identity { source, .. } => Some(source.hint()),
            Self::Untrusted { .. } => Some(
                "add it to the server's trust store (`incus config trust add-certificate`), or put another certificate into the Secret",
            ),
            Self::Expired { .. } => Some(RENEW_CLIENT),
            Self::Reach { source, .. } => source.hint(),
            Self::NoAddress { .. } => {
                Some("add ranges to spec.loadBalancer, or delete clusters that use their addresses")
            }
            Self::Server { source, .. } | Self::Network { source, .. } => {
                self.diagnosis().hint.or_else(|| source.hint())
            }
            Self::Kube { .. }
            | Self::Command { .. }
            | Self::Bootstrap { .. }
            | Self::Kubeconfig { .. }
            | Self::NoCluster
            | Self::Unfinished { .. }
            | Self::Invalid { .. }
            | Self::Defect(_)
            | Self::Stopping => None,
        }
    }

    fn diagnosis(&self) -> diagnosis::Diagnosis {
        let (log, source) = match self {
            Self::Server { log, source, .. } => (log.as_slice(), source),
            Self::Network { source, .. } => (&[][..], source),
            _ => return diagnosis::diagnose(""),
        };
        if source.is_forbidden() {
            return diagnosis::Diagnosis { class: Class::Blocked, hint: None };
        }
        // A server that is only overloaded also returns texts that name the failed operation.
        if source.is_transient() {
            return diagnosis::diagnose("");
        }
        let mut text = source.server_text().unwrap_or_default().to_owned();
        for line in log {
            text.push('\n');
            text.push_str(line);
        }
        diagnosis::diagnose(&text)
    }
}

/// Formats the error of a server without the parts that differ between attempts.
fn stable(error: &incus_client::Error) -> String {
    match error {
        incus_client::Error::OperationLost { description, .. } => {
            format!("the server no longer knows the result of {description:?}")
        }
        incus_client::Error::OperationDeadline { description, after, .. } => {
            format!("{description:?} did not finish within {} s", after.as_secs())
        }
        other => match other.server_text() {
            Some(text) => text.trim().to_owned(),
            None => chain(other),
        },
    }
}

/// Formats an error with all its sources, for logs and conditions. At most 4 KiB.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    capn_controller::chain::text(error)
}
