//! Who owns which field: `metadata.managedFields`.

use serde_json::Value;

use crate::{
    api::{Target, WriteOptions},
    registry::Resource,
};

/// After a create that was not an apply.
pub(crate) fn created(_resource: &Resource, _new: &mut Value, _options: &WriteOptions) {}

/// After an update that was not an apply.
pub(crate) fn updated(
    _target: &Target<'_>,
    _new: &mut Value,
    _old: &Value,
    _options: &WriteOptions,
) {
}
