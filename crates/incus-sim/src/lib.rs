//! A simulated Incus server, for tests and load. Never a default for users.
//!
//! It serves the REST routes a client of instances needs: server, instances with state, exec,
//! files and metadata, operations, events, images, profiles, networks, storage pools, projects.
//! Nothing runs in an instance: a start gives it an address, a command is answered by the test.
//!
//! * **Two clocks.** With [`Clock::Automatic`] an operation ends by itself; with
//!   [`Clock::Stepped`] it ends when the test calls [`Simulator::step`].
//! * **Faults by schedule.** [`Simulator::inject`] fails, cuts, delays or doubles requests; they
//!   are counted from one, so a test can loop over all requests of a good run
//!   ([`Simulator::requests`]). [`Simulator::restart`] is a killed and restarted daemon.
//! * **Lasting troubles**: slow, full, without events. [`Simulator::history`] tells afterwards what
//!   became of each instance.
//! * **Two doors**: in memory ([`Simulator::connector`]) and a unix socket ([`Simulator::listen`]).
//!
//! An instance has the marks by which a client tells how far it has come, as the real servers set
//! them: while it is made there is a record without `volatile.apply_template`, and a server that is
//! killed leaves it behind.
//!
//! ```
//! use incus_sim::Simulator;
//!
//! let simulator = Simulator::new();
//! let connect = simulator.connector();
//! // incus_client::Client::custom("simulator", connect)
//! # drop(connect);
//! ```

mod exec;
mod fault;
mod networks;
mod refusal;
mod routes;
mod serve;
mod trouble;
mod world;

pub use exec::{ExecCall, ExecResult};
pub use fault::{Fault, FaultKind, Seen};
pub use serve::Listening;
pub use trouble::Happened;
pub use world::{Clock, Simulator};
