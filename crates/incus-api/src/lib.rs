//! Wire types of the Incus and LXD REST API.
