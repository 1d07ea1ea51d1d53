//! Image names and sources, and the builder of the images for capn's instances.
//!
//! | module | content |
//! |---|---|
//! | [`name`] | image names in manifests, resolved to requests to a server; pure |
//! | [`catalog`] | aliases and property keys of capn, and the default images; pure |
//! | [`binaries`] | sources of Kubernetes binaries: a directory, or the official downloads |
//! | [`build`] | `capn image build`: Debian or Ubuntu with a role, imported, validated, and given an alias |
//! | [`containerd`] | format of the containerd configuration, by version; pure |
//! | [`install`] | the node recipe as a script that a stock cloud image runs at boot; pure |
//! | [`cri`] | runs a pod sandbox in an instance through CRI, as a check |
//! | [`simplestreams`] | image servers: their content, and how to make one from a directory |
//!
//! The library prints nothing and reads no environment variables: directories, servers and the
//! progress callback are arguments.

pub mod binaries;
pub mod build;
pub mod catalog;
pub mod containerd;
pub mod cri;
pub mod install;
pub mod name;
pub mod ownership;
pub mod regular;
pub mod simplestreams;

mod archive;
mod bolt;
mod containers;
mod libraries;
mod metadata;
mod packages;
mod recipe;
mod tree;
mod user_namespaces;

pub use build::{BuildRequest, BuiltImage, Event, Kind, build};
pub use containers::{FLANNEL_IMAGE, KUBE_VIP_IMAGE};
pub use name::{ImageFields, ImageSource, Protocol, ServerFlavor, resolve};
pub use recipe::POD_NETWORK_SCRIPT;
