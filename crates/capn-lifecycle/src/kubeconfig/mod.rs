//! The secret `<cluster>-kubeconfig`.
