//! In-process admission, in place of webhooks.

use std::{borrow::Cow, fmt, sync::Arc};

use serde_json::Value;

/// Maximum size of a value that a response quotes, in bytes.
const MAX_VALUE: usize = 256;
/// Maximum size of a path or a sentence in a response, in bytes.
const MAX_TEXT: usize = 600;

/// A function that defaults a new object. The second argument is the stored object on update.
type Mutate = Arc<dyn Fn(&mut Value, Option<&Value>) + Send + Sync>;
/// A function that validates a new object. The second argument is the stored object on update.
type Validate = Arc<dyn Fn(&Value, Option<&Value>) -> Result<(), Vec<FieldError>> + Send + Sync>;

/// Defaulting and validation of one kind, on create and update.
///
/// The functions see the object as it would be stored: in the served version, pruned, and defaulted
/// by the schema. They run for the object itself, not for its `status` subresource. They must not
/// block and must not have side effects: they may run more than once per request (a patch is
/// retried after a conflict) and also run for a dry run.
///
/// Several admissions of one kind run in the given order: first all `mutate`, then all `validate`,
/// whose errors are combined.
#[derive(Clone)]
pub struct Admission {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind, such as `MachineDeployment`.
    pub kind: String,
    pub(crate) mutate: Option<Mutate>,
    pub(crate) validate: Option<Validate>,
}

impl Admission {
    /// Creates an admission for a kind without any function.
    #[must_use]
    pub fn new(group: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { group: group.into(), kind: kind.into(), mutate: None, validate: None }
    }

    /// Adds a function that defaults new and changed objects. Malformed objects are left to
    /// `validate`.
    #[must_use]
    pub fn mutate(self, mutate: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        self.mutate_with(move |new, _old| mutate(new))
    }

    /// As [`Admission::mutate`], with the stored object on update.
    #[must_use]
    pub fn mutate_with(
        mut self,
        mutate: impl Fn(&mut Value, Option<&Value>) + Send + Sync + 'static,
    ) -> Self {
        self.mutate = Some(Arc::new(mutate));
        self
    }

    /// Adds a function that validates objects. A request with errors fails with 422 `Invalid` and
    /// one cause per error.
    #[must_use]
    pub fn validate(
        mut self,
        validate: impl Fn(&Value, Option<&Value>) -> Result<(), Vec<FieldError>> + Send + Sync + 'static,
    ) -> Self {
        self.validate = Some(Arc::new(validate));
        self
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("group", &self.group)
            .field("kind", &self.kind)
            .field("mutates", &self.mutate.is_some())
            .field("validates", &self.validate.is_some())
            .finish()
    }
}

/// Type of a field error, as in Kubernetes' `field.Error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldErrorKind {
    /// The value is not allowed.
    Invalid,
    /// The value is missing.
    Required,
    /// The field may not be set or changed here.
    Forbidden,
    /// The value is not one of an enumeration.
    NotSupported,
    /// The value is already in the list.
    Duplicate,
    /// The value has the wrong JSON type.
    TypeInvalid,
    /// The value is longer than allowed.
    TooLong,
    /// There are more items than allowed.
    TooMany,
    /// The value refers to something that does not exist.
    NotFound,
}

impl FieldErrorKind {
    /// Returns the `reason` of a `StatusCause`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Invalid => "FieldValueInvalid",
            Self::Required => "FieldValueRequired",
            Self::Forbidden => "FieldValueForbidden",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
        }
    }

    /// Returns the text before the value in a message.
    fn words(self) -> &'static str {
        match self {
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::Required => "Required value",
            Self::Forbidden => "Forbidden",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
        }
    }
}

/// An error of one field of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Path, such as `spec.template.spec.version` or `spec.rules[2].name`.
    pub field: String,
    /// Type of the error.
    pub kind: FieldErrorKind,
    /// The value, if it is useful to show it.
    pub value: Option<Value>,
    /// Message for people.
    pub message: String,
}

impl FieldError {
    /// Creates an error for a field whose value is not allowed.
    pub fn invalid(field: impl Into<String>, value: Value, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            kind: FieldErrorKind::Invalid,
            value: Some(value),
            message: message.into(),
        }
    }

    /// Creates an error for a missing field.
    pub fn required(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::plain(field, FieldErrorKind::Required, message)
    }

    /// Creates an error for a field that may not be set or changed.
    pub fn forbidden(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::plain(field, FieldErrorKind::Forbidden, message)
    }

    /// Creates an error without a value.
    pub fn plain(
        field: impl Into<String>,
        kind: FieldErrorKind,
        message: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), kind, value: None, message: message.into() }
    }

    /// Returns the path as written in responses.
    pub(crate) fn place(&self) -> Cow<'_, str> {
        if self.field.is_empty() { "<root>".into() } else { short(&self.field) }
    }

    /// Returns the message of a `StatusCause`: everything but the path.
    pub(crate) fn cause(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            // A value can be a whole object; the path already identifies it.
            let value = value.to_string();
            let end = value.floor_char_boundary(MAX_VALUE);
            text.push_str(&value[..end]);
            if end < value.len() {
                text.push('…');
            }
        }
        if !self.message.is_empty() {
            text.push_str(": ");
            text.push_str(&short(&self.message));
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.cause())
    }
}

/// Truncates a text for a response, since the text may be as long as the object.
pub(crate) fn short(text: &str) -> Cow<'_, str> {
    let end = text.floor_char_boundary(MAX_TEXT);
    if end < text.len() { format!("{}…", &text[..end]).into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn field_error_reads_like_kubernetes() {
        let error = FieldError::invalid("spec.replicas", json!(-1), "must be at least 0");
        assert_eq!(error.to_string(), "spec.replicas: Invalid value: -1: must be at least 0");
        let error = FieldError::required("spec.name", "");
        assert_eq!(error.to_string(), "spec.name: Required value");
    }

    #[test]
    fn long_values_are_cut() {
        let error = FieldError::invalid("spec", json!("é".repeat(1000)), "too long");
        assert!(error.to_string().chars().count() < 320);
    }
}
