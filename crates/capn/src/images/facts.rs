//! Facts of a node image that kubeadm needs.

use std::collections::BTreeMap;

use capn_image::catalog::{PROPERTY_COREDNS, PROPERTY_ETCD_IMAGE_TAG};

use crate::manifest::request::ImageFacts;

/// Reads the facts from image properties. Images of other origin have none, which yields the
/// defaults.
pub fn of_image(properties: &BTreeMap<String, String>) -> ImageFacts {
    ImageFacts {
        etcd_image_tag: properties.get(PROPERTY_ETCD_IMAGE_TAG).cloned(),
        without_coredns: properties.get(PROPERTY_COREDNS).is_some_and(|value| value == "false"),
        ..ImageFacts::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_facts_name_a_missing_coredns_and_skip_foreign_images() {
        let ours = [(PROPERTY_COREDNS, "false"), (PROPERTY_ETCD_IMAGE_TAG, "3.5.16-0")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let facts = of_image(&ours.into());
        assert_eq!(facts.etcd_image_tag.as_deref(), Some("3.5.16-0"));
        assert!(facts.without_coredns);
        assert_eq!(of_image(&BTreeMap::new()), ImageFacts::default());
    }
}
