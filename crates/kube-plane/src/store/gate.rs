//! The gate before the store: how deep, how large and how manifold an object may be, however it was
//! made.
//!
//! Everything that walks an object recurses, and everything that reads stored JSON gives up at a
//! depth of 128. So nothing deeper than that is ever built: readers of bodies count while they read
//! ([`Tally`]), patches while they are applied, and what is to be stored is measured here.

use serde_json::Value;

use crate::status::ApiError;

/// The largest object that is accepted, in bytes of JSON; as etcd's default.
pub(crate) const MAX_BYTES: usize = 3 * 512 * 1024;

/// The largest body of a request, in bytes. A patch or an object in YAML may be a little larger than
/// the object it leads to.
pub(crate) const MAX_BODY: usize = 2 * MAX_BYTES;

/// Objects and lists in each other, at most.
const MAX_DEPTH: usize = 100;

/// `managedFields` are deeper than the fields they speak of: by their own place in the object.
const MANAGED_DEPTH: usize = 8;

/// What an object weighs in memory, at most: a value counts 1, an object [`MAP_WEIGHT`].
const MAX_WEIGHT: usize = 200_000;

/// Even an object with one field has room for eleven.
const MAP_WEIGHT: usize = 8;

/// What the server itself adds to an object that is at a limit, so that it can still be deleted.
const ROOM: usize = 16 * 1024;

/// What one value may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) depth: usize,
    weight: usize,
    bytes: usize,
}

impl Limits {
    /// An object as a client wants it.
    pub(crate) const OBJECT: Self = Self { depth: MAX_DEPTH, weight: MAX_WEIGHT, bytes: MAX_BYTES };
    /// The body of a request. Its texts may be all of it.
    pub(crate) const BODY: Self = Self { bytes: MAX_BODY, ..Self::OBJECT };
    /// The operations of a JSON patch: many small values.
    pub(crate) const OPERATIONS: Self =
        Self { depth: MAX_DEPTH + 2, weight: 2 * MAX_WEIGHT, bytes: MAX_BODY };
    /// An object as it is stored.
    const STORED: Self =
        Self { depth: MAX_DEPTH, weight: MAX_WEIGHT + 1000, bytes: MAX_BYTES + ROOM };
}

/// The limit that a value is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooMuch {
    #[error("objects and lists are nested deeper than {0} levels")]
    Depth(usize),
    #[error("it holds more than {0} values (an object counts as {MAP_WEIGHT})")]
    Weight(usize),
    #[error("it is larger than {0} bytes")]
    Bytes(usize),
}

impl From<TooMuch> for ApiError {
    fn from(error: TooMuch) -> Self {
        match error {
            TooMuch::Bytes(limit) => Self::too_large(limit),
            TooMuch::Weight(_) => Self::too_much(&error.to_string()),
            TooMuch::Depth(_) => Self::bad_request(format!("the object is refused: {error}")),
        }
    }
}

/// Counts what a value is made of, and says when it is too much.
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
    pub(crate) fn value(&mut self) -> Result<(), TooMuch> {
        self.weigh(1)
    }

    /// A list at a depth; the root is at 1.
    pub(crate) fn list(&mut self, depth: usize) -> Result<(), TooMuch> {
        self.deepen(depth)?;
        self.weigh(1)
    }

    /// An object at a depth; the root is at 1.
    pub(crate) fn map(&mut self, depth: usize) -> Result<(), TooMuch> {
        self.deepen(depth)?;
        self.weigh(MAP_WEIGHT)
    }

    /// A text, or the name of a field.
    pub(crate) fn text(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.limits.bytes {
            return Err(TooMuch::Bytes(self.limits.bytes));
        }
        Ok(())
    }

    fn deepen(&self, depth: usize) -> Result<(), TooMuch> {
        if depth > self.limits.depth {
            return Err(TooMuch::Depth(self.limits.depth));
        }
        Ok(())
    }

    fn weigh(&mut self, weight: usize) -> Result<(), TooMuch> {
        self.weight += weight;
        if self.weight > self.limits.weight {
            return Err(TooMuch::Weight(self.limits.weight));
        }
        Ok(())
    }

    /// A whole value at a depth. Stops at the first limit, so that it never goes deeper than that.
    fn walk(&mut self, value: &Value, depth: usize) -> Result<(), TooMuch> {
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

/// Lets an object through that a client wants to be stored; tells its bytes.
pub(crate) fn admit(object: &Value) -> Result<usize, TooMuch> {
    measure(object, Limits::OBJECT)
}

/// The last gate: nothing else is written, whoever made it.
pub(super) fn guard(object: &Value) -> Result<(), TooMuch> {
    measure(object, Limits::STORED).map(drop)
}

fn measure(object: &Value, limits: Limits) -> Result<usize, TooMuch> {
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
    if bytes > limits.bytes { Err(TooMuch::Bytes(limits.bytes)) } else { Ok(bytes) }
}

fn metadata(tally: &mut Tally, fields: &serde_json::Map<String, Value>) -> Result<(), TooMuch> {
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
            TooMuch::Depth(_) => TooMuch::Depth(depth),
            error => error,
        })?;
    }
    Ok(())
}

/// Bytes of a value as JSON. It has to be known not to be deep.
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
        // A value always becomes JSON.
        Err(_) => usize::MAX,
    }
}

/// How deep a value is, if it is at most `limit` deep; a text or number is 0 deep. `seen` counts the
/// values that were looked at.
pub(crate) fn depth(value: &Value, limit: usize, seen: &mut usize) -> Result<usize, TooMuch> {
    fn deepest<'a>(
        mut values: impl Iterator<Item = &'a Value>,
        limit: usize,
        seen: &mut usize,
    ) -> Result<usize, TooMuch> {
        let rest = limit.checked_sub(1).ok_or(TooMuch::Depth(MAX_DEPTH))?;
        let below = values
            .try_fold(0, |deepest: usize, value| Ok(deepest.max(depth(value, rest, seen)?)))?;
        Ok(below + 1)
    }
    *seen += 1;
    match value {
        Value::Object(fields) => deepest(fields.values(), limit, seen),
        Value::Array(items) => deepest(items.iter(), limit, seen),
        _ => Ok(0),
    }
}

/// How deep a JSON text is, without reading it.
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

/// Stored JSON deeper than this cannot be read by those who read it with the usual limit of 128,
/// inside a list or a watch event.
pub(super) const MAX_TEXT_DEPTH: usize = MAX_DEPTH + MANAGED_DEPTH + 4;

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
