//! Deserialization of Go's `null` for an empty map or list.

use serde::{Deserialize, Deserializer};

/// Deserializes `null` as the default value. For `#[serde(deserialize_with)]`.
pub(crate) fn default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
