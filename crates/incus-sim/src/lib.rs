//! A simulated Incus server, for tests and load tests only.
//!
//! It serves the REST routes that a client of instances needs: server, instances with state, exec,
//! files and metadata, operations, events, images, profiles, networks, storage pools, projects.
//! Nothing runs in an instance: a start assigns an address, and the test answers commands.
//!
//! * **Two clocks.** With [`Clock::Automatic`] an operation finishes by itself; with
//!   [`Clock::Stepped`] it finishes when the test calls [`Simulator::step`].
//! * **Fault injection.** [`Simulator::inject`] fails, cuts, delays or doubles requests. Requests
//!   are counted from one, so a test can loop over all requests of a successful run
//!   ([`Simulator::requests`]). [`Simulator::restart`] kills and restarts the daemon.
//! * **Lasting conditions**: slow, full, without events. [`Simulator::history`] returns what
//!   happened to each instance.
//! * **Two transports**: in memory ([`Simulator::connector`]) and a unix socket
//!   ([`Simulator::listen`]).
//!
//! Instances have the same marks of an interrupted creation as on real servers: during the creation
//! there is a record without `volatile.apply_template`, and a server that is killed leaves it
//! behind.
//!
//! ```
//! use incus_sim::Simulator;
//!
//! let simulator = Simulator::new();
//! let connect = simulator.connector();
//! // incus_client::Client::custom("simulator", connect)
//! # drop(connect);
//! ```

mod api_error;
mod conditions;
mod exec;
mod fault;
mod networks;
mod routes;
mod serve;
mod server_state;

pub use conditions::InstanceEvent;
pub use exec::{ExecCall, ExecResult};
pub use fault::{Fault, FaultKind, RecordedRequest};
pub use serve::Listening;
pub use server_state::{Clock, Simulator};
