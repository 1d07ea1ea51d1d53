//! Defaults and checks of the kubeadm kinds.

use super::Admission;

pub(super) fn admission() -> Vec<Admission> {
    Vec::new()
}
