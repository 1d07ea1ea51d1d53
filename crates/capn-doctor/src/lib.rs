//! What is wrong with a host or server before a cluster is made on it, and what a node that was
//! taken over could reach.
//!
//! | module | is |
//! |---|---|
//! | [`escape`] | tries doors out of a node, as root inside it |

pub mod escape;
