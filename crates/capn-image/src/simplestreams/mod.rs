//! `simplestreams` image servers: their content, and creation from a directory.
//!
//! A server is a tree of files. `streams/v1/index.json` lists documents; those with the data type
//! `image-downloads` list products. A product is one distribution, release, variant and
//! architecture, and has versions. A version has items, which are files. An image is a single
//! metadata file (unified), or a metadata file with a root filesystem or disk. Its fingerprint is
//! the SHA-256 of the concatenation of these files.
//!
//! | module | content |
//! |---|---|
//! | [`document`] | the two kinds of documents; pure |
//! | [`images`] | the images in a document as Incus and LXD see them, and selection by name; pure |
//! | [`problem`] | problems in a document, by product, version and item; pure |
//! | [`source`] | streaming from a directory or over HTTP(S) |
//! | [`import`] | adding image files to a directory |
//! | [`verify`] | comparing every file with the documents |
//!
//! The format is that of Incus 6 and LXD 5: both use `combined_*_sha256` of the metadata item as
//! the fingerprint, Incus from items of the type `incus.tar.xz` or `incus_combined.tar.gz`, LXD
//! from `lxd.tar.xz` or `lxd_combined.tar.gz`.

pub mod document;
pub mod images;
pub mod import;
pub mod problem;
pub mod source;
pub mod verify;

mod architecture;
mod directory;
mod error;
mod http;
mod load;
mod tarball;

pub use document::{Index, Item, Product, Products, Version};
pub use error::StreamsError;
pub use images::{Image, ImageType, SelectError, Selection, images_of, select};
pub use import::{ImageFiles, Import, Imported, Placement, import};
pub use load::{Streams, load};
pub use problem::{Location, Problem};
pub use source::{HttpOptions, Source};
pub use tarball::{FileKind, file_kind, image_files_in, read_properties};
pub use verify::{Verified, verify};
