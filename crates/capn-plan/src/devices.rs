//! Device strings of a manifest: `name,key=value,key=value`.

use incus_api::{Config, Devices};
use thiserror::Error;

/// Invalid device string. Final: the manifest must change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// There is no name before the first comma.
    #[error("device {entry:?} does not begin with a name")]
    NoName {
        /// The whole string.
        entry: String,
    },
    /// There is nothing after the name.
    #[error("device {entry:?} has a name but no settings")]
    NoSettings {
        /// The whole string.
        entry: String,
    },
    /// A part is not `key=value`.
    #[error("device {entry:?} contains {part:?}, expected key=value")]
    NotKeyValue {
        /// The whole string.
        entry: String,
        /// The invalid part.
        part: String,
    },
}

impl DeviceError {
    /// Returns what the user can do.
    pub fn hint(&self) -> &'static str {
        "write devices as \"eth0,type=nic,network=my-network\""
    }
}

/// Parses device strings. Several strings for one device are merged; the last value of a key wins.
///
/// # Errors
///
/// [`DeviceError`] for the first string that is not `name,key=value,…`.
pub fn parse(entries: &[String]) -> Result<Devices, DeviceError> {
    let mut devices = Devices::new();
    for entry in entries {
        let (name, settings) = split(entry)?;
        devices.entry(name).or_default().extend(settings);
    }
    Ok(devices)
}

fn split(entry: &str) -> Result<(String, Config), DeviceError> {
    let mut parts = entry.split(',');
    let name = parts.next().unwrap_or_default().trim();
    if name.is_empty() || name.contains('=') {
        return Err(DeviceError::NoName { entry: entry.to_owned() });
    }
    let mut settings = Config::new();
    for part in parts {
        let (key, value) =
            part.split_once('=').filter(|(key, _)| !key.trim().is_empty()).ok_or_else(|| {
                DeviceError::NotKeyValue { entry: entry.to_owned(), part: part.to_owned() }
            })?;
        settings.insert(key.trim().to_owned(), value.to_owned());
    }
    if settings.is_empty() {
        return Err(DeviceError::NoSettings { entry: entry.to_owned() });
    }
    Ok((name.to_owned(), settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(entries: &[&str]) -> Result<Devices, DeviceError> {
        parse(&entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn several_strings_for_one_device_are_merged() {
        let devices = parsed(&[
            "eth0,type=nic,network=a",
            "root,type=disk,path=/",
            "eth0,network=b,mtu=1400",
        ])
        .unwrap();
        assert_eq!(devices.len(), 2);
        let eth0: Vec<_> = devices["eth0"].iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(eth0, ["mtu=1400", "network=b", "type=nic"]);
    }

    #[test]
    fn a_value_may_hold_an_equals_sign_or_be_empty() {
        let devices = parsed(&["d,a=b=c,e="]).unwrap();
        assert_eq!((devices["d"]["a"].as_str(), devices["d"]["e"].as_str()), ("b=c", ""));
    }

    #[test]
    fn an_invalid_device_is_rejected_with_its_text() {
        for bad in ["", ",type=nic", "type=nic,a=b", "eth0", "eth0,", "eth0,nic", "eth0,=x"] {
            let error = parsed(&[bad]).unwrap_err().to_string();
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
    }
}
