//! Cluster templates, without I/O.
//!
//! | module | content |
//! |---|---|
//! | [`flavor`] | the cluster templates of capn, and their ClusterClass |
//! | [`template`] | a template: its variables, and rendering with values |
//! | [`variable`] | types of variables |
//! | [`substitute`] | `${NAME:=default}`, with the rules of clusterctl |
//! | [`class`] | patches of a ClusterClass, applied to its templates with the variables of a topology |
//!
//! The templates are files in the directory `templates` of the workspace, in the layout and format
//! of clusterctl, so that both can use them.

pub mod class;
pub mod flavor;
pub mod substitute;
pub mod template;
pub mod variable;

pub use flavor::Flavor;
pub use template::{Template, TemplateError, Variable};
pub use variable::{Kind, WrongValue};
