//! Admission functions that run in process: what webhooks do on a full Kubernetes.

use std::{borrow::Cow, fmt, sync::Arc};

use serde_json::Value;

/// Bytes of a value that an answer quotes.
const MAX_VALUE: usize = 256;
/// Bytes of a path or a sentence in an answer.
const MAX_TEXT: usize = 600;

/// A function that completes a new object. The second argument is the stored object on update.
type Mutate = Arc<dyn Fn(&mut Value, Option<&Value>) + Send + Sync>;
/// A function that judges a new object. The second argument is the stored object on update.
type Validate = Arc<dyn Fn(&Value, Option<&Value>) -> Result<(), Vec<FieldError>> + Send + Sync>;

/// Defaulting and validation of one kind, on create and update.
///
/// The functions see the object as it would be stored (served version, pruned, defaulted by the
/// schema). They run for the object itself, not for its `status` subresource, must not block and
/// may run more than once for one request (a patch is tried again after a conflict), also for a
/// dry run: they may have no effects.
///
/// Several admissions for one kind run in the order they were given: first all `mutate`, then all
/// `validate`, whose errors are added up.
#[derive(Clone)]
pub struct Admission {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind, as `MachineDeployment`.
    pub kind: String,
    pub(crate) mutate: Option<Mutate>,
    pub(crate) validate: Option<Validate>,
}

impl Admission {
    /// An admission for a kind that does nothing yet.
    #[must_use]
    pub fn new(group: impl Into<String>, kind: impl Into<String>) -> Self {
        Self { group: group.into(), kind: kind.into(), mutate: None, validate: None }
    }

    /// Completes new and changed objects. Errors of shape are left to `validate`.
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

    /// Refuses wrong objects: the request fails with 422 `Invalid` and one cause for each error.
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

/// What is wrong with a field, in the words of Kubernetes' `field.Error`.
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
    /// The value is in the list already.
    Duplicate,
    /// The value has the wrong JSON type.
    TypeInvalid,
    /// The value is longer than allowed.
    TooLong,
    /// There are more items than allowed.
    TooMany,
    /// The value names something that is not there.
    NotFound,
}

impl FieldErrorKind {
    /// The `reason` of a `StatusCause`.
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

    /// The words before the value in a message.
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

/// One wrong field of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Path, as `spec.template.spec.version` or `spec.rules[2].name`.
    pub field: String,
    /// What is wrong with it.
    pub kind: FieldErrorKind,
    /// The value, where it helps.
    pub value: Option<Value>,
    /// A sentence for people.
    pub message: String,
}

impl FieldError {
    /// A field whose value is not allowed.
    pub fn invalid(field: impl Into<String>, value: Value, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            kind: FieldErrorKind::Invalid,
            value: Some(value),
            message: message.into(),
        }
    }

    /// A field that has to be set.
    pub fn required(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::plain(field, FieldErrorKind::Required, message)
    }

    /// A field that may not be set or changed.
    pub fn forbidden(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::plain(field, FieldErrorKind::Forbidden, message)
    }

    /// An error without a value.
    pub fn plain(
        field: impl Into<String>,
        kind: FieldErrorKind,
        message: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), kind, value: None, message: message.into() }
    }

    /// The path, as answers write it.
    pub(crate) fn place(&self) -> Cow<'_, str> {
        if self.field.is_empty() { "<root>".into() } else { short(&self.field) }
    }

    /// The message of a `StatusCause`: everything but the path.
    pub(crate) fn cause(&self) -> String {
        let mut text = self.kind.words().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            // A value can be a whole object; the path already says which one.
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

/// A text of an answer, cut where it is long: what is wrong in an object may be as long as it.
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
