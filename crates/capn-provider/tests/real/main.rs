//! The reconcilers with a real Incus and LXD, where they run on this machine, and the embedded
//! plane in memory. The part of Cluster API core is played by the tests.

mod adoption;
mod deletion;
mod image;
mod interruption;
mod life;
mod world;
