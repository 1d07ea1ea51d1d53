//! Ensures that the server has the images that a cluster needs.

mod build;
mod ensure;
mod facts;
mod official;
mod pull;
mod servers;
mod versions;

pub use build::{BuildProgress, build_image, cache_dir, failed};
pub use ensure::{
    ImageRequirements, NodeImage, NodeImageInfo, ensure, expected, named, node_image,
};
pub use facts::of_image;
pub use pull::{Pull, Pulled, alias_of, check_alias, give_alias, pull};
pub use servers::{ImageServerArgs, entries, parse as parse_servers};
pub use versions::{NEWEST_KNOWN, binaries, runtime, runtime_for};
