//! A validator for JSON Schema (2020-12), as far as the schemas in docs/ use it, for tests. It is stricter than the
//! standard: a field that no schema describes is an error, and so is a keyword that it does not know.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The names of an object's fields that a schema describes.
type Described = BTreeSet<String>;

/// Checks a document; the error is the path of what is wrong, and why.
pub(crate) fn validate(schema: &Value, document: &Value) -> Result<(), String> {
    Validator { root: schema }.whole(schema, document, "$")
}

struct Validator<'a> {
    root: &'a Value,
}

impl Validator<'_> {
    /// Checks a value of which this schema alone says everything.
    fn whole(&self, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
        let described = self.part(schema, value, path)?;
        match value.as_object().and_then(|object| object.keys().find(|name| !described.contains(*name))) {
            Some(name) => Err(format!("{path}.{name}: no schema describes it")),
            None => Ok(()),
        }
    }

    /// Checks a value of which other schemas may say more.
    fn part(&self, schema: &Value, value: &Value, path: &str) -> Result<Described, String> {
        let Some(schema) = schema.as_object() else {
            assert_eq!(schema, &Value::Bool(true), "{path}: no schema but `true` is a bool");
            return Ok(value.as_object().into_iter().flat_map(Map::keys).cloned().collect());
        };
        // A schema that says nothing of the value allows any.
        if schema.keys().all(|keyword| keyword == "description") {
            return Ok(value.as_object().into_iter().flat_map(Map::keys).cloned().collect());
        }
        let mut described = Described::new();
        for (keyword, rule) in schema {
            let fits = match keyword.as_str() {
                "$ref" => {
                    let pointer = rule.as_str().unwrap().trim_start_matches('#');
                    described.extend(self.part(self.root.pointer(pointer).expect(pointer), value, path)?);
                    true
                }
                "allOf" => {
                    for schema in rule.as_array().unwrap() {
                        described.extend(self.part(schema, value, path)?);
                    }
                    true
                }
                "anyOf" | "oneOf" => {
                    let all = rule.as_array().unwrap().iter().map(|schema| self.part(schema, value, path));
                    let (fitting, errors): (Vec<_>, Vec<_>) = all.partition(Result::is_ok);
                    if fitting.is_empty() || (keyword == "oneOf" && fitting.len() > 1) {
                        let errors: Vec<String> = errors.into_iter().filter_map(Result::err).collect();
                        return Err(format!("{path}: {} of {keyword} fit: {errors:?}", fitting.len()));
                    }
                    described.extend(fitting.into_iter().flatten().flatten());
                    true
                }
                "type" => match rule {
                    Value::Array(names) => names.iter().any(|name| is(value, name)),
                    name => is(value, name),
                },
                "const" => value == rule,
                "enum" => rule.as_array().unwrap().contains(value),
                "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
                "minItems" => {
                    value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap())
                }
                "maxItems" => {
                    value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap())
                }
                "required" => {
                    let names = rule.as_array().unwrap();
                    value.as_object().is_none_or(|object| {
                        names.iter().all(|name| object.contains_key(name.as_str().unwrap()))
                    })
                }
                "items" | "prefixItems" | "properties" | "additionalProperties" => {
                    described.extend(self.members(schema, keyword, value, path)?);
                    true
                }
                "$schema" | "$defs" | "title" | "description" | "default" | "format" | "pattern"
                | "uniqueItems" => true,
                other => panic!("{path}: the keyword {other} is not known here"),
            };
            if !fits {
                return Err(format!("{path}: {keyword} {rule} is not met"));
            }
        }
        Ok(described)
    }

    /// Checks the items of an array, or the fields of an object.
    fn members(
        &self,
        schema: &Map<String, Value>,
        keyword: &str,
        value: &Value,
        path: &str,
    ) -> Result<Described, String> {
        let rule = &schema[keyword];
        let mut described = Described::new();
        match (keyword, value) {
            ("items", Value::Array(items)) => {
                let before = schema.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                for (i, item) in items.iter().enumerate().skip(before) {
                    self.whole(rule, item, &format!("{path}[{i}]"))?;
                }
            }
            ("prefixItems", Value::Array(items)) => {
                for (i, (rule, item)) in rule.as_array().unwrap().iter().zip(items).enumerate() {
                    self.whole(rule, item, &format!("{path}[{i}]"))?;
                }
            }
            ("properties", Value::Object(object)) => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(value) = object.get(name) {
                        self.whole(rule, value, &format!("{path}.{name}"))?;
                        described.insert(name.clone());
                    }
                }
            }
            ("additionalProperties", Value::Object(object)) => {
                let named = schema.get("properties").and_then(Value::as_object);
                for (name, value) in
                    object.iter().filter(|(name, _)| named.is_none_or(|n| !n.contains_key(*name)))
                {
                    if rule == &Value::Bool(false) {
                        return Err(format!("{path}.{name}: it is forbidden"));
                    }
                    self.whole(rule, value, &format!("{path}.{name}"))?;
                    described.insert(name.clone());
                }
            }
            _ => {}
        }
        Ok(described)
    }
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("the type {other} is not known here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_schema_does_not_allow_is_found() {
        let schema = json!({
            "oneOf": [{
                "properties": { "format": { "const": "a" } },
                "required": ["format"],
                "allOf": [{ "$ref": "#/$defs/a" }],
            }, { "const": 1 }],
            "$defs": { "a": {
                "type": "object",
                "properties": {
                    "rows": { "type": ["array", "null"], "items": { "type": "integer", "minimum": 0 } },
                    "map": { "type": "object", "additionalProperties": { "type": "string" } },
                    "closed": { "type": "object", "additionalProperties": false },
                },
                "required": ["rows"],
            } },
        });
        for (document, fits) in [
            (json!({ "format": "a", "rows": [1], "map": { "x": "y" }, "closed": {} }), true),
            (json!({ "format": "a", "rows": null }), true),
            (json!(1), true),
            (json!({ "format": "b", "rows": null }), false),
            (json!({ "format": "a" }), false),
            (json!({ "format": "a", "rows": null, "more": 1 }), false),
            (json!({ "format": "a", "rows": [-1] }), false),
            (json!({ "format": "a", "rows": ["1"] }), false),
            (json!({ "format": "a", "rows": null, "map": { "x": 1 } }), false),
            (json!({ "format": "a", "rows": null, "closed": { "x": 1 } }), false),
        ] {
            let checked = validate(&schema, &document);
            assert_eq!(checked.is_ok(), fits, "{document}: {checked:?}");
        }
    }
}
