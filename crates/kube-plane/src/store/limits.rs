//! Limits of objects before they are stored: depth, size and number of values, regardless of their
//! origin.
//!
//! Code that walks an object recurses, and parsers of stored JSON stop at a depth of 128. Nothing
//! deeper is therefore ever built: parsers of bodies count while they read ([`Tally`]), patches
//! count while they are applied, and objects are measured here before they are stored.

use serde_json::Value;

use crate::status::ApiError;

/// Maximum size of an object, as JSON in bytes; as in etcd by default.
pub(crate) const MAX_BYTES: usize = 3 * 512 * 1024;

/// Maximum size of a request body, in bytes. A patch or an object in YAML may be somewhat larger
/// than the resulting object.
pub(crate) const MAX_BODY: usize = 2 * MAX_BYTES;

/// Maximum nesting of objects and lists.
const MAX_DEPTH: usize = 100;

/// `managedFields` are deeper than the fields they describe, by their own position in the object.
const MANAGED_DEPTH: usize = 8;

/// Maximum weight of an object in memory: a value counts 1, an object [`MAP_WEIGHT`].
const MAX_WEIGHT: usize = 200_000;

/// An object with one field allocates space for eleven.
const MAP_WEIGHT: usize = 8;

/// Space for what the server adds to an object at the limit, so that it can still be deleted, in
/// bytes.
const SERVER_ALLOWANCE: usize = 16 * 1024;

/// Limits of one value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) depth: usize,
    weight: usize,
    bytes: usize,
}

impl Limits {
    /// An object from a client.
    pub(crate) const OBJECT: Self = Self { depth: MAX_DEPTH, weight: MAX_WEIGHT, bytes: MAX_BYTES };
    /// The body of a request, which may consist of one text.
    pub(crate) const BODY: Self = Self { bytes: MAX_BODY, ..Self::OBJECT };
    /// The operations of a JSON patch: many small values.
    pub(crate) const OPERATIONS: Self =
        Self { depth: MAX_DEPTH + 2, weight: 2 * MAX_WEIGHT, bytes: MAX_BODY };
    /// A stored object.
    const STORED: Self =
        Self { depth: MAX_DEPTH, weight: MAX_WEIGHT + 1000, bytes: MAX_BYTES + SERVER_ALLOWANCE };
}

/// The exceeded limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitExceeded {
    #[error("objects and lists are nested deeper than {0} levels")]
    Depth(usize),
    #[error("it has more than {0} values (an object counts as {MAP_WEIGHT})")]
    Weight(usize),
    #[error("it is larger than {0} bytes")]
    Bytes(usize),
}

impl From<LimitExceeded> for ApiError {
    fn from(error: LimitExceeded) -> Self {
        match error {
            LimitExceeded::Bytes(limit) => Self::too_large(limit),
            LimitExceeded::Weight(_) => Self::too_much(&error.to_string()),
            LimitExceeded::Depth(_) => {
                Self::bad_request(format!("the object is rejected: {error}"))
            }
        }
    }
}

/// Counts the parts of a value, and reports an exceeded limit.
#[derive(Debug)]
pub(crate) struct Tally {
    limits: Limits,
    weight: usize,
    bytes: usize,
}

impl Tally {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, weight: 0, bytes: 0 }
    }

    /// A value that is not an object.
    pub(crate) fn value(&mut self) -> Result<(), LimitExceeded> {
        self.add_weight(1)
    }

    /// A list at a depth, where the root is at 1.
    pub(crate) fn list(&mut self, depth: usize) -> Result<(), LimitExceeded> {
        self.check_depth(depth)?;
        self.add_weight(1)
    }

    /// An object at a depth, where the root is at 1.
    pub(crate) fn map(&mut self, depth: usize) -> Result<(), LimitExceeded> {
        self.check_depth(depth)?;
        self.add_weight(MAP_WEIGHT)
    }

    /// A text, or the name of a field.
    pub(crate) fn text(&mut self, bytes: usize) -> Result<(), LimitExceeded> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes {
            return Err(LimitExceeded::Bytes(self.limits.bytes));
        }
        Ok(())
    }

    fn check_depth(&self, depth: usize) -> Result<(), LimitExceeded> {
        if depth > self.limits.depth {
            return Err(LimitExceeded::Depth(self.limits.depth));
        }
        Ok(())
    }

    fn add_weight(&mut self, weight: usize) -> Result<(), LimitExceeded> {
        self.weight += weight;
        if self.weight > self.limits.weight {
            return Err(LimitExceeded::Weight(self.limits.weight));
        }
        Ok(())
    }

    /// A whole value at a depth. Stops at the first exceeded limit, and never goes deeper.
    fn walk(&mut self, value: &Value, depth: usize) -> Result<(), LimitExceeded> {
        match value {
            Value::Object(fields) => {
                self.map(depth)?;
                for (name, value) in fields {
                    self.text(name.len())?;
                    self.walk(value, depth + 1)?;
                }
                Ok(())
            }
            Value::Array(items) => {
                self.list(depth)?;
                items.iter().try_for_each(|item| self.walk(item, depth + 1))
            }
            Value::String(text) => {
                self.value()?;
                self.text(text.len())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => self.value(),
        }
    }
}

/// Checks an object from a client. Returns its size in bytes.
pub(crate) fn check_object(object: &Value) -> Result<usize, LimitExceeded> {
    measure(object, Limits::OBJECT)
}

/// Checks an object just before it is stored, regardless of its origin, or a change that must be
/// possible for an object at the limit, such as the removal of a finalizer. Returns its size in
/// bytes.
pub(crate) fn check_stored(object: &Value) -> Result<usize, LimitExceeded> {
    measure(object, Limits::STORED)
}

fn measure(object: &Value, limits: Limits) -> Result<usize, LimitExceeded> {
    let mut tally = Tally::new(limits);
    match object {
        Value::Object(fields) => {
            tally.map(1)?;
            for (name, value) in fields {
                tally.text(name.len())?;
                match value {
                    Value::Object(fields) if name == "metadata" => {
                        metadata(&mut tally, fields)?;
                    }
                    value => tally.walk(value, 2)?,
                }
            }
        }
        value => tally.walk(value, 1)?,
    }
    let bytes = json_length(object);
    if bytes > limits.bytes { Err(LimitExceeded::Bytes(limits.bytes)) } else { Ok(bytes) }
}

fn metadata(
    tally: &mut Tally,
    fields: &serde_json::Map<String, Value>,
) -> Result<(), LimitExceeded> {
    tally.map(2)?;
    for (name, value) in fields {
        tally.text(name.len())?;
        let depth = tally.limits.depth;
        if name == "managedFields" {
            tally.limits.depth += MANAGED_DEPTH;
        }
        let walked = tally.walk(value, 3);
        tally.limits.depth = depth;
        walked.map_err(|error| match error {
            LimitExceeded::Depth(_) => LimitExceeded::Depth(depth),
            error => error,
        })?;
    }
    Ok(())
}

/// Size of a value as JSON, in bytes. The value must not be deep.
pub(crate) fn json_length(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        // A `Value` always serializes.
        Err(_) => usize::MAX,
    }
}

/// Depth of a value, up to `limit`; a scalar has depth 0. Adds the number of visited values to
/// `visited`.
pub(crate) fn depth(
    value: &Value,
    limit: usize,
    visited: &mut usize,
) -> Result<usize, LimitExceeded> {
    fn deepest<'a>(
        mut values: impl Iterator<Item = &'a Value>,
        limit: usize,
        visited: &mut usize,
    ) -> Result<usize, LimitExceeded> {
        let rest = limit.checked_sub(1).ok_or(LimitExceeded::Depth(MAX_DEPTH))?;
        let below = values
            .try_fold(0, |deepest: usize, value| Ok(deepest.max(depth(value, rest, visited)?)))?;
        Ok(below + 1)
    }
    *visited += 1;
    match value {
        Value::Object(fields) => deepest(fields.values(), limit, visited),
        Value::Array(items) => deepest(items.iter(), limit, visited),
        _ => Ok(0),
    }
}

/// Depth of a JSON text, without parsing it.
pub(super) fn text_depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Maximum depth of stored JSON. Parsers with the usual limit of 128 must be able to read it inside
/// a list or a watch event.
pub(super) const MAX_TEXT_DEPTH: usize = MAX_DEPTH + MANAGED_DEPTH + 4;

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
