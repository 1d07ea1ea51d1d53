//! The custom resources of Cluster API Provider Incus.
