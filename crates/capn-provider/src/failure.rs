//! Why a reconcile of one object did not get to its end.

use capn_api::conditions::reasons;
use capn_controller::guard::Panicked;
use capn_plan::diagnosis::{self, Class};
use capn_text::shown;
use jiff::Timestamp;
use kube::Resource;

use crate::remote::{IdentityError, RENEW_CLIENT};

/// Why a reconcile of one object did not get to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The Kubernetes API refused or did not answer.
    #[error("{act} {object}")]
    Kube {
        /// What was tried: `get`, `change` …
        act: &'static str,
        /// Kind, namespace and name.
        object: String,
        #[source]
        source: Box<kube::Error>,
    },
    /// The identity cannot be used.
    #[error("use the identity in Secret {secret}")]
    Identity {
        /// Namespace and name.
        secret: String,
        #[source]
        source: IdentityError,
    },
    /// The server could not be reached, or does not trust us.
    #[error("reach the server that Secret {secret} names")]
    Reach {
        /// Namespace and name.
        secret: String,
        #[source]
        source: Box<incus_client::Error>,
    },
    /// The server does not know our certificate.
    #[error("the server {endpoint} does not trust the certificate in Secret {secret}")]
    Untrusted {
        /// Namespace and name.
        secret: String,
        /// Socket path or URL.
        endpoint: String,
    },
    /// Our certificate has ended, so that the server does not know us.
    #[error("the client certificate in Secret {secret} ended at {ended}, and no server trusts it")]
    Expired {
        /// Namespace and name.
        secret: String,
        /// When it ended.
        ended: Timestamp,
    },
    /// The server refused or failed an act on an instance.
    #[error("{act} instance {instance}")]
    Server {
        /// What was tried: `create`, `start` …
        act: &'static str,
        /// Name of the instance.
        instance: String,
        /// What the instance's log says, where that was asked for.
        log: Vec<String>,
        #[source]
        source: Box<incus_client::Error>,
    },
    /// The server refused or failed an act on a network or what is in it.
    #[error("{act} {what}")]
    Network {
        /// What was tried: `create`, `look for` …
        act: &'static str,
        /// On what.
        what: String,
        #[source]
        source: Box<incus_client::Error>,
    },
    /// A command in an instance failed.
    #[error("{act} instance {instance}: the command ended with {exit_code}: {output}")]
    Command {
        /// What was tried: `configure` …
        act: &'static str,
        /// Name of the instance.
        instance: String,
        /// Exit code.
        exit_code: i32,
        /// The last of what it printed.
        output: String,
    },
    /// The bootstrap data cannot be read yet.
    #[error("the bootstrap data Secret {secret} {problem}")]
    Bootstrap {
        /// Namespace and name.
        secret: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The workload cluster's kubeconfig cannot be used.
    #[error("the kubeconfig in Secret {secret} cannot be used: {problem}")]
    Kubeconfig {
        /// Namespace and name.
        secret: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The LXCCluster that names the server is missing.
    #[error("the LXCCluster that says which server the instance is on does not exist")]
    NoCluster,
    /// All addresses that the load balancer may take are taken.
    #[error("{message}")]
    NoAddress {
        /// How many there are.
        message: String,
    },
    /// The server has not ended what it was asked for.
    #[error("{message}")]
    Unfinished {
        /// What that is.
        message: String,
    },
    /// The object asks for what cannot be.
    #[error("{message}")]
    Invalid {
        /// What is wrong, and what to do.
        message: String,
    },
    /// The reconcile met a defect of capn.
    #[error(transparent)]
    Defect(#[from] Panicked),
    /// The process is about to end.
    #[error("interrupted by the end of the process")]
    Stopping,
}

impl Failure {
    /// A command in an instance that ended without success.
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

    /// The same for an object that is known by name only.
    pub(crate) fn kube_named(
        act: &'static str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> impl FnOnce(kube::Error) -> Self + use<> {
        let object = format!("{kind} {namespace}/{name}");
        move |source| Self::Kube { act, object, source: Box::new(source) }
    }

    /// Wraps an error of the server.
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

    /// Somebody else changed the object since it was read.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube { source, .. }
            if matches!(source.as_ref(), kube::Error::Api(status) if status.code == 409))
    }

    /// The server did not answer, which says nothing about an instance on it.
    pub(crate) fn is_server_away(&self) -> bool {
        match self {
            Self::Reach { .. } => true,
            Self::Server { source, .. } | Self::Network { source, .. } => source.is_connection(),
            _ => false,
        }
    }

    /// The Kubernetes object is gone.
    pub(crate) fn is_kube_not_found(&self) -> bool {
        matches!(self, Self::Kube { source, .. }
            if matches!(source.as_ref(), kube::Error::Api(status) if status.code == 404))
    }

    /// Whether, and when, trying again can help.
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

    /// The condition's reason; `passing` and `aborted` are the kind's own reasons for acts on
    /// instances.
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

    /// The condition's message: what was tried, the cause, and what to do. The same failure gives
    /// the same text, so that reporting it again changes nothing. What servers and instances said in it
    /// is cleaned and cut.
    pub(crate) fn message(&self) -> String {
        shown::text(&self.whole_message(), shown::SAID).into_owned()
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
                "let the server trust it (`incus config trust add-certificate`), or put another certificate into the Secret",
            ),
            Self::Expired { .. } => Some(RENEW_CLIENT),
            Self::Reach { source, .. } => source.hint(),
            Self::NoAddress { .. } => Some(
                "give spec.loadBalancer more ranges, or delete clusters that have their addresses",
            ),
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
        // A server that is only busy answers with texts that also name what it could not do.
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

/// What a server's error says, without what differs from one try to the next.
fn stable(error: &incus_client::Error) -> String {
    match error {
        incus_client::Error::OperationLost { description, .. } => {
            format!("the server no longer knows how {description:?} ended")
        }
        incus_client::Error::OperationDeadline { description, after, .. } => {
            format!("{description:?} did not end within {} s", after.as_secs())
        }
        other => match other.server_text() {
            Some(text) => text.trim().to_owned(),
            None => chain(other),
        },
    }
}

/// An error and everything behind it, for logs and conditions.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(link) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        // The library prints the answer of an API server once more with all its fields.
        if let Some(kube::Error::Api(answer)) = link.downcast_ref::<kube::Error>() {
            text.push_str(&answer.message);
            break;
        }
        text.push_str(&link.to_string());
        next = link.source();
    }
    text
}
