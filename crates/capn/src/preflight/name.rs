//! Validation of cluster names.

use crate::error::CommandError;
use crate::manifest::request::MAX_CLUSTER_NAME;

/// Validates a cluster name. It is a prefix of instance names, so it must be a lowercase DNS label
/// (RFC 1123) that begins with a letter and leaves room for a suffix.
///
/// # Errors
///
/// Returns a usage error with the violated rule, and a similar valid name if there is one.
pub fn cluster_name(name: &str) -> Result<(), CommandError> {
    let problem = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > MAX_CLUSTER_NAME {
        format!(
            "it has {} characters; the limit is {MAX_CLUSTER_NAME}, since instance names are limited to 63",
            name.len()
        )
    } else if let Some(wrong) =
        name.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-'))
    {
        format!("`{wrong}` is not a lowercase letter, digit or `-`")
    } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        "it does not begin with a letter".to_owned()
    } else if name.ends_with('-') {
        "it ends with `-`".to_owned()
    } else {
        return Ok(());
    };
    let error = CommandError::usage(format!("`{name}` is not a valid cluster name: {problem}"));
    Err(match suggestion(name) {
        Some(better) => error.hint(format!("try `{better}`")),
        None => error,
    })
}

fn suggestion(name: &str) -> Option<String> {
    let mapped: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .collect();
    let start = mapped.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let cut: String = start.chars().take(MAX_CLUSTER_NAME).collect();
    let better = cut.trim_end_matches('-');
    (!better.is_empty() && better != name).then(|| better.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn dns_labels_are_accepted() {
        for name in ["demo", "a", "lab-1", &"a".repeat(MAX_CLUSTER_NAME)] {
            assert!(cluster_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn invalid_names_are_a_usage_error_with_a_suggestion() {
        let cases = [
            ("", None),
            ("Demo", Some("demo")),
            ("my_lab", Some("my-lab")),
            ("1st", Some("st")),
            ("lab-", Some("lab")),
            ("-", None),
            ("a.b", Some("a-b")),
        ];
        for (name, better) in cases {
            let error = cluster_name(name).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage, "{name}");
            let text = error.render(|_, text| text.to_owned());
            match better {
                Some(better) => assert!(text.contains(&format!("try `{better}`")), "{text}"),
                None => assert!(!text.contains("try `"), "{text}"),
            }
        }
        assert!(cluster_name(&"a".repeat(MAX_CLUSTER_NAME + 1)).is_err());
    }
}
