//! Image names and sources, and the builder of the images capn's instances run.
//!
//! | module | is |
//! |---|---|
//! | [`name`] | image names as manifests write them, resolved to what a server is asked for; pure |
//! | [`catalog`] | our aliases and property keys, and which image an instance gets when none is named; pure |
//! | [`binaries`] | where Kubernetes node binaries come from: a folder, or the official downloads |
//! | [`build`] | `capn image build`: Debian or Ubuntu with a role on top, imported, looked at, and given an alias |
//! | [`containerd`] | the form of containerd's configuration, by its version; pure |
//! | [`install`] | the node recipe as a script that a stock cloud image runs at boot; pure |
//! | [`cri`] | runs a pod sandbox in an instance through containerd's CRI, to prove that it can |
//! | [`simplestreams`] | image servers: what they hold, and how a folder becomes one |
//!
//! The library prints nothing and reads no environment: folders, servers and the progress
//! callback are arguments.

pub mod binaries;
pub mod build;
pub mod catalog;
pub mod containerd;
pub mod cri;
pub mod install;
pub mod name;
pub mod own;
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
