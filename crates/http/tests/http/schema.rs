//! As much of JSON Schema as the description uses. What it does not know is an error, so nothing passes unlooked at.

use serde_json::Value;

/// Checks a value against a schema of a document; says where it differs.
pub(crate) fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    at(document, schema, value, "$")
}

fn at(document: &Value, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    let wrong = |what: &str, wanted: &Value| Err(format!("{path}: {value} is not as {what} {wanted} says"));
    for (keyword, wanted) in schema.as_object().ok_or_else(|| format!("{path}: {schema} is no schema"))? {
        let good = match keyword.as_str() {
            "description" | "default" => true,
            "$ref" => {
                let name = wanted.as_str().and_then(|text| text.strip_prefix('#')).ok_or("a reference is local")?;
                let target = document.pointer(name).ok_or_else(|| format!("{wanted} leads nowhere"))?;
                at(document, target, value, path)?;
                true
            }
            "oneOf" => {
                let schemas = wanted.as_array().ok_or("oneOf has a list")?;
                schemas.iter().filter(|schema| at(document, schema, value, path).is_ok()).count() == 1
            }
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|name| is_of_type(name, value)),
                name => is_of_type(name, value),
            },
            "const" => wanted == value,
            "enum" => wanted.as_array().ok_or("enum has a list")?.contains(value),
            "minimum" => value.as_f64().is_none_or(|number| wanted.as_f64().is_some_and(|least| number >= least)),
            "maximum" => value.as_f64().is_none_or(|number| wanted.as_f64().is_some_and(|most| number <= most)),
            "minLength" => value.as_str().is_none_or(|text| wanted.as_u64() <= Some(text.chars().count() as u64)),
            "maxLength" => value.as_str().is_none_or(|text| wanted.as_u64() >= Some(text.chars().count() as u64)),
            "required" => value.as_object().is_none_or(|object| {
                wanted.as_array().is_some_and(|names| {
                    names.iter().all(|name| name.as_str().is_some_and(|name| object.contains_key(name)))
                })
            }),
            "properties" => {
                for (name, schema) in wanted.as_object().ok_or("properties has an object")? {
                    if let Some(value) = value.get(name) {
                        at(document, schema, value, &format!("{path}.{name}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().ok_or("it has properties")?;
                *wanted == Value::Bool(false)
                    && value.as_object().is_none_or(|object| object.keys().all(|name| known.contains_key(name)))
            }
            "items" => {
                for (nth, item) in value.as_array().into_iter().flatten().enumerate() {
                    at(document, wanted, item, &format!("{path}[{nth}]"))?;
                }
                true
            }
            other => return Err(format!("{path}: the keyword {other} is not known to this test")),
        };
        if !good {
            return wrong(keyword, wanted);
        }
    }
    Ok(())
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

#[test]
fn what_differs_is_found() {
    use serde_json::json;
    let document = json!({"x": {"type": "integer", "minimum": 0}});
    let schema = json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": {"a": {"$ref": "#/x"}, "b": {"type": ["string", "null"]}, "c": {"oneOf": [{"const": 1}, {"type": "integer"}]},
                       "d": {"type": "array", "items": {"enum": ["p", "q"]}}},
    });
    let good = |value| check(&document, &schema, &value);
    assert_eq!(good(json!({"a": 1, "b": null, "c": 2, "d": ["p"]})), Ok(()));
    for bad in [
        json!([]),
        json!({}),
        json!({"a": -1}),
        json!({"a": 1.5}),
        json!({"a": 1, "z": 1}),
        json!({"a": 1, "b": 1}),
        json!({"a": 1, "c": 1}),
        json!({"a": 1, "d": ["p", "r"]}),
    ] {
        assert!(good(bad.clone()).is_err(), "{bad}");
    }
    assert!(check(&document, &json!({"typ": "object"}), &json!({})).is_err());
}
