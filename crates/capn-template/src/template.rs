//! Templates and their rendering.

use std::collections::BTreeMap;

use serde::Serialize;
use thiserror::Error;

use crate::substitute::{self, Segment, SyntaxError};
use crate::variable::{self, Description, Kind, WrongValue};

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    segments: Vec<Segment>,
    variables: BTreeMap<String, Variable>,
}

/// A variable of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Name.
    pub name: String,
    /// Whether it must be set.
    pub required: bool,
    /// Value if it is empty or not set, as written in the template and trimmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Type of its values.
    #[serde(serialize_with = "as_text")]
    pub kind: Kind,
    /// Description; may be empty.
    pub description: String,
}

fn as_text<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

/// Error while rendering a template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// Variables without a default have no value.
    #[error("{}", not_set(.0))]
    Missing(Vec<Variable>),
    /// Values have the wrong type.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Wrong(Vec<WrongValue>),
}

fn not_set(missing: &[Variable]) -> String {
    let shown: Vec<String> = missing
        .iter()
        .map(|variable| match variable.description.as_str() {
            "" => variable.name.clone(),
            description => {
                format!("{} ({})", variable.name, description.trim_end_matches('.'))
            }
        })
        .collect();
    match shown.as_slice() {
        [one] => format!("the variable {one} is not set"),
        many => format!("these variables are not set: {}", many.join(", ")),
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    ///
    /// [`SyntaxError`] with the line of the invalid substitution.
    pub fn new(text: &str) -> Result<Self, SyntaxError> {
        let segments = substitute::parse(text)?;
        let mut described = variable::descriptions(text);
        let variables = substitute::defaults(&segments)
            .into_iter()
            .map(|(name, default)| {
                let Description { kind, text } = described
                    .remove(&name)
                    .or_else(|| variable::well_known(&name))
                    .unwrap_or_default();
                let variable = Variable {
                    name: name.clone(),
                    required: default.is_none(),
                    default: default.map(|text| text.trim().to_owned()),
                    kind,
                    description: text,
                };
                (name, variable)
            })
            .collect();
        Ok(Self { segments, variables })
    }

    /// Returns the variables, ordered by name.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.variables.values()
    }

    /// Renders the template. Values of unknown variables are ignored.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Missing`] with all variables without a value, else [`TemplateError::Wrong`]
    /// with all invalid values.
    pub fn render(&self, values: &BTreeMap<String, String>) -> Result<String, TemplateError> {
        let given = |variable: &Variable| values.get(&variable.name).map(String::as_str);
        let missing: Vec<Variable> = self
            .variables()
            .filter(|variable| variable.required && given(variable).is_none_or(str::is_empty))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(TemplateError::Missing(missing));
        }
        let wrong: Vec<WrongValue> = self
            .variables()
            .filter_map(|variable| {
                let value = given(variable).filter(|value| !value.is_empty())?;
                variable.kind.check(&variable.name, value).err()
            })
            .collect();
        if !wrong.is_empty() {
            return Err(TemplateError::Wrong(wrong));
        }
        Ok(substitute::evaluate(&self.segments, &|name| {
            let variable = self.variables.get(name)?;
            Some(variable.kind.plain(given(variable)?))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "## NAME (text): Name of it.\n## COUNT (count): How many.\n\
                        name: ${NAME}\ncount: ${COUNT:=1}\nversion: ${KUBERNETES_VERSION}\n\
                        target: >-\n  ${TARGET:= }\n";

    fn render(values: &[(&str, &str)]) -> Result<String, TemplateError> {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Template::new(TEXT).unwrap().render(&values.collect())
    }

    #[test]
    fn variables_have_kinds_defaults_and_descriptions() {
        let template = Template::new(TEXT).unwrap();
        let shown = serde_json::to_value(template.variables().collect::<Vec<_>>()).unwrap();
        assert_eq!(
            shown,
            serde_json::json!([
                { "name": "COUNT", "required": false, "default": "1", "kind": "count", "description": "How many." },
                { "name": "KUBERNETES_VERSION", "required": true, "kind": "version", "description": "Kubernetes version of the machines" },
                { "name": "NAME", "required": true, "kind": "text", "description": "Name of it." },
                { "name": "TARGET", "required": false, "default": "", "kind": "text", "description": "" },
            ])
        );
    }

    #[test]
    fn missing_variables_are_named_with_their_description() {
        let error = render(&[("KUBERNETES_VERSION", "v1.36.0"), ("NAME", "")]).unwrap_err();
        assert_eq!(error.to_string(), "the variable NAME (Name of it) is not set");
        let error = render(&[]).unwrap_err().to_string();
        assert!(error.starts_with("these variables are not set: KUBERNETES_VERSION ("), "{error}");
    }

    #[test]
    fn all_invalid_values_are_reported_together() {
        let error = render(&[("KUBERNETES_VERSION", "new"), ("NAME", "a"), ("COUNT", "two")]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "COUNT is `two`, which is not a whole number such as 3; \
             KUBERNETES_VERSION is `new`, which is not a version such as v1.36.2"
        );
    }

    #[test]
    fn an_empty_value_is_the_default() {
        let values = [("KUBERNETES_VERSION", "v1.36.0"), ("NAME", "a"), ("COUNT", "")];
        let text = render(&values).unwrap();
        let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let expected =
            serde_json::json!({"name": "a", "count": 1, "version": "v1.36.0", "target": ""});
        assert_eq!(value, expected);
        let text = render(&[&values[..], &[("TARGET", "\"@gpu\"")]].concat()).unwrap();
        let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(value["target"], "@gpu");
    }
}
