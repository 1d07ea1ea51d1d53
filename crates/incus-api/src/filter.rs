//! Filters of instance lists.

use crate::Instance;

/// Filter for instances. All conditions must match; without conditions every instance matches.
///
/// A server with the extension `api_filtering` filters itself ([`InstanceFilter::expression`]);
/// [`InstanceFilter::matches`] gives the same result on the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceFilter {
    config: Vec<(String, String)>,
    name: Option<String>,
}

impl InstanceFilter {
    /// Matches every instance.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Matches only instances whose own configuration has `key` set to exactly `value`.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((key.into(), value.into()));
        self
    }

    /// Matches only the instance with this name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Returns the filter in the server's language. `None` without conditions, or when one cannot
    /// be expressed safely (a value with spaces or quotes); only [`InstanceFilter::matches`] then
    /// filters.
    #[must_use]
    pub fn expression(&self) -> Option<String> {
        let plain = |text: &str| {
            !text.is_empty()
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._/:".contains(c))
        };
        let conditions = self
            .config
            .iter()
            .map(|(key, value)| (format!("config.{key}"), value))
            .chain(self.name.iter().map(|name| ("name".to_owned(), name)));
        // The server treats a value as an anchored regular expression, so a dot also matches any
        // character. It returns too many instances, never too few; `matches` filters the rest.
        let words: Vec<String> = conditions
            .filter(|(key, value)| plain(key) && plain(value))
            .map(|(key, value)| format!("{key} eq {value}"))
            .collect();
        (!words.is_empty()).then(|| words.join(" and "))
    }

    /// Returns whether the instance matches.
    #[must_use]
    pub fn matches(&self, instance: &Instance) -> bool {
        self.name.as_ref().is_none_or(|name| *name == instance.name)
            && self.config.iter().all(|(key, value)| instance.config.get(key) == Some(value))
    }
}
