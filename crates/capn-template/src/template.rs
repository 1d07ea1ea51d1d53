//! A template, and what it becomes.

use std::collections::BTreeMap;

use serde::Serialize;
use thiserror::Error;

use crate::substitute::{self, Piece, SyntaxError};
use crate::variable::{self, Description, Kind, WrongValue};

/// A template that was read without errors.
#[derive(Clone, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
    variables: BTreeMap<String, Variable>,
}

/// A variable of a template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Whether it has to be set.
    pub required: bool,
    /// What it is when it is not set or empty; the text in the template, without spaces around.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What its values look like.
    #[serde(serialize_with = "as_text")]
    pub kind: Kind,
    /// What it is for; empty when the template does not say.
    pub description: String,
}

fn as_text<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

/// Values that a template cannot be rendered with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// Variables without a default have no value.
    #[error("{}", not_set(.0))]
    Missing(Vec<Variable>),
    /// Values of the wrong kind.
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
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// With the line of what is no substitution.
    pub fn new(text: &str) -> Result<Self, SyntaxError> {
        let pieces = substitute::parse(text)?;
        let mut described = variable::descriptions(text);
        let variables = substitute::defaults(&pieces)
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
        Ok(Self { pieces, variables })
    }

    /// The variables in order of name.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.variables.values()
    }

    /// The text with all variables replaced. Values of variables that it does not have are left.
    ///
    /// # Errors
    ///
    /// With every variable that has no value, else with every value that is of the wrong kind.
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
        Ok(substitute::evaluate(&self.pieces, &|name| {
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
    fn what_is_missing_is_named_with_its_description() {
        let error = render(&[("KUBERNETES_VERSION", "v1.36.0"), ("NAME", "")]).unwrap_err();
        assert_eq!(error.to_string(), "the variable NAME (Name of it) is not set");
        let error = render(&[]).unwrap_err().to_string();
        assert!(error.starts_with("these variables are not set: KUBERNETES_VERSION ("), "{error}");
    }

    #[test]
    fn wrong_values_are_all_told_at_once() {
        let error = render(&[("KUBERNETES_VERSION", "new"), ("NAME", "a"), ("COUNT", "two")]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "COUNT is `two`, which is not a whole number, as 3; \
             KUBERNETES_VERSION is `new`, which is not a version, as v1.36.2"
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
