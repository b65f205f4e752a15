//! The reference of all definitions as Markdown, generated from the schemas so that it agrees with the types.

use crate::{DefKind, schema};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// The text of `docs/reference.md`.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "# Reference of the definitions\n\nMade from the types in `crates/defs` and `crates/app`; do not edit. Fields in **bold** must be there.\n",
    );
    for kind in DefKind::ALL {
        let schema = schema(kind);
        section(&mut out, "##", &text(&schema, "title"), &schema);
        for (name, part) in schema.get("$defs").and_then(Value::as_object).into_iter().flatten() {
            section(&mut out, "###", name, part);
        }
    }
    out
}

fn section(out: &mut String, level: &str, name: &str, schema: &Value) {
    // String's fmt::Write cannot fail
    let _ = write!(out, "\n{level} {name}\n{}\n", text(schema, "description"));
    if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
        let _ = write!(out, "\n| field | type | meaning |\n|---|---|---|\n");
        fields.iter().for_each(|(field, value)| row(out, schema, field, value));
    }
    let choices: Vec<&Value> = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten().collect();
    if !choices.is_empty() {
        let _ = write!(out, "\n| choice | meaning |\n|---|---|\n");
        for choice in choices {
            let _ = writeln!(out, "| {} | {} |", choice_name(choice), text(choice, "description"));
        }
    }
}

/// A variant's word, or a word with its value.
fn choice_name(choice: &Value) -> String {
    let word = choice.get("const").and_then(Value::as_str).map(|word| format!("`{word}`"));
    let carrying = || {
        let (name, value) = choice.get("properties").and_then(Value::as_object)?.iter().next()?;
        Some(format!("`{name}:` {}", type_name(value)))
    };
    word.or_else(carrying).unwrap_or_default()
}

fn row(out: &mut String, schema: &Value, field: &str, value: &Value) {
    let required = schema.get("required").and_then(Value::as_array);
    let required = required.is_some_and(|names| names.iter().any(|n| n == field));
    let name = if required { format!("**`{field}`**") } else { format!("`{field}`") };
    let default = match value.get("default") {
        Some(Value::String(s)) if !s.is_empty() => format!(" Default: `{s}`."),
        Some(Value::Number(n)) => format!(" Default: `{n}`."),
        _ => String::new(),
    };
    let _ = writeln!(out, "| {name} | {} | {}{default} |", type_name(value), text(value, "description"));
}

fn text(schema: &Value, key: &str) -> String {
    schema.get(key).and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

/// The name of a type in the reference: `list of text`, `map to Mount`.
fn type_name(schema: &Value) -> String {
    let Some(schema) = schema.as_object() else { return "anything".to_owned() };
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        return target.rsplit('/').next().unwrap_or_default().to_owned();
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(choices) = schema.get(key).and_then(Value::as_array) {
            let names: Vec<String> =
                choices.iter().filter(|c| c.get("type") != Some(&Value::from("null"))).map(type_name).collect();
            return names.join(" or ");
        }
    }
    match schema.get("type") {
        Some(Value::String(name)) => plain(name, schema),
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str).filter(|&n| n != "null");
            names.map(|name| plain(name, schema)).collect::<Vec<_>>().join(" or ")
        }
        _ => "anything".to_owned(),
    }
}

fn plain(name: &str, schema: &Map<String, Value>) -> String {
    match name {
        "string" => "text".to_owned(),
        "integer" => "number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "array" => format!("list of {}", schema.get("items").map_or_else(|| "anything".to_owned(), type_name)),
        "object" => {
            let values = schema
                .get("additionalProperties")
                .filter(|v| v.is_object())
                .or_else(|| schema.get("patternProperties").and_then(Value::as_object).and_then(|p| p.values().next()));
            format!("map to {}", values.map_or_else(|| "anything".to_owned(), type_name))
        }
        other => other.to_owned(),
    }
}
