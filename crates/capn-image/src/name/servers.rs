//! Image servers and their prefixes.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::catalog;

/// Prefix of the project's own server, which has the default images.
const DEFAULT: &str = "capi";
const STAGING: &str = "capi-stg";

/// The server of the default images, with the prefix `capi`, and servers with other prefixes.
///
/// Written as a comma-separated list: `URL` changes the default server, `PREFIX=URL` adds or
/// changes a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageServers {
    prefixes: BTreeMap<String, String>,
}

impl Default for ImageServers {
    fn default() -> Self {
        let known = [(DEFAULT, catalog::IMAGE_SERVER), (STAGING, catalog::STAGING_IMAGE_SERVER)];
        let prefixes = known.map(|(prefix, url)| (prefix.to_owned(), url.to_owned()));
        Self { prefixes: prefixes.into() }
    }
}

impl ImageServers {
    /// Parses entries as described at [`ImageServers`]; later ones override earlier ones.
    ///
    /// # Errors
    ///
    /// [`ImageServersError`] when an entry is neither a URL nor a prefix with one.
    pub fn of(entries: &[impl AsRef<str>]) -> Result<Self, ImageServersError> {
        let mut servers = Self::default();
        for entry in entries.iter().flat_map(|entries| entries.as_ref().split(',')) {
            let entry = entry.trim();
            if !entry.is_empty() {
                servers.add(entry)?;
            }
        }
        Ok(servers)
    }

    fn add(&mut self, entry: &str) -> Result<(), ImageServersError> {
        // A URL may contain an equals sign too, but not before its colon.
        let (prefix, url) = match entry.split_once('=') {
            Some((prefix, url)) if !prefix.contains(':') => (prefix, url),
            _ => (DEFAULT, entry),
        };
        let is_prefix = !prefix.is_empty()
            && prefix.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if !is_prefix {
            return Err(ImageServersError::Prefix { prefix: prefix.to_owned() });
        }
        let host = url.split_once("://").map(|(scheme, rest)| (scheme, rest.trim_matches('/')));
        match host {
            // Incus and LXD support simplestreams over HTTPS only.
            Some(("https", host)) if !host.is_empty() && !url.contains(char::is_whitespace) => {}
            _ => return Err(ImageServersError::Url { url: url.to_owned() }),
        }
        self.prefixes.insert(prefix.to_owned(), url.to_owned());
        Ok(())
    }

    /// Returns the URL of the server of the default images.
    pub fn default_url(&self) -> &str {
        self.url(DEFAULT).unwrap_or(catalog::IMAGE_SERVER)
    }

    /// Returns the URL of the server with this prefix.
    pub fn url(&self, prefix: &str) -> Option<&str> {
        self.prefixes.get(prefix).map(String::as_str)
    }

    /// Returns all prefixes, sorted.
    pub fn prefixes(&self) -> impl Iterator<Item = &str> {
        self.prefixes.keys().map(String::as_str)
    }
}

impl FromStr for ImageServers {
    type Err = ImageServersError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of(&[text])
    }
}

/// Formats the differences from the default, as a list that can be parsed again.
impl fmt::Display for ImageServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        let entries: Vec<String> = self
            .prefixes
            .iter()
            .filter(|(prefix, url)| default.prefixes.get(*prefix) != Some(url))
            .map(|(prefix, url)| match prefix.as_str() {
                DEFAULT => url.clone(),
                _ => format!("{prefix}={url}"),
            })
            .collect();
        f.write_str(&entries.join(","))
    }
}

/// Error of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImageServersError {
    /// Incus and LXD support image servers over HTTPS only.
    #[error("image server {url:?} is not an https:// URL")]
    Url {
        /// As given.
        url: String,
    },
    /// The prefix has invalid characters.
    #[error(
        "the prefix {prefix:?} of an image server may only contain lowercase letters, digits and `-`"
    )]
    Prefix {
        /// As given.
        prefix: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_changes_the_default_server_and_a_prefix_adds_one() {
        let servers: ImageServers =
            "https://a.example/x?y=1, lab=https://b.example".parse().unwrap();
        assert_eq!(servers.default_url(), "https://a.example/x?y=1");
        assert_eq!(servers.url("capi"), Some("https://a.example/x?y=1"));
        assert_eq!(servers.url("lab"), Some("https://b.example"));
        assert_eq!(servers.url("capi-stg"), Some(catalog::STAGING_IMAGE_SERVER));
        assert_eq!(servers.to_string(), "https://a.example/x?y=1,lab=https://b.example");
        assert_eq!(servers.to_string().parse::<ImageServers>().unwrap(), servers);
    }

    #[test]
    fn the_default_is_the_project_image_server() {
        let servers: ImageServers = "".parse().unwrap();
        assert_eq!(servers, ImageServers::default());
        assert_eq!(servers.default_url(), catalog::IMAGE_SERVER);
        assert_eq!(servers.to_string(), "");
    }

    #[test]
    fn invalid_server_names_are_refused() {
        for (text, part) in [
            ("http://a.example", "\"http://a.example\""),
            ("https://", "\"https://\""),
            ("a.example", "\"a.example\""),
            ("Lab=https://a.example", "\"Lab\""),
            ("=https://a.example", "\"\""),
        ] {
            let error = text.parse::<ImageServers>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
