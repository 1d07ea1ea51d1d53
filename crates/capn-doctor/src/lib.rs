//! What is wrong with a host or server before a cluster is made on it, and what a node that was
//! taken over could reach.
//!
//! | module | is |
//! |---|---|
//! | [`facts`] | what is the case: of a host by its files, of a server by its API |
//! | [`rules`] | from facts to findings; pure |
//! | [`finding`] | what a check found, what it means, how it is mended |
//! | [`fix`] | carries the safe fixes out |
//! | [`escape`] | tries doors out of a node, as root inside it |

pub mod escape;
pub mod facts;
pub mod finding;
pub mod fix;
pub mod rules;

pub use finding::{Finding, Fix, Severity};
