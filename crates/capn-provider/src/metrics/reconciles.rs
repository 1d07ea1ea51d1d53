//! Outcome, duration and number of reconciles.

use std::time::{Duration, Instant};

use capn_plan::diagnosis::Class;
use kube::runtime::controller::Action;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::failure::Failure;

/// Upper bounds of the buckets, in seconds. Creating an instance may take 15 minutes.
const BUCKETS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 900.0];

/// Reconcile metrics by kind.
#[derive(Clone)]
pub(crate) struct Reconciles {
    durations: Family<OutcomeLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<KindLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    kind: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

/// Outcome of a reconcile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There is nothing to do until something changes.
    Success,
    /// It is repeated sooner than the resync.
    Waiting,
    /// The object was changed in the meantime.
    Conflict,
    /// It failed with a failure of this class.
    Failed(Class),
}

impl Outcome {
    /// Returns the outcome for a result, with the resync interval of the controller.
    pub(crate) fn of(result: &Result<Action, Failure>, resync: Duration) -> Self {
        match result {
            Ok(action) if [Action::await_change(), Action::requeue(resync)].contains(action) => {
                Self::Success
            }
            Ok(_) => Self::Waiting,
            Err(failure) if failure.is_conflict() => Self::Conflict,
            Err(failure) => Self::Failed(failure.class()),
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Waiting => "waiting",
            Self::Conflict => "conflict",
            Self::Failed(Class::Passing) => "passing",
            Self::Failed(Class::Blocked) => "blocked",
            Self::Failed(Class::Final) => "final",
        }
    }
}

impl Reconciles {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let reconciles = Self {
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Family::default(),
        };
        registry.register(
            "reconcile_duration_seconds",
            "Completed reconciles",
            reconciles.durations.clone(),
        );
        registry.register(
            "reconciles_in_flight",
            "Running reconciles",
            reconciles.in_flight.clone(),
        );
        reconciles
    }

    /// Records the start of a reconcile of this kind.
    pub(crate) fn begin(&self, kind: &str) -> Running {
        let in_flight = KindLabels { kind: kind.to_owned() };
        let in_flight = self.in_flight.get_or_create_owned(&in_flight);
        in_flight.inc();
        let durations = self.durations.clone();
        Running { durations, in_flight, kind: kind.to_owned(), started: Instant::now() }
    }
}

/// A running reconcile. If it is dropped before its end, it is not counted.
pub(crate) struct Running {
    durations: Family<OutcomeLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    kind: String,
    started: Instant,
}

impl Running {
    pub(crate) fn ended(self, outcome: Outcome) {
        let labels = OutcomeLabels { kind: self.kind.clone(), outcome: outcome.label() };
        self.durations.get_or_create(&labels).observe(self.started.elapsed().as_secs_f64());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconcile_result_maps_to_its_outcome() {
        let resync = Duration::from_secs(600);
        let invalid = || Failure::Invalid { message: "x".into() };
        for (result, label) in [
            (Ok(Action::await_change()), "success"),
            (Ok(Action::requeue(resync)), "success"),
            (Ok(Action::requeue(Duration::from_millis(500))), "waiting"),
            (Err(Failure::NoCluster), "passing"),
            (Err(Failure::NoAddress { message: "x".into() }), "blocked"),
            (Err(invalid()), "final"),
        ] {
            assert_eq!(Outcome::of(&result, resync).label(), label);
        }
    }
}
