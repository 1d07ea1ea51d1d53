//! JSON patch (RFC 6902), with limits on each operation.
//!
//! A small patch can build a large or deep object, by copying copies or by moving an object into
//! itself repeatedly. The result of an operation is therefore computed before it runs.

use json_patch::{PatchOperation, jsonptr::Pointer};
use serde_json::Value;

use crate::{
    json::{from_json, reason},
    status::{ApiError, Result},
    store::limits::{self, LimitExceeded, Limits},
};

/// Maximum number of operations, as in Kubernetes.
const MAX_OPERATIONS: usize = 10_000;

/// Maximum total size of copied values, in bytes, as in Kubernetes: the size of a body.
const MAX_COPIED: usize = limits::MAX_BODY;

/// Maximum number of values that all operations may move and visit.
const MAX_WORK: usize = 20_000_000;

/// A parsed patch.
#[derive(Debug)]
pub(crate) struct JsonPatch(json_patch::Patch);

impl JsonPatch {
    /// Parses a patch.
    pub(super) fn parse(body: &[u8]) -> Result<Self> {
        let what = "the patch is not valid";
        let (value, _) = from_json(body, Limits::OPERATIONS).map_err(|error| error.answer(what))?;
        if let Some(count) = value.as_array().map(Vec::len)
            && count > MAX_OPERATIONS
        {
            return Err(ApiError::too_much(&format!(
                "the patch has {count} operations, the maximum is {MAX_OPERATIONS}"
            )));
        }
        let patch = serde_json::from_value(value)
            .map_err(|error| ApiError::bad_request(format!("{what}: {}", reason(&error))))?;
        Ok(Self(patch))
    }

    /// Applies all operations. After an error the value must be discarded.
    pub(super) fn apply(&self, value: &mut Value) -> Result<(), PatchError> {
        let mut spent = Cost::default();
        for (index, operation) in self.0.iter().enumerate() {
            spent.charge(value, operation)?;
            json_patch::patch_unsafe(value, std::slice::from_ref(operation)).map_err(|error| {
                PatchError::Operation { index, path: error.path.to_string(), why: error.kind }
            })?;
        }
        Ok(())
    }
}

/// Error of a patch.
#[derive(Debug, thiserror::Error)]
pub(super) enum PatchError {
    #[error("operation {index} at {path} cannot be applied: {why}")]
    Operation { index: usize, path: String, why: json_patch::PatchErrorKind },
    #[error(transparent)]
    LimitExceeded(#[from] LimitExceeded),
    #[error("its operations copy more than {MAX_COPIED} bytes")]
    Copies,
    #[error("its operations move and copy more than {MAX_WORK} values")]
    Work,
}

/// Cost of the operations so far.
#[derive(Default)]
struct Cost {
    copied: usize,
    work: usize,
}

impl Cost {
    /// Rejects an operation that would make the document too large. Operations that cannot be
    /// applied cost nothing and fail later.
    fn charge(&mut self, document: &Value, operation: &PatchOperation) -> Result<(), PatchError> {
        let path = operation.path();
        match operation {
            PatchOperation::Add(add) => self.check_depth(path, &add.value)?,
            PatchOperation::Replace(replace) => self.check_depth(path, &replace.value)?,
            PatchOperation::Copy(copy) => {
                if let Some(source) = document.pointer(copy.from.as_str()) {
                    self.check_depth(path, source)?;
                    self.copied = self.copied.saturating_add(limits::json_length(source));
                    if self.copied > MAX_COPIED {
                        return Err(PatchError::Copies);
                    }
                }
            }
            PatchOperation::Move(from) => {
                self.shift(document, &from.from)?;
                if path.count() > from.from.count()
                    && let Some(source) = document.pointer(from.from.as_str())
                {
                    self.check_depth(path, source)?;
                }
            }
            PatchOperation::Remove(_) | PatchOperation::Test(_) => {}
        }
        self.shift(document, path)
    }

    /// Checks that the value at the path stays within the depth limit.
    fn check_depth(&mut self, path: &Pointer, value: &Value) -> Result<(), PatchError> {
        let limit = Limits::OBJECT.depth;
        let rest = limit.checked_sub(path.count()).ok_or(LimitExceeded::Depth(limit))?;
        let mut seen = 0;
        limits::depth(value, rest, &mut seen)?;
        self.work(seen)
    }

    /// Inserting or removing a list item moves the others.
    fn shift(&mut self, document: &Value, path: &Pointer) -> Result<(), PatchError> {
        let parent = path.parent().and_then(|parent| document.pointer(parent.as_str()));
        self.work(parent.and_then(Value::as_array).map_or(1, Vec::len))
    }

    fn work(&mut self, values: usize) -> Result<(), PatchError> {
        self.work = self.work.saturating_add(values);
        if self.work > MAX_WORK { Err(PatchError::Work) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn apply(value: &mut Value, patch: &Value) -> Result<(), String> {
        let patch = JsonPatch::parse(patch.to_string().as_bytes()).map_err(|e| e.to_string())?;
        patch.apply(value).map_err(|error| error.to_string())
    }

    #[test]
    fn operations_are_applied() {
        let mut value = json!({"a": {"b": [1, 2]}});
        let patch = json!([
            {"op": "test", "path": "/a/b/0", "value": 1},
            {"op": "add", "path": "/a/b/-", "value": 3},
            {"op": "copy", "from": "/a/b", "path": "/c"},
            {"op": "move", "from": "/a/b", "path": "/d"},
            {"op": "remove", "path": "/c/0"},
            {"op": "replace", "path": "/a", "value": "x"},
        ]);
        apply(&mut value, &patch).unwrap();
        assert_eq!(value, json!({"a": "x", "c": [2, 3], "d": [1, 2, 3]}));
        let refused = apply(&mut value, &json!([{"op": "remove", "path": "/none"}])).unwrap_err();
        assert_eq!(refused, "operation 0 at /none cannot be applied: path is invalid");
    }

    /// 900 operations, each of which puts the object into a copy of itself one level deeper.
    #[test]
    fn move_and_copy_cannot_exceed_the_depth_limit() {
        let nest = |depth: usize| "/a".repeat(depth);
        for op in ["move", "copy"] {
            let mut value = json!({"a": {}, "b": {}});
            let mut operations = Vec::new();
            for _ in 0..450 {
                operations.push(json!({"op": "add", "path": "/b/a", "value": {"a": {}}}));
                operations.push(json!({"op": op, "from": "/a", "path": "/b/a/a"}));
                operations.push(json!({"op": op, "from": "/b", "path": "/a"}));
                operations.push(json!({"op": "add", "path": "/b", "value": {}}));
            }
            let refused = apply(&mut value, &operations.into()).unwrap_err();
            assert!(refused.contains("nested deeper than 100 levels"), "{op}: {refused}");
        }
        // Deep values in the operations themselves.
        let mut value = json!({});
        let deep = format!("{}{}", "[".repeat(90), "]".repeat(90));
        let operations = format!(
            r#"[{{"op":"add","path":"/a","value":{}{}}},{{"op":"add","path":"{}","value":{deep}}}]"#,
            r#"{"a":"#.repeat(40) + "{}",
            "}".repeat(40),
            nest(41),
        );
        let patch = JsonPatch::parse(operations.as_bytes()).unwrap();
        let refused = patch.apply(&mut value).unwrap_err().to_string();
        assert!(refused.contains("nested deeper"), "{refused}");
    }

    #[test]
    fn copy_operations_have_a_size_limit() {
        let mut value = json!({"a": ["x".repeat(1000)]});
        let copies: Vec<Value> =
            (0..40).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/-"})).collect();
        let refused = apply(&mut value, &copies.into()).unwrap_err();
        assert!(refused.contains("copy more than"), "{refused}");
        assert!(limits::json_length(&value) < 2 * MAX_COPIED);
    }

    #[test]
    fn json_patches_have_work_limits() {
        let mut value = json!({ "a": vec![0; 100_000] });
        let moves: Vec<Value> =
            (0..9000).map(|_| json!({"op": "move", "from": "/a/0", "path": "/a/1"})).collect();
        assert!(apply(&mut value, &moves.into()).unwrap_err().contains("move and copy more"));
        let many = vec![json!({"op": "test", "path": "", "value": 0}); MAX_OPERATIONS + 1];
        assert!(apply(&mut value, &many.into()).unwrap_err().contains("10001 operations"));
    }

    fn any_operation() -> impl Strategy<Value = Value> {
        let path = || {
            prop::collection::vec("[ab0-]", 0..7).prop_map(|parts| {
                parts.iter().fold(String::new(), |path, part| format!("{path}/{part}"))
            })
        };
        let value = prop_oneof![
            Just(json!({})),
            Just(json!([])),
            Just(json!({"a": {"b": {"a": []}}})),
            Just(json!([[{"a": []}]])),
        ];
        prop_oneof![
            (path(), value)
                .prop_map(|(path, value)| { json!({"op": "add", "path": path, "value": value}) }),
            (path(), path())
                .prop_map(|(from, path)| { json!({"op": "copy", "from": from, "path": path}) }),
            (path(), path())
                .prop_map(|(from, path)| { json!({"op": "move", "from": from, "path": path}) }),
        ]
    }

    proptest! {
        /// Whatever is done, and however often, nothing is deeper or larger than allowed.
        #[test]
        fn arbitrary_patches_stay_within_limits(
            operations in prop::collection::vec(any_operation(), 1..12),
            times in 1usize..40,
        ) {
            let mut value = json!({"a": {"b": [{}, []]}, "b": [[{}]]});
            for operation in operations.iter().cycle().take(operations.len() * times) {
                let patch = JsonPatch(serde_json::from_value(json!([operation])).unwrap());
                let mut next = value.clone();
                if patch.apply(&mut next).is_ok() {
                    prop_assert!(limits::depth(&next, Limits::OBJECT.depth, &mut 0).is_ok());
                    // As the gate does between two patches.
                    if limits::json_length(&next) < 20_000 {
                        value = next;
                    }
                }
            }
        }
    }

    #[test]
    fn a_broken_patch_is_not_quoted() {
        for patch in [
            json!(["hunter2"]),
            json!([{"op": "add", "path": "/data", "value": "hunter2", "from": 1, "op2": 1}, "hunter2"]),
            json!([{"op": "hunter2"}]),
            json!({"op": "hunter2"}),
            json!([{"op": "add", "path": "hunter2"}]),
        ] {
            let refused = JsonPatch::parse(patch.to_string().as_bytes()).unwrap_err().to_string();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
