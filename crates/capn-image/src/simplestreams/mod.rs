//! Image servers of the kind `simplestreams`: what they hold, and how a folder becomes one.
//!
//! A server is a tree of files. `streams/v1/index.json` names documents, of which those with
//! the data type `image-downloads` list products. A product is one distribution, release,
//! variant and architecture, and has versions; a version has items, which are files. An image is
//! a metadata file alone (unified), or a metadata file with a root filesystem or disk, and its
//! fingerprint is the SHA-256 of these files one after the other.
//!
//! | module | is |
//! |---|---|
//! | [`document`] | the two kinds of documents, as they are written; pure |
//! | [`images`] | the images in a document, as Incus and LXD see them, and selection by name; pure |
//! | [`problem`] | what is wrong with a document, by product, version and item; pure |
//! | [`source`] | reading from a folder or over HTTP(S), a piece at a time |
//! | [`import`] | adding image files to a folder |
//! | [`verify`] | comparing every file with what the documents say |
//!
//! Facts are those of the format as Incus 6 and LXD 5 read it: both take `combined_*_sha256` of
//! the metadata item as the fingerprint, Incus from items of the type `incus.tar.xz` or
//! `incus_combined.tar.gz`, LXD from `lxd.tar.xz` or `lxd_combined.tar.gz`.

pub mod document;
pub mod images;
pub mod import;
pub mod problem;
pub mod source;
pub mod verify;

mod architecture;
mod error;
mod folder;
mod http;
mod load;
mod tarball;

pub use document::{Index, Item, Product, Products, Version};
pub use error::StreamsError;
pub use images::{Image, ImageType, SelectError, Selection, images_of, select};
pub use import::{ImageFiles, Import, Imported, Placement, import};
pub use load::{Streams, load};
pub use problem::{Place, Problem};
pub use source::{HttpOptions, Source};
pub use tarball::{FileKind, file_kind, image_files_in, read_properties};
pub use verify::{Verified, verify};
