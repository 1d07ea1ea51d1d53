//! The attacks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::scene::Scene;
use super::{by_anonymous, by_server, by_tenant};

/// Who attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// May write what he likes in one namespace, with a client certificate.
    Tenant,
    /// May write definitions too.
    Definer,
    /// Has neither a certificate nor a token.
    Anonymous,
    /// Answers in place of an Incus server or of a workload cluster.
    Server,
}

impl Who {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Definer => "tenant who may write definitions",
            Self::Anonymous => "anonymous client",
            Self::Server => "hostile server",
        }
    }
}

/// What is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    /// `capn serve`.
    Serve,
    /// `capn manager`, beside a `capn serve --without-provider` as its management cluster.
    Manager,
    /// Both, one after the other.
    Both,
}

pub(crate) type Done = anyhow::Result<()>;
type Running = Pin<Box<dyn Future<Output = Done> + Send>>;

/// One attack.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) who: Who,
    pub(crate) class: &'static str,
    pub(crate) on: On,
    /// What holds it.
    pub(crate) gate: &'static str,
    run: Box<dyn Fn(Arc<Scene>) -> Running + Send + Sync>,
}

impl Attack {
    /// Fails when what this attack alone must not reach was reached; what holds for all attacks is
    /// asked by the judge.
    pub(crate) fn run(&self, scene: Arc<Scene>) -> Running {
        (self.run)(scene)
    }
}

/// Attacks of one class that one gate holds.
pub(crate) struct Class {
    class: &'static str,
    gate: &'static str,
    who: Who,
    on: On,
    attacks: Vec<Attack>,
}

impl Class {
    pub(crate) fn new(class: &'static str, who: Who, on: On) -> Self {
        Self { class, gate: "", who, on, attacks: Vec::new() }
    }

    /// What holds the attacks that are added from now on.
    pub(crate) fn gate(mut self, gate: &'static str) -> Self {
        self.gate = gate;
        self
    }

    pub(crate) fn who(mut self, who: Who) -> Self {
        self.who = who;
        self
    }

    pub(crate) fn on(mut self, on: On) -> Self {
        self.on = on;
        self
    }

    pub(crate) fn add<F>(
        mut self,
        name: &'static str,
        run: impl Fn(Arc<Scene>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Done> + Send + 'static,
    {
        let Self { class, gate, who, on, .. } = self;
        let run = Box::new(move |scene| Box::pin(run(scene)) as Running);
        self.attacks.push(Attack { name, who, class, on, gate, run });
        self
    }

    pub(crate) fn end(self) -> Vec<Attack> {
        self.attacks
    }
}

/// Every attack, in the order of the documentation.
pub(crate) fn all() -> Vec<Attack> {
    [by_tenant::all(), by_anonymous::all(), by_server::all()].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attack_has_a_name_of_its_own_and_a_gate() {
        let mut names = std::collections::BTreeSet::new();
        for attack in all() {
            assert!(names.insert(attack.name), "{} is there twice", attack.name);
            assert!(!attack.gate.is_empty(), "{} has no gate", attack.name);
            assert!(!attack.name.contains('|'), "{} breaks the table", attack.name);
        }
        assert!(names.len() >= 80, "{}", names.len());
    }
}
