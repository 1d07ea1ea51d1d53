//! Progress of a cluster as steps that a user can follow.
//!
//! [`Objects`] watches the objects of one cluster, [`steps`] decides (without I/O) what is complete
//! and what is missing, and [`follow`] shows the steps until the desired state is reached.

mod display;
mod follow;
mod objects;
mod removal;
mod rollout;
mod scope;
mod settle;
mod steps;
mod view;

pub(crate) use display::StepDisplay;
pub use follow::{
    Deadline, follow, follow_applied, follow_removal, follow_removal_of_pools, follow_rollout,
    follow_wanted, reached,
};
pub use objects::{Objects, read};
pub use scope::{Scope, pool_of};
pub use settle::{is_available, settle};
pub use steps::{DesiredState, Progress, Readiness, State, StepView, progress, steps, stuck};
pub use view::View;
pub(crate) use view::{address, complaint};
