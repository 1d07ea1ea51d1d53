//! Estimates the cost of the rules of a schema for one object before they are evaluated.
//!
//! The rule interpreter cannot be stopped. A rule is therefore walked with the actual object: loops
//! over parts of the object are followed item by item, and the sizes of function results are
//! estimated from above. Both branches of conditions count. Kubernetes has a budget too, in other
//! units (`RuntimeCELCostBudget`).

use std::collections::HashMap;

use kube_cel::{
    CompiledSchema,
    cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue},
};
use serde_json::Value;

use super::text::children;
use crate::schema::pattern;

/// Maximum number of steps of all rules for one object, where a step is one evaluation of an
/// expression. About two seconds on a slow machine.
const MAX_STEPS: f64 = 4_000_000.0;
/// Maximum size of a value that a rule may create, in bytes and in items.
const MAX_BYTES: f64 = 16_777_216.0;
const MAX_ITEMS: f64 = 500_000.0;
/// Steps to compile a pattern from the object.
const UNKNOWN_PATTERN: f64 = 200_000.0;

/// The rules take too many steps.
#[derive(Debug, thiserror::Error)]
#[error("its rules take more steps for this object than allowed")]
pub(super) struct TooExpensive;

/// Checks that the rules of a schema can be evaluated for an object.
pub(super) fn check(
    schema: &CompiledSchema,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), TooExpensive> {
    Meter::default().visit(schema, new, old)
}

/// An upper bound of the size of a value.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    items: f64,
    bytes: f64,
}

impl Size {
    const ONE: Self = Self { items: 1.0, bytes: 8.0 };

    fn plus(self, other: Self) -> Self {
        Self { items: self.items + other.items, bytes: self.bytes + other.bytes }
    }

    fn times(self, factor: f64) -> Self {
        Self { items: self.items * factor, bytes: self.bytes * factor }
    }

    fn max(self, other: Self) -> Self {
        Self { items: self.items.max(other.items), bytes: self.bytes.max(other.bytes) }
    }
}

/// What is known about a value.
#[derive(Clone, Copy)]
enum Known<'a> {
    /// It is this part of the object.
    Part(&'a Value),
    Bound(Size),
}

type Scope<'a> = Vec<(&'a str, Known<'a>)>;

#[derive(Default)]
struct Meter {
    steps: f64,
    sizes: HashMap<*const Value, Size>,
}

impl Meter {
    /// Walks like the evaluation: each value with all schemas that apply to it.
    fn visit<'a>(
        &mut self,
        schema: &'a CompiledSchema,
        new: &'a Value,
        old: Option<&'a Value>,
    ) -> Result<(), TooExpensive> {
        // It is converted to a value of the interpreter each time.
        let size = self.size(new).plus(old.map_or(Size::default(), |old| self.size(old)));
        self.spend(1.0 + size.items / 8.0 + size.bytes / 256.0)?;
        let programs = schema.validations.iter().filter_map(|rule| rule.as_ref().ok());
        for program in programs.flat_map(|r| [Some(&r.program), r.message_program.as_ref()]) {
            let Some(program) = program else { continue };
            let old = old.map_or(Known::Bound(Size::ONE), Known::Part);
            let mut scope = vec![("self", Known::Part(new)), ("oldSelf", old)];
            self.evaluate(program.expression(), &mut scope, 1.0)?;
        }
        if let Value::Object(fields) = new {
            for (name, value) in fields {
                let below = schema.properties.get(name).or(schema.additional_properties.as_deref());
                if let Some(below) = below {
                    self.visit(below, value, old.and_then(|old| old.get(name)))?;
                }
            }
        }
        if let (Some(schema), Value::Array(items)) = (&schema.items, new) {
            for (index, item) in items.iter().enumerate() {
                self.visit(schema, item, old.and_then(|old| old.get(index)))?;
            }
        }
        let branches = schema.all_of.iter().chain(&schema.one_of).chain(&schema.any_of);
        for branch in branches {
            self.visit(branch, new, old)?;
        }
        Ok(())
    }

    fn spend(&mut self, steps: f64) -> Result<(), TooExpensive> {
        self.steps += steps;
        if self.steps > MAX_STEPS { Err(TooExpensive) } else { Ok(()) }
    }

    /// Adds the cost of an expression that is evaluated a number of times.
    fn evaluate<'a>(
        &mut self,
        expression: &'a IdedExpr,
        scope: &mut Scope<'a>,
        times: f64,
    ) -> Result<Known<'a>, TooExpensive> {
        self.spend(times)?;
        let known = match &expression.expr {
            Expr::Ident(name) => {
                let found = scope.iter().rev().find(|(known, _)| known == name);
                found.map_or(Known::Bound(Size::ONE), |(_, known)| *known)
            }
            Expr::Literal(LiteralValue::String(text)) => {
                Known::Bound(Size { items: 1.0, bytes: count(text.inner().len()) })
            }
            Expr::Select(select) => match self.evaluate(&select.operand, scope, times)? {
                Known::Part(value) => value.get(&select.field).map_or_else(
                    // The name may be escaped.
                    || Known::Bound(self.size(value)),
                    Known::Part,
                ),
                known => known,
            },
            Expr::Comprehension(loops) => self.go_round(loops, scope, times)?,
            Expr::Call(call) => Known::Bound(self.call(call, scope, times)?),
            other => {
                let mut size = Size::ONE;
                for child in children(other) {
                    let child = self.evaluate(child, scope, times)?;
                    size = size.plus(self.bound(child));
                    size.items += 1.0;
                }
                Known::Bound(size)
            }
        };
        if let Known::Bound(size) = known
            && (size.bytes > MAX_BYTES || size.items > MAX_ITEMS)
        {
            return Err(TooExpensive);
        }
        Ok(known)
    }

    fn go_round<'a>(
        &mut self,
        loops: &'a ComprehensionExpr,
        scope: &mut Scope<'a>,
        times: f64,
    ) -> Result<Known<'a>, TooExpensive> {
        let range = self.evaluate(&loops.iter_range, scope, times)?;
        let start = self.evaluate(&loops.accu_init, scope, times)?;
        let mut result = self.bound(start);
        let second = loops.iter_var2.as_deref().unwrap_or_default();
        let mut round = |meter: &mut Self, item, value, result, times| {
            let depth = scope.len();
            scope.push((&loops.iter_var, item));
            scope.push((second, value));
            scope.push((&loops.accu_var, Known::Bound(result)));
            meter.evaluate(&loops.loop_cond, scope, times)?;
            let stepped = meter.evaluate(&loops.loop_step, scope, times)?;
            scope.truncate(depth);
            Ok::<_, TooExpensive>(meter.bound(stepped))
        };
        match range {
            Known::Part(Value::Array(items)) => {
                for item in items {
                    let (item, value) = match second {
                        "" => (Known::Part(item), Known::Bound(Size::ONE)),
                        _ => (Known::Bound(Size::ONE), Known::Part(item)),
                    };
                    result = round(self, item, value, result, times)?;
                }
            }
            Known::Part(Value::Object(fields)) => {
                for (name, value) in fields {
                    let name = Size { items: 1.0, bytes: count(name.len()) };
                    result = round(self, Known::Bound(name), Known::Part(value), result, times)?;
                }
            }
            Known::Part(_) => {}
            Known::Bound(size) => {
                let rounds = size.items.max(1.0);
                let item = Known::Bound(size);
                let first = round(self, item, item, result, times * rounds)?;
                let grown = Size {
                    items: (first.items - result.items).max(0.0),
                    bytes: (first.bytes - result.bytes).max(0.0),
                };
                result = result.max(first).plus(grown.times(rounds));
            }
        }
        scope.push((&loops.accu_var, Known::Bound(result)));
        let result = self.evaluate(&loops.result, scope, times);
        scope.pop();
        result
    }

    fn call<'a>(
        &mut self,
        call: &'a CallExpr,
        scope: &mut Scope<'a>,
        times: f64,
    ) -> Result<Size, TooExpensive> {
        let mut sizes = Vec::new();
        for argument in call.target.as_deref().into_iter().chain(&call.args) {
            let known = self.evaluate(argument, scope, times)?;
            sizes.push(self.bound(known));
        }
        let all = sizes.iter().fold(Size::default(), |all, size| all.plus(*size));
        let first = sizes.first().copied().unwrap_or_default();
        let second = sizes.get(1).copied().unwrap_or_default();
        let third = sizes.get(2).copied().unwrap_or_default();
        let (mut work, made) = match call.func_name.as_str() {
            "_&&_"
            | "_||_"
            | "!_"
            | "@not_strictly_false"
            | "has"
            | "size"
            | "-_"
            | "_*_"
            | "_/_"
            | "_%_" => return Ok(Size::ONE),
            "_?_:_" => return Ok(second.max(third)),
            "_[_]" | "_[?_]" | "_?._" | "first" | "last" | "value" | "orValue" => return Ok(all),
            "_+_" if call.args.iter().any(is_number) => return Ok(Size::ONE),
            "_+_" => (all.items / 32.0, all),
            "distinct" | "isSorted" | "sort" | "sum" => (first.items * first.items, first),
            "sets.contains" | "sets.equivalent" | "sets.intersects" => {
                (first.items * second.items, Size::ONE)
            }
            "split" | "findAll" | "flatten" => {
                let items = first.items + first.bytes + 1.0;
                (items, Size { items, bytes: first.bytes + 32.0 * items })
            }
            "join" => {
                let bytes = first.bytes + first.items * second.bytes;
                (first.items, Size { items: 1.0, bytes })
            }
            "replace" => {
                let bytes = (first.bytes + 1.0) * (third.bytes + 1.0);
                (bytes / 16.0, Size { items: 1.0, bytes })
            }
            "lists.range" | "range" => {
                let items = match call.args.first().map(|argument| &argument.expr) {
                    Some(Expr::Literal(LiteralValue::Int(items))) => f64_of(*items.inner()),
                    _ => f64::INFINITY,
                };
                (items, Size { items, bytes: 8.0 * items })
            }
            "format" => (all.items, all.times(4.0)),
            "string" | "bytes" | "base64.encode" | "strings.quote" => (1.0, all.times(8.0)),
            _ => (1.0, all),
        };
        if matches!(call.func_name.as_str(), "matches" | "find" | "findAll") {
            let pattern = call.args.last().map(|argument| &argument.expr);
            let states = match pattern {
                Some(Expr::Literal(LiteralValue::String(text))) => {
                    pattern::cost(text.inner()).map_or(f64::INFINITY, count)
                }
                _ => UNKNOWN_PATTERN,
            };
            work += states / 4.0 + first.bytes * states / 256.0;
        }
        self.spend(times * (work + all.bytes / 64.0 + made.bytes / 64.0))?;
        Ok(made)
    }

    fn bound(&mut self, known: Known<'_>) -> Size {
        match known {
            Known::Part(value) => self.size(value),
            Known::Bound(size) => size,
        }
    }

    /// Returns the size of a part of the object. `items` counts all values in it, since it may be
    /// flattened.
    fn size(&mut self, value: &Value) -> Size {
        let (items, bytes) = match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => return Size::ONE,
            Value::String(text) => return Size { items: 1.0, bytes: count(text.len()) },
            Value::Array(_) | Value::Object(_) => {
                let address = std::ptr::from_ref(value);
                if let Some(size) = self.sizes.get(&address) {
                    return *size;
                }
                let mut size = Size { items: 0.0, bytes: 8.0 };
                match value {
                    Value::Array(values) => {
                        for value in values {
                            size = size.plus(self.size(value));
                        }
                    }
                    Value::Object(fields) => {
                        for (name, value) in fields {
                            size = size.plus(self.size(value));
                            size.bytes += count(name.len());
                        }
                    }
                    _ => {}
                }
                self.sizes.insert(address, size);
                (size.items, size.bytes)
            }
        };
        Size { items, bytes }
    }
}

/// Returns whether an expression is a number, so that its sum with another expression is a number
/// too.
fn is_number(expression: &IdedExpr) -> bool {
    let Expr::Literal(literal) = &expression.expr else { return false };
    matches!(literal, LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_))
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn count(number: usize) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn f64_of(number: i64) -> f64 {
    number as f64
}
