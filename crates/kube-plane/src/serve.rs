//! HTTPS for clients outside the process.
