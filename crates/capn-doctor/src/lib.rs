//! Checks of a host and a server before a cluster is created, and tests of what a compromised node
//! could reach.
//!
//! | module | content |
//! |---|---|
//! | [`facts`] | facts about a host, from its files, and about a server, from its API |
//! | [`rules`] | pure functions from facts to findings |
//! | [`finding`] | result of a check, its impact and its fix |
//! | [`fix`] | applies the safe fixes |
//! | [`escape`] | tries escape vectors of a node, as root inside it |

pub mod escape;
pub mod facts;
pub mod finding;
pub mod fix;
pub mod rules;

pub use finding::{Finding, Fix, Severity};
