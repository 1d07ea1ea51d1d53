//! Custom haproxy configuration as a Go template.

use std::collections::{BTreeMap, HashMap};

use capn_text::template::{self, LimitExceeded};
use gtmpl_ng::{Context, ExecError, FuncError, ParseError, Value};
use thiserror::Error;

use super::Haproxy;

/// Value of a missing map key, in Go and here.
const NO_VALUE: &str = "<no value>";
/// Weight of each control plane.
const WEIGHT: i64 = 100;

/// A Go template that parsed without errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

/// Unusable template. Final: the manifest must change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// It is longer, deeper or more expensive than the limits allow.
    #[error(transparent)]
    TooMuch(#[from] LimitExceeded),
    /// It is not a valid Go template.
    #[error("{}{problem}", at(*line))]
    Parse {
        /// Line in the template, starting at 1. 0 if unknown.
        line: usize,
        /// The problem.
        problem: String,
    },
    /// It cannot be rendered.
    #[error("{}{problem}", at(*line))]
    Render {
        /// Line in the template, starting at 1. 0 if unknown.
        line: usize,
        /// The problem.
        problem: String,
    },
    /// It reads a map key that does not exist.
    #[error("line {line} of the rendered text contains {NO_VALUE:?}: a map key does not exist")]
    NoValue {
        /// Line of the rendered text, starting at 1.
        line: usize,
    },
}

fn at(line: usize) -> String {
    if line == 0 { String::new() } else { format!("line {line}: ") }
}

impl TemplateError {
    /// Returns what the user can do.
    pub fn hint(&self) -> &'static str {
        "a template can use .FrontendControlPlanePort, .BackendControlPlanePort, .IPv6, .BackendServers (by name, each with .Address and .Weight), and the function JoinHostPort"
    }
}

impl Template {
    /// Parses a template and renders it with two example control planes.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] with the line, if the template is invalid or uses undefined values.
    pub fn new(text: &str) -> Result<Self, TemplateError> {
        let template = Self(text.to_owned());
        for (ipv6, addresses) in [(false, ["192.0.2.1", "192.0.2.2"]), (true, ["::1", "::2"])] {
            let backends = addresses
                .iter()
                .enumerate()
                .filter_map(|(n, ip)| Some((format!("control-plane-{n}"), ip.parse().ok()?)))
                .collect();
            let sample = Haproxy {
                frontend_port: 6443,
                backend_port: 6443,
                ipv6,
                backends,
                check: super::Check::Healthz,
                template: Some(template.clone()),
            };
            template.render(&sample)?;
        }
        Ok(template)
    }

    /// Renders the configuration.
    pub(super) fn render(&self, haproxy: &Haproxy) -> Result<String, TemplateError> {
        let mut engine = template::engine(&self.0)?;
        engine.add_func("JoinHostPort", join_host_port);
        engine.parse(self.0.as_str()).map_err(|error| parse_error(&error))?;
        let text = engine.render(&Context::from(inputs(haproxy))).map_err(|e| render_error(&e))?;
        match text.lines().position(|line| line.contains(NO_VALUE)) {
            Some(index) => Err(TemplateError::NoValue { line: index + 1 }),
            None => Ok(text),
        }
    }
}

/// Returns the values that a template can use, named as in the Go provider.
fn inputs(haproxy: &Haproxy) -> Value {
    let servers: BTreeMap<_, _> = haproxy
        .backends
        .iter()
        .map(|(name, address)| {
            let server = HashMap::from([
                ("Address".to_owned(), Value::from(address.to_string())),
                ("Weight".to_owned(), Value::from(WEIGHT)),
            ]);
            (name.clone(), Value::Object(server))
        })
        .collect();
    Value::Object(HashMap::from([
        ("FrontendControlPlanePort".to_owned(), Value::from(haproxy.frontend_port.to_string())),
        ("BackendControlPlanePort".to_owned(), Value::from(haproxy.backend_port.to_string())),
        ("BackendServers".to_owned(), Value::Map(servers.into_iter().collect())),
        ("IPv6".to_owned(), Value::from(haproxy.ipv6)),
    ]))
}

/// Implements Go's `net.JoinHostPort`.
fn join_host_port(arguments: &[Value]) -> Result<Value, FuncError> {
    match arguments {
        [Value::String(host), Value::String(port)] if host.contains(':') => {
            Ok(Value::from(format!("[{host}]:{port}")))
        }
        [Value::String(host), Value::String(port)] => Ok(Value::from(format!("{host}:{port}"))),
        [_, _] => {
            Err(FuncError::Generic("JoinHostPort takes a host and a port, both as strings".into()))
        }
        _ => Err(FuncError::ExactlyXArgs("JoinHostPort".into(), 2)),
    }
}

fn parse_error(error: &ParseError) -> TemplateError {
    match error {
        ParseError::WithContext(context, message) => {
            TemplateError::Parse { line: context.line, problem: message.trim().to_owned() }
        }
        other => TemplateError::Parse { line: 0, problem: other.to_string() },
    }
}

fn render_error(error: &ExecError) -> TemplateError {
    match error.as_structured() {
        Some(found) => {
            TemplateError::Render { line: found.context.line, problem: found.message.clone() }
        }
        None => TemplateError::Render { line: 0, problem: error.to_string() },
    }
}

#[cfg(test)]
mod tests;
