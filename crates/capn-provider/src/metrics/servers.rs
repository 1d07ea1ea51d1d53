//! Requests, operations and event streams of the clients of Incus and LXD.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use incus_api::Flavor;
use incus_client::{Error, Observation, OperationOutcome, RequestOutcome};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Upper bounds of the buckets of requests, in seconds. A plain request has a timeout of 30 s.
const REQUEST_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// Upper bounds of the buckets of operations, in seconds.
const OPERATION_BUCKETS: [f64; 11] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];

/// First words of operation descriptions. Others count as `other`.
const OPERATIONS: [&str; 16] = [
    "backing",
    "copying",
    "creating",
    "deleting",
    "downloading",
    "executing",
    "freezing",
    "importing",
    "migrating",
    "pausing",
    "refreshing",
    "renaming",
    "restarting",
    "starting",
    "stopping",
    "updating",
];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Metrics of server clients.
#[derive(Clone)]
pub(crate) struct Servers {
    requests: Histograms<RequestLabels>,
    operations: Histograms<OperationLabels>,
    operations_in_flight: Gauge,
    event_streams: Gauge,
    drops: Counter,
    reconnects: Counter,
    refusals: Counter,
    timeouts: Family<TimeoutLabels, Counter>,
    endpoint_failures: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    server: &'static str,
    method: &'static str,
    route: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    server: &'static str,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TimeoutLabels {
    of: &'static str,
}

/// Which of the two servers it is, once known.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerName(Arc<OnceLock<&'static str>>);

impl ServerName {
    /// Records which server it is.
    pub(crate) fn is(&self, flavor: &Flavor) {
        // A server never changes its kind.
        self.0.get_or_init(|| match flavor {
            Flavor::Incus => "incus",
            Flavor::Lxd => "lxd",
        });
    }

    fn label(&self) -> &'static str {
        self.0.get().copied().unwrap_or("unknown")
    }
}

impl Servers {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let servers = Self {
            requests: Family::new_with_constructor(|| Histogram::new(REQUEST_BUCKETS)),
            operations: Family::new_with_constructor(|| Histogram::new(OPERATION_BUCKETS)),
            operations_in_flight: Gauge::default(),
            event_streams: Gauge::default(),
            drops: Counter::default(),
            reconnects: Counter::default(),
            refusals: Counter::default(),
            timeouts: Family::default(),
            endpoint_failures: Counter::default(),
        };
        registry.register(
            "server_request_duration_seconds",
            "Requests to Incus and LXD servers",
            servers.requests.clone(),
        );
        registry.register(
            "server_operation_duration_seconds",
            "Completed waits for server operations",
            servers.operations.clone(),
        );
        registry.register(
            "server_operations_in_flight",
            "Running waits for server operations",
            servers.operations_in_flight.clone(),
        );
        registry.register(
            "server_event_streams",
            "Connected event streams",
            servers.event_streams.clone(),
        );
        registry.register(
            "server_event_stream_drops",
            "Event stream disconnects",
            servers.drops.clone(),
        );
        registry.register(
            "server_event_stream_reconnects",
            "Event stream reconnects",
            servers.reconnects.clone(),
        );
        registry.register(
            "server_event_stream_refusals",
            "Failed attempts to open an event stream",
            servers.refusals.clone(),
        );
        registry.register(
            "server_timeouts",
            "Timeouts of responses, operations and event streams",
            servers.timeouts.clone(),
        );
        registry.register(
            "server_endpoint_failures",
            "Failed connections to addresses of clusters of servers",
            servers.endpoint_failures.clone(),
        );
        servers
    }

    /// Records an observation of a client of the server `name`.
    pub(crate) fn observe(&self, name: &ServerName, observed: &Observation<'_>) {
        match *observed {
            Observation::Request { method, route, outcome, took } => {
                let code = code(outcome);
                let labels = RequestLabels { server: name.label(), method, route, code };
                self.requests.get_or_create(&labels).observe(took.as_secs_f64());
                if outcome == RequestOutcome::TimedOut {
                    self.timeout("request");
                }
            }
            Observation::OperationAwaited { .. } => {
                self.operations_in_flight.inc();
            }
            Observation::OperationEnded { description, outcome, took } => {
                self.operations_in_flight.dec();
                self.operation(name, description, outcome, took);
            }
            Observation::EventsConnected { again } => {
                self.event_streams.inc();
                if again {
                    self.reconnects.inc();
                }
            }
            Observation::EventsLost { error } => {
                self.event_streams.dec();
                self.drops.inc();
                if matches!(error, Error::Timeout { .. }) {
                    self.timeout("events");
                }
            }
            Observation::EventsLeft => {
                self.event_streams.dec();
            }
            Observation::EventsRefused { .. } => {
                self.refusals.inc();
            }
            Observation::EndpointFailed { .. } => {
                self.endpoint_failures.inc();
            }
            // Observations that a later client version may add.
            _ => {}
        }
    }

    fn operation(
        &self,
        name: &ServerName,
        description: &str,
        outcome: OperationOutcome,
        took: Duration,
    ) {
        let labels = OperationLabels {
            server: name.label(),
            operation: operation(description),
            outcome: match outcome {
                OperationOutcome::Succeeded => "succeeded",
                OperationOutcome::Failed => "failed",
                OperationOutcome::TimedOut => "timeout",
                OperationOutcome::Lost => "lost",
                _ => "abandoned",
            },
        };
        self.operations.get_or_create(&labels).observe(took.as_secs_f64());
        if outcome == OperationOutcome::TimedOut {
            self.timeout("operation");
        }
    }

    fn timeout(&self, of: &'static str) {
        self.timeouts.get_or_create(&TimeoutLabels { of }).inc();
    }
}

fn code(outcome: RequestOutcome) -> &'static str {
    match outcome {
        RequestOutcome::Status(status) => match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "invalid",
        },
        RequestOutcome::NotConnected => "not_connected",
        RequestOutcome::Broken => "broken",
        RequestOutcome::TimedOut => "timeout",
        _ => "invalid",
    }
}

/// Returns the first word, which names the operation. The rest differs between the servers.
fn operation(description: &str) -> &'static str {
    let word = description.split(' ').next().unwrap_or_default();
    OPERATIONS.into_iter().find(|known| known.eq_ignore_ascii_case(word)).unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_counted_by_kind() {
        let servers = Servers::register(&mut Registry::default());
        let took = Duration::from_secs(30);
        let error = Error::OperationLost { id: "7".into(), description: "x".into() };
        let awaited = |outcome| Observation::OperationEnded { description: "x", outcome, took };
        let asked = |outcome| Observation::Request { method: "GET", route: "/1.0", outcome, took };
        for observed in [
            asked(RequestOutcome::TimedOut),
            asked(RequestOutcome::TimedOut),
            asked(RequestOutcome::Broken),
            awaited(OperationOutcome::TimedOut),
            awaited(OperationOutcome::Lost),
            Observation::EventsLost { error: &error },
        ] {
            servers.observe(&ServerName::default(), &observed);
        }
        let count = |of| servers.timeouts.get_or_create(&TimeoutLabels { of }).get();
        assert_eq!(["request", "operation", "events"].map(count), [2, 1, 0]);
    }

    #[test]
    fn label_values_come_from_fixed_lists() {
        for (description, label) in [
            ("Creating instance", "creating"),
            ("Creating container", "creating"),
            ("Executing command", "executing"),
            ("web-7 \"quoted\"", "other"),
            ("", "other"),
        ] {
            assert_eq!(operation(description), label, "{description}");
        }
        for (outcome, label) in [
            (RequestOutcome::Status(101), "1xx"),
            (RequestOutcome::Status(200), "2xx"),
            (RequestOutcome::Status(404), "4xx"),
            (RequestOutcome::Status(503), "5xx"),
            (RequestOutcome::Status(7), "invalid"),
            (RequestOutcome::TimedOut, "timeout"),
        ] {
            assert_eq!(code(outcome), label, "{outcome:?}");
        }
    }
}
