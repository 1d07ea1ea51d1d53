//! Filters of instance lists.

use crate::Instance;

/// Which instances to list. All conditions have to hold; none means every instance.
///
/// A server with the extension `api_filtering` filters itself ([`InstanceFilter::expression`]);
/// [`InstanceFilter::matches`] gives the same answer on this side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstanceFilter {
    config: Vec<(String, String)>,
    name: Option<String>,
}

impl InstanceFilter {
    /// Every instance.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only instances whose own configuration has `key` with exactly `value`.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((key.into(), value.into()));
        self
    }

    /// Only the instance of this name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The filter in the server's language; `None` when it has no condition, or one that cannot
    /// be said there safely (a value with spaces or quotes), in which case only
    /// [`InstanceFilter::matches`] decides.
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
        // The server takes a value for a regular expression and anchors it, so a dot also
        // matches any character: more than asked, never less, and `matches` sorts it out.
        let words: Vec<String> = conditions
            .filter(|(key, value)| plain(key) && plain(value))
            .map(|(key, value)| format!("{key} eq {value}"))
            .collect();
        (!words.is_empty()).then(|| words.join(" and "))
    }

    /// True when the instance fits.
    #[must_use]
    pub fn matches(&self, instance: &Instance) -> bool {
        self.name.as_ref().is_none_or(|name| *name == instance.name)
            && self.config.iter().all(|(key, value)| instance.config.get(key) == Some(value))
    }
}
