//! Stored objects as a version shows them.

use bytes::Bytes;
use serde_json::Value;

use super::{Form, Resource, SchemaSource};
use crate::{
    events,
    schema::{default, prune},
    store::{Object, Unreadable},
};

impl Resource {
    /// The JSON of an object in this version, pruned and defaulted by the present schema.
    ///
    /// The bytes are the stored ones where nothing has to change, which is nearly always.
    pub(crate) fn present(&self, object: &Object) -> Result<Bytes, Unreadable> {
        object.check()?;
        if self.is_as_stored(object) {
            return Ok(object.raw.clone());
        }
        let stored = object.value()?;
        let mut value = stored.clone();
        self.convert(&mut value);
        if self.form == Form::Same && value == stored {
            object.agree_with(self.schema_id);
            return Ok(object.raw.clone());
        }
        // A Value always becomes JSON.
        Ok(serde_json::to_vec(&value).map_or_else(|_| object.raw.clone(), Bytes::from))
    }

    /// As [`Resource::present`], as a value.
    pub(crate) fn present_value(&self, object: &Object) -> Result<Value, Unreadable> {
        let mut value = object.value()?;
        if !self.is_as_stored(object) {
            self.convert(&mut value);
        }
        Ok(value)
    }

    fn is_as_stored(&self, object: &Object) -> bool {
        self.form == Form::Same
            && (object.agrees_with(self.schema_id)
                || !matches!(self.source, SchemaSource::Definition(..)))
    }

    /// From the stored form to this version.
    fn convert(&self, value: &mut Value) {
        match self.form {
            Form::Same => {}
            Form::Version => value["apiVersion"] = self.api_version().into(),
            Form::EventsV1 => return events::from_core(value),
        }
        let schema = &self.compiled().schema;
        prune(schema, value);
        default(schema, value);
    }

    /// From this version to the stored form.
    pub(crate) fn to_stored(&self, value: &mut Value) {
        match self.form {
            Form::Same => {}
            Form::Version => value["apiVersion"] = (*self.storage_api_version).into(),
            Form::EventsV1 => events::to_core(value),
        }
    }
}
