//! Cluster templates, without I/O.
//!
//! | module | is |
//! |---|---|
//! | [`flavor`] | the templates that come with capn, and the class that some of them use |
//! | [`template`] | a template: which variables it has, and what it becomes with their values |
//! | [`variable`] | what a variable may be |
//! | [`substitute`] | `${NAME:=default}`, with the rules of clusterctl |
//! | [`class`] | the patches of a ClusterClass: what a topology's variables make of its templates |
//!
//! The templates are files in the folder `templates` of the workspace, laid out and written as
//! clusterctl wants them, so that the same files serve both.

pub mod class;
pub mod flavor;
pub mod substitute;
pub mod template;
pub mod variable;

pub use flavor::Flavor;
pub use template::{Template, TemplateError, Variable};
pub use variable::{Kind, WrongValue};
