//! Untrusted text: bounded parsing and safe display.
//!
//! Parsers and interpreters recurse, and terminals obey control characters. The depth, length and
//! cost of a text are therefore checked before it is parsed ([`yaml`], [`template`]), and text of
//! tenants, servers and nodes is cleaned before it is shown ([`display`]). No I/O.

pub mod display;
pub mod template;
pub mod yaml;
