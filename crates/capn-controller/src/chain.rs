//! Formats errors for logs and conditions.

use std::error::Error;

use capn_text::display;

/// Formats an error with all its sources, in at most [`display::SERVER_TEXT`] bytes.
///
/// What an API server responded is not quoted, except for the message of a Kubernetes Status: a
/// response that cannot be parsed is described by the position of the problem.
pub fn text(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(link) = next {
        let last = of_response(link);
        next = link.source().filter(|_| last.is_none());
        let said = last.unwrap_or_else(|| link.to_string());
        // Some errors of libraries contain the text of their sources.
        if !text.contains(&said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
    }
    display::text(&text, display::SERVER_TEXT).into_owned()
}

/// Returns the text of an error that would quote the response of an API server, without the quote.
/// Its sources have no more to say.
pub fn of_response(link: &(dyn Error + 'static)) -> Option<String> {
    // Large errors are boxed, and the box is the link then.
    let boxed = link.downcast_ref::<Box<kube::Error>>().map(|boxed| &**boxed);
    match link.downcast_ref::<kube::Error>().or(boxed)? {
        // The library would print it again with all its fields.
        kube::Error::Api(answer) => Some(answer.message.clone()),
        kube::Error::SerdeError(error) => Some(format!(
            "the response is not the expected object (line {}, column {})",
            error.line(),
            error.column()
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot patch Node n")]
    struct Outer(#[source] kube::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read Node n")]
    struct Boxed(#[source] Box<kube::Error>);

    #[test]
    fn a_response_that_cannot_be_parsed_is_not_quoted() {
        let hostile = format!(r#"{{"kind":"hunter2{}"}}"#, "x".repeat(1 << 20));
        let error = serde_json::from_str::<Node>(&hostile).unwrap_err();
        assert!(error.to_string().contains("hunter2"), "the library quotes it");
        let again = serde_json::from_str::<Node>(&hostile).unwrap_err();
        for (text, start) in [
            (text(&Outer(kube::Error::SerdeError(error))), "cannot patch Node n: the response is"),
            (
                text(&Boxed(Box::new(kube::Error::SerdeError(again)))),
                "cannot read Node n: the response is",
            ),
        ] {
            assert!(text.starts_with(start), "{text}");
            assert!(!text.contains("hunter2") && text.len() < 200, "{text}");
        }
    }

    #[test]
    fn long_chains_are_cut() {
        let long = "y".repeat(1 << 20);
        let text = text(&Outer(kube::Error::Service(long.into())));
        assert!(text.len() <= display::SERVER_TEXT, "{}", text.len());
    }
}
