//! Request bodies in protobuf, which Go clients send for built-in kinds.
//!
//! Supports what clients send to this server: stored kinds, delete options and reviews. Responses
//! are always JSON, which those clients accept.

mod messages;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value};

use self::messages::{FieldType, Message, UNKNOWN, message};
use crate::{
    json::from_json,
    store::limits::{Limits, Tally},
};

/// Content type of protobuf bodies.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";
/// Maximum nesting of messages.
const MAX_DEPTH: usize = 16;

/// Error while decoding a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// It is not Kubernetes protobuf.
    Malformed,
    /// The kind is unknown.
    UnknownKind(String),
}

/// Decodes a body to the equivalent JSON.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    let bytes = bytes.strip_prefix(MAGIC).ok_or(DecodeError::Malformed)?;
    let (envelope, raw) = read_unknown(bytes).ok_or(DecodeError::Malformed)?;
    let kind = crate::json::text(&envelope, &["typeMeta", "kind"]);
    let version = crate::json::text(&envelope, &["typeMeta", "apiVersion"]);
    let Some(message) = message(version, kind) else {
        return Err(DecodeError::UnknownKind(format!("{version} {kind}")));
    };
    let mut tally = Tally::new(Limits::BODY);
    let mut value = read(message, raw, 1, &mut tally).ok_or(DecodeError::Malformed)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("apiVersion".to_owned(), version.into());
        fields.insert("kind".to_owned(), kind.into());
    }
    Ok(value)
}

/// Returns the envelope without its content, and the content.
fn read_unknown(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let envelope = read(&UNKNOWN, bytes, 1, &mut Tally::new(Limits::BODY))?;
    let mut reader = Reader(bytes);
    let mut raw: &[u8] = &[];
    while let Some((number, wire)) = reader.tag()? {
        match (number, wire) {
            (2, 2) => raw = reader.bytes()?,
            (_, wire) => reader.skip(wire)?,
        }
    }
    Some((envelope, raw))
}

fn read(message: &Message, bytes: &[u8], depth: usize, tally: &mut Tally) -> Option<Value> {
    if depth > MAX_DEPTH {
        return None;
    }
    tally.map(depth).ok()?;
    let mut fields = Map::new();
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.tag()? {
        // Two bytes may be a text in a list, which takes more memory than that.
        tally.value().ok()?;
        let Some((_, name, kind)) = message.0.iter().find(|(known, ..)| *known == number) else {
            reader.skip(wire)?;
            continue;
        };
        match (kind, wire) {
            (FieldType::Number, 0) => {
                fields.insert((*name).to_owned(), reader.varint()?.cast_signed().into());
            }
            (FieldType::Bool, 0) => {
                fields.insert((*name).to_owned(), (reader.varint()? != 0).into());
            }
            (FieldType::Text, 2) => {
                let text = std::str::from_utf8(reader.bytes()?).ok()?;
                // Go writes empty texts that JSON omits.
                if !text.is_empty() {
                    fields.insert((*name).to_owned(), text.into());
                }
            }
            (FieldType::Texts, 2) => {
                let text = std::str::from_utf8(reader.bytes()?).ok()?;
                push(&mut fields, name, text.into())?;
            }
            (FieldType::TextMap | FieldType::BytesMap, 2) => {
                let (key, value) = read_entry(reader.bytes()?)?;
                let value = if matches!(kind, FieldType::BytesMap) {
                    BASE64.encode(value)
                } else {
                    std::str::from_utf8(value).ok()?.to_owned()
                };
                let map = fields.entry(*name).or_insert_with(|| Value::Object(Map::new()));
                map.as_object_mut()?.insert(key.to_owned(), value.into());
            }
            (FieldType::Time | FieldType::MicroTime, 2) => {
                let micro = matches!(kind, FieldType::MicroTime);
                if let Some(time) = read_time(reader.bytes()?, micro)? {
                    fields.insert((*name).to_owned(), time.into());
                }
            }
            (FieldType::Json, 2) => {
                let value = read_json(reader.bytes()?)?;
                fields.insert((*name).to_owned(), value);
            }
            (FieldType::Message(message), 2) => {
                let value = read(message, reader.bytes()?, depth + 1, tally)?;
                fields.insert((*name).to_owned(), value);
            }
            (FieldType::Messages(message), 2) => {
                let value = read(message, reader.bytes()?, depth + 1, tally)?;
                push(&mut fields, name, value)?;
            }
            _ => return None,
        }
    }
    Some(Value::Object(fields))
}

fn push(fields: &mut Map<String, Value>, name: &str, value: Value) -> Option<()> {
    let list = fields.entry(name).or_insert_with(|| Value::Array(Vec::new()));
    list.as_array_mut()?.push(value);
    Some(())
}

fn read_entry(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let mut reader = Reader(bytes);
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    while let Some((number, wire)) = reader.tag()? {
        match (number, wire) {
            (1, 2) => key = reader.bytes()?,
            (2, 2) => value = reader.bytes()?,
            (_, wire) => reader.skip(wire)?,
        }
    }
    Some((std::str::from_utf8(key).ok()?, value))
}

/// The inner `None` is the zero time, which JSON omits.
fn read_time(bytes: &[u8], micro: bool) -> Option<Option<String>> {
    let mut reader = Reader(bytes);
    let (mut seconds, mut nanos) = (0, 0);
    while let Some((number, wire)) = reader.tag()? {
        match (number, wire) {
            (1, 0) => seconds = reader.varint()?.cast_signed(),
            (2, 0) => nanos = i32::try_from(reader.varint()?.cast_signed()).ok()?,
            (_, wire) => reader.skip(wire)?,
        }
    }
    if seconds == 0 && nanos == 0 {
        return Some(None);
    }
    let time = jiff::Timestamp::new(seconds, nanos).ok()?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Some(Some(time.strftime(format).to_string()))
}

/// `FieldsV1`: JSON in the first field.
fn read_json(bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader(bytes);
    let mut value = Value::Object(Map::new());
    while let Some((number, wire)) = reader.tag()? {
        match (number, wire) {
            (1, 2) => value = from_json(reader.bytes()?, Limits::OBJECT).ok()?.0,
            (_, wire) => reader.skip(wire)?,
        }
    }
    Some(value)
}

/// Reader of the wire format.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Returns the number and wire type of the next field; the inner `None` is the end.
    fn tag(&mut self) -> Option<Option<(u64, u8)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        Some(Some((tag >> 3, u8::try_from(tag & 7).ok()?)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn skip(&mut self, wire: u8) -> Option<()> {
        match wire {
            0 => self.varint().map(drop),
            1 => self.fixed(8),
            2 => self.bytes().map(drop),
            5 => self.fixed(4),
            _ => None,
        }
    }

    fn fixed(&mut self, length: usize) -> Option<()> {
        let (_, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        field.extend_from_slice(bytes);
        field
    }

    fn body(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC, &field(1, &meta), &field(2, raw), &field(3, b""), &field(4, b"")].concat()
    }

    #[test]
    fn a_secret() {
        let metadata = [
            field(1, b"s"),
            field(2, b""),
            field(8, b""),
            field(11, &[field(1, b"k"), field(2, b"v")].concat()),
            vec![7 << 3, 0],
        ]
        .concat();
        let raw = [
            field(1, &metadata),
            field(2, &[field(1, b"a"), field(2, b"\xff")].concat()),
            field(3, b"Opaque"),
            vec![5 << 3, 1],
        ]
        .concat();
        assert_eq!(
            decode(&body("v1", "Secret", &raw)).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "immutable": true,
                "metadata": {"name": "s", "generation": 0, "labels": {"k": "v"}},
                "data": {"a": "/w=="},
            })
        );
    }

    #[test]
    fn timestamps_keep_their_precision() {
        let time =
            [vec![1 << 3], vec![0x80, 0xe4, 0x97, 0xd0, 0x06], vec![2 << 3, 0xe8, 0x07]].concat();
        let spec = [field(1, b"me"), field(3, &time), vec![5 << 3, 0]].concat();
        let value = decode(&body("coordination.k8s.io/v1", "Lease", &field(2, &spec))).unwrap();
        assert_eq!(value["spec"]["acquireTime"], "2026-05-14T16:02:08.000001Z");
        assert_eq!(value["spec"]["leaseTransitions"], 0);
    }

    #[test]
    fn unknown_kinds_and_malformed_bytes_are_refused() {
        assert_eq!(decode(b"{}"), Err(DecodeError::Malformed));
        assert_eq!(
            decode(&body("v1", "Pod", b"")),
            Err(DecodeError::UnknownKind("v1 Pod".to_owned()))
        );
        assert_eq!(decode(&body("v1", "Secret", &[0x0a, 0x7f])), Err(DecodeError::Malformed));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut with_head = body("v1", "Event", b"");
            with_head.extend(&bytes);
            for bytes in [bytes.clone(), with_head, body("v1", "Secret", &bytes)] {
                if let Ok(value) = decode(&bytes) {
                    prop_assert!(value.is_object());
                }
            }
        }
    }
}
