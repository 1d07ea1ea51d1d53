//! The list of attacks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::fixture::Fixture;
use super::{by_anonymous, by_server, by_tenant};

/// The attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attacker {
    /// May write anything in one namespace, with a client certificate.
    Tenant,
    /// May write CRDs too.
    Definer,
    /// Has neither a certificate nor a token.
    Anonymous,
    /// Controls an Incus server or a workload cluster's API server.
    Server,
}

impl Attacker {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Definer => "tenant who may write definitions",
            Self::Anonymous => "anonymous client",
            Self::Server => "hostile server",
        }
    }
}

/// The attacked process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `capn serve`.
    Serve,
    /// `capn manager`, next to a `capn serve --without-provider` as its management cluster.
    Manager,
    /// Both, one by one.
    Both,
}

pub(crate) type AttackResult = anyhow::Result<()>;
type Running = Pin<Box<dyn Future<Output = AttackResult> + Send>>;

/// One attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) who: Attacker,
    pub(crate) class: &'static str,
    pub(crate) on: Target,
    /// The gate that stops it.
    pub(crate) gate: &'static str,
    run: Box<dyn Fn(Arc<Fixture>) -> Running + Send + Sync>,
}

impl Attack {
    /// Returns an error if the attack achieved its goal. Checks common to all attacks are done by
    /// the monitor.
    pub(crate) fn run(&self, fixture: Arc<Fixture>) -> Running {
        (self.run)(fixture)
    }
}

/// Attacks of one class that are stopped by one gate.
pub(crate) struct AttackGroup {
    class: &'static str,
    gate: &'static str,
    who: Attacker,
    on: Target,
    attacks: Vec<Attack>,
}

impl AttackGroup {
    pub(crate) fn new(class: &'static str, who: Attacker, on: Target) -> Self {
        Self { class, gate: "", who, on, attacks: Vec::new() }
    }

    /// Sets the gate for the attacks added from now on.
    pub(crate) fn gate(mut self, gate: &'static str) -> Self {
        self.gate = gate;
        self
    }

    pub(crate) fn who(mut self, who: Attacker) -> Self {
        self.who = who;
        self
    }

    pub(crate) fn on(mut self, on: Target) -> Self {
        self.on = on;
        self
    }

    pub(crate) fn add<F>(
        mut self,
        name: &'static str,
        run: impl Fn(Arc<Fixture>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = AttackResult> + Send + 'static,
    {
        let Self { class, gate, who, on, .. } = self;
        let run = Box::new(move |fixture| Box::pin(run(fixture)) as Running);
        self.attacks.push(Attack { name, who, class, on, gate, run });
        self
    }

    pub(crate) fn end(self) -> Vec<Attack> {
        self.attacks
    }
}

/// All attacks, in the order of the documentation.
pub(crate) fn all() -> Vec<Attack> {
    [by_tenant::all(), by_anonymous::all(), by_server::all()].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attack_has_a_unique_name_and_a_gate() {
        let mut names = std::collections::BTreeSet::new();
        for attack in all() {
            assert!(names.insert(attack.name), "{} is listed twice", attack.name);
            assert!(!attack.gate.is_empty(), "{} has no gate", attack.name);
            assert!(!attack.name.contains('|'), "{} breaks the table", attack.name);
        }
        assert!(names.len() >= 80, "{}", names.len());
    }
}
