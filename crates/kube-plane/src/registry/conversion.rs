//! Conversion of stored objects to a served version.

use bytes::Bytes;
use serde_json::Value;

use super::{Form, Resource, SchemaSource};
use crate::{
    events,
    schema::{default, prune},
    store::{Object, Unreadable},
};

impl Resource {
    /// Returns the JSON of an object in this version, pruned and defaulted by the current schema.
    ///
    /// Returns the stored bytes if nothing has to change, which is nearly always the case.
    pub(crate) fn to_served(&self, object: &Object) -> Result<Bytes, Unreadable> {
        object.check()?;
        if self.is_served_as_stored(object) {
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

    /// As [`Resource::to_served`], as a value.
    pub(crate) fn to_served_value(&self, object: &Object) -> Result<Value, Unreadable> {
        let mut value = object.value()?;
        if !self.is_served_as_stored(object) {
            self.convert(&mut value);
        }
        Ok(value)
    }

    /// Returns whether the stored JSON is already that of this version.
    pub(crate) fn is_served_as_stored(&self, object: &Object) -> bool {
        self.form == Form::Same
            && (object.agrees_with(self.schema_id)
                || !matches!(self.source, SchemaSource::Definition(..)))
    }

    /// Converts from the stored form to this version.
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

    /// Converts from this version to the stored form.
    pub(crate) fn to_stored(&self, value: &mut Value) {
        match self.form {
            Form::Same => {}
            Form::Version => value["apiVersion"] = (*self.storage_api_version).into(),
            Form::EventsV1 => events::to_core(value),
        }
    }
}
