//! Checks of rule texts before parsing: length and nesting.

use kube_cel::cel::{
    Program,
    common::ast::{CallExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, LiteralValue},
};

/// Maximum size of a rule, in bytes.
const MAX_LENGTH: usize = 10_000;
/// Maximum nesting of brackets.
const MAX_NESTING: usize = 48;
/// Maximum nesting of expressions, since rules are walked recursively.
const MAX_DEPTH: usize = 150;
/// Maximum number of items of `lists.range`, and maximum width in `format`. Both must be literals.
const MAX_NUMBER: i64 = 10_000;

/// Checks a rule. Must run on a thread with a large stack.
pub(super) fn check(rule: &str) -> Result<(), String> {
    if rule.len() > MAX_LENGTH {
        return Err(format!("it is longer than {MAX_LENGTH} bytes"));
    }
    if nesting(rule) > MAX_NESTING {
        return Err(format!("its brackets are nested deeper than {MAX_NESTING} levels"));
    }
    let program = Program::compile(rule).map_err(|error| error.to_string())?;
    let mut calls = Vec::new();
    walk(program.expression(), 0, &mut calls)?;
    let has = |names: &[&str]| calls.iter().any(|call| names.contains(&call.func_name.as_str()));
    // A quantity of a few characters may have a text of gigabytes.
    if has(&["quantity"]) && has(&["string", "format"]) {
        return Err("quantities cannot be converted to strings".to_owned());
    }
    calls.into_iter().try_for_each(check_call)
}

/// Returns the nesting of brackets outside of strings.
fn nesting(rule: &str) -> usize {
    let bytes = rule.as_bytes();
    let (mut depth, mut deepest, mut index) = (0usize, 0, 0);
    while let Some(byte) = bytes.get(index) {
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' | b'\'' => {
                let raw = index.checked_sub(1).and_then(|before| bytes.get(before));
                index = after_text(bytes, index, matches!(raw, Some(b'r' | b'R')));
                continue;
            }
            _ => {}
        }
        index += 1;
    }
    deepest
}

/// Returns the index after the string that begins here.
fn after_text(bytes: &[u8], start: usize, raw: bool) -> usize {
    let Some(quote) = bytes.get(start) else { return start };
    let triple = [*quote; 3];
    let end: &[u8] = if bytes[start..].starts_with(&triple) { &triple } else { &triple[..1] };
    let mut index = start + end.len();
    while index < bytes.len() {
        if bytes[index..].starts_with(end) {
            return index + end.len();
        }
        index += if bytes[index] == b'\\' && !raw { 2 } else { 1 };
    }
    index
}

/// Walks a rule and collects its calls.
fn walk<'a>(
    expression: &'a IdedExpr,
    depth: usize,
    calls: &mut Vec<&'a CallExpr>,
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("its expressions are nested deeper than {MAX_DEPTH} levels"));
    }
    if let Expr::Call(call) = &expression.expr {
        calls.push(call);
    }
    children(&expression.expr).into_iter().try_for_each(|child| walk(child, depth + 1, calls))
}

/// Returns the direct subexpressions of an expression.
pub(super) fn children(expression: &Expr) -> Vec<&IdedExpr> {
    match expression {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(loops) => vec![
            &loops.iter_range,
            &loops.accu_init,
            &loops.loop_cond,
            &loops.loop_step,
            &loops.result,
        ],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => values(&map.entries),
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(value) => values(&value.entries),
    }
}

fn values(entries: &[IdedEntryExpr]) -> Vec<&IdedExpr> {
    let values = entries.iter().flat_map(|entry| match &entry.expr {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    });
    values.collect()
}

/// Rejects calls with a result of unbounded size.
fn check_call(call: &CallExpr) -> Result<(), String> {
    let argument = call.args.first().map(|argument| &argument.expr);
    match call.func_name.as_str() {
        "lists.range" | "range" => match argument {
            Some(Expr::Literal(LiteralValue::Int(count))) if *count.inner() <= MAX_NUMBER => Ok(()),
            _ => Err(format!("lists.range needs a literal number up to {MAX_NUMBER}")),
        },
        "format" => match call.target.as_ref().map(|target| &target.expr) {
            Some(Expr::Literal(LiteralValue::String(text))) if !has_long_number(text.inner()) => {
                Ok(())
            }
            _ => {
                Err("format needs a literal string whose numbers have at most three digits"
                    .to_owned())
            }
        },
        _ => Ok(()),
    }
}

fn has_long_number(text: &str) -> bool {
    let mut digits = 0;
    text.bytes().any(|byte| {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        digits > 3
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_counted_outside_strings() {
        for (rule, expected) in [
            ("self.a == (1 + (2))", 2),
            (r#"self.a == "((((" + '[[[' + (1)"#, 1),
            (r#""\"(((" + (1)"#, 1),
            (r#"r"\" + ((1))"#, 2),
            (r#""""a"((("b""" + [1]"#, 1),
            (r#"'')))((("#, 3),
            ("\"(((", 0),
            ("\"\\", 0),
        ] {
            assert_eq!(nesting(rule), expected, "{rule}");
        }
    }

    #[test]
    fn oversized_rules_are_refused() {
        let chain = |part: &str, count: usize| vec![part; count].join("");
        for (rule, expected) in [
            ("self.a.all(x, x > 0) && size(self.b) < 3".to_owned(), None),
            ("lists.range(10).all(x, x >= 0)".to_owned(), None),
            ("'%d and %s'.format([1, self.a]) != ''".to_owned(), None),
            (format!("{}1{}", "(".repeat(200_000), ")".repeat(200_000)), Some("longer than")),
            (format!("{}1{}", "(".repeat(2000), ")".repeat(2000)), Some("brackets are nested")),
            (format!("{}true", chain("!", 5000)), None),
            (format!("1{} > 0", chain("+1", 2000)), Some("expressions are nested")),
            (format!("self{} > 0", chain(".a", 2000)), Some("expressions are nested")),
            (format!("{}true", chain("true ? true : ", 600)), Some("")),
            (format!("{}true{}", chain("[", 40), chain("]", 40)), None),
            ("lists.range(1000000000).all(x, x >= 0)".to_owned(), Some("lists.range needs")),
            ("lists.range(self.a).all(x, x >= 0)".to_owned(), Some("lists.range needs")),
            ("'%.1000000000f'.format([1.0]) != ''".to_owned(), Some("format needs")),
            ("string(quantity(self.a)) == ''".to_owned(), Some("quantities")),
            ("self.a >=".to_owned(), Some("")),
        ] {
            let found = super::super::run_blocking(move || check(&rule).map_err(|e| (rule, e)));
            match (found, expected) {
                (Some(Ok(())), None) => {}
                (Some(Err((_, why))), Some(expected)) => assert!(why.contains(expected), "{why}"),
                // The parser has panicked, on a thread that nobody needs.
                (None, Some("")) => {}
                (found, expected) => panic!("{found:?}, {expected:?}"),
            }
        }
    }
}
