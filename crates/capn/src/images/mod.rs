//! Makes sure that the server has the images a cluster needs.

mod build;
mod ensure;
mod facts;
mod official;
mod prebuilt;
mod versions;

pub use build::{build_image, cache_dir, failed};
pub use ensure::{Found, Needs, ensure, expected};
pub use facts::of_image;
pub use versions::{NEWEST_KNOWN, binaries};
