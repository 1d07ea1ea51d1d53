//! An async client of the Incus and LXD REST API.
