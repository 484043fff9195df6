//! The OpenAPI document, and its validation.

use jsonschema::Validator;
use serde_json::Value;
use transport_http::openapi::DOCUMENT;

pub fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

pub const METHODS: [&str; 8] =
    ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Returns the paths and methods of the document.
pub fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if METHODS.contains(&method.as_str()) {
                operations.push((path.clone(), method.clone(), operation.clone()));
            } else {
                assert_eq!(method, "parameters", "nothing else belongs there");
            }
        }
    }
    operations
}

/// Returns the target of a reference.
pub fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(to) => {
            document.pointer(to.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{to}"))
        }
        None => value,
    }
}

pub fn validator(document: &Value, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    jsonschema::draft202012::new(&schema).unwrap()
}

/// Returns the violations of a schema by a value.
pub fn errors(document: &Value, schema: &Value, instance: &Value) -> Vec<String> {
    let validator = validator(document, schema);
    validator.iter_errors(instance).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

#[track_caller]
pub fn assert_valid(document: &Value, schema: &Value, instance: &Value) {
    let errors = errors(document, schema, instance);
    assert!(errors.is_empty(), "{errors:?}\n{instance}");
}
