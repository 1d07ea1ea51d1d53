//! Text that somebody else wrote: what of it may be read, and what of it may be shown.
//!
//! Parsers and interpreters recurse, and a terminal obeys what it is sent. So the depth, length and
//! cost of a text are checked before a parser sees it ([`yaml`], [`template`]), and whatever a
//! tenant, a server or a node said is cleaned before it is put anywhere ([`shown`]). No I/O.

pub mod shown;
pub mod template;
pub mod yaml;
