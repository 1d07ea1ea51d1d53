//! From objects to steps a person can follow.
//!
//! [`Objects`] keeps the objects of one cluster as the plane has them now, [`steps`] decides
//! (without I/O) what has been reached and what is missing, [`follow`] shows it until it holds.

mod follow;
mod objects;
mod removal;
mod rollout;
mod scope;
mod settle;
mod shown;
mod steps;
mod view;

pub use follow::{
    Deadline, follow, follow_applied, follow_removal, follow_rollout, follow_wanted, reached,
};
pub use objects::{Objects, read};
pub use scope::Scope;
pub use settle::{is_available, settle};
pub(crate) use shown::Shown;
pub use steps::{Asked, Readiness, State, StepView, Verdict, steps, stuck, verdict};
pub use view::View;
pub(crate) use view::{address, complaint};
