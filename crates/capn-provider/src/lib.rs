//! Reconcilers of LXCCluster and LXCMachine.
