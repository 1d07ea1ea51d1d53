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
mod refusal;
mod routes;
mod serve;
mod world;

pub use exec::{ExecCall, ExecResult};
pub use fault::{Fault, FaultKind, Seen};
pub use world::{Clock, Simulator};
