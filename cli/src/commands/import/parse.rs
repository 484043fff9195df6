//! Parses the lines of an import.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use twotide::backend::environment::{Environment, System};
use twotide::backend::model::{Body, Collection, DocumentId};

use crate::args::ImportArgs;

/// The form of a line.
pub(super) enum Shape {
    /// A line that `export` prints.
    Exported,
    /// A body, with its id in the field of that name; whether the field is required.
    Body { collection: Collection, field: String, required: bool },
}

#[derive(Deserialize)]
struct Exported<'a> {
    collection: String,
    id: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// A document that a line describes.
#[derive(Clone)]
pub(super) struct Parsed {
    pub(super) collection: Collection,
    pub(super) id: DocumentId,
    /// Whether the line had no id, and this one was generated.
    pub(super) is_made_up: bool,
    pub(super) body: Body,
}

impl Shape {
    pub(super) fn of(args: &ImportArgs) -> Self {
        match &args.collection {
            None => Self::Exported,
            Some(collection) => Self::Body {
                collection: collection.clone(),
                // An import that skips existing documents has to know their ids.
                required: args.id_field.is_some() || args.if_absent,
                field: args.id_field.clone().unwrap_or_else(|| "id".to_owned()),
            },
        }
    }

    /// Parses a line.
    ///
    /// # Errors
    /// The reason why the line is invalid.
    pub(super) fn parse(&self, text: &[u8]) -> Result<Parsed, String> {
        // JSON's errors name the right places only in valid UTF-8.
        let text = std::str::from_utf8(text)
            .map_err(|e| format!("not UTF-8: byte {} of it", e.valid_up_to() + 1))?;
        match self {
            Self::Exported => exported(text),
            Self::Body { collection, field, required } => {
                let fields: BTreeMap<String, &RawValue> =
                    serde_json::from_str(text).map_err(|e| not_json(text, &e))?;
                let given = fields.get(field.as_str()).map(|value| id_of(value.get()));
                let (id, is_made_up) = match given {
                    Some(Some(id)) => (DocumentId::new(id).map_err(|e| e.to_string())?, false),
                    Some(None) => {
                        let what = "is neither a string nor a whole number";
                        return Err(format!("the field {field:?} {what}"));
                    }
                    None if *required => {
                        return Err(format!("there is no field {field:?} for the id"));
                    }
                    None => ((&System as &dyn Environment).document_id(), true),
                };
                let body = Body::parse(text.to_owned()).map_err(|e| e.to_string())?;
                Ok(Parsed { collection: collection.clone(), id, is_made_up, body })
            }
        }
    }
}

fn exported(text: &str) -> Result<Parsed, String> {
    let line: Exported<'_> = serde_json::from_str(text).map_err(|e| match e.is_data() {
        true => {
            let what = without_place(&e);
            format!("not a line that `export` prints (give --collection for others): {what}")
        }
        false => not_json(text, &e),
    })?;
    Ok(Parsed {
        collection: Collection::new(line.collection).map_err(|e| e.to_string())?,
        id: DocumentId::new(line.id).map_err(|e| e.to_string())?,
        is_made_up: false,
        body: Body::parse(line.body.get().to_owned()).map_err(|e| e.to_string())?,
    })
}

fn not_json(text: &str, error: &serde_json::Error) -> String {
    if error.is_data() {
        return format!("not a JSON object: {}", without_place(error));
    }
    let hint = if text.contains('\0') { " (is it UTF-16? It has to be UTF-8)" } else { "" };
    format!("not valid JSON: {} at column {}{hint}", without_place(error), error.column())
}

/// Returns an error of JSON without its place: its line number is always 1.
fn without_place(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

/// Returns a string as it is, and a whole number as its digits.
fn id_of(json: &str) -> Option<String> {
    if let Ok(text) = serde_json::from_str::<String>(json) {
        return Some(text);
    }
    let digits = json.strip_prefix('-').unwrap_or(json);
    let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    whole.then(|| json.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(shape: &Shape, text: &str) -> String {
        match shape.parse(text.as_bytes()) {
            Ok(parsed) => panic!("{text} is read as {}", parsed.id),
            Err(what) => what,
        }
    }

    #[test]
    fn an_error_has_no_second_line_number() {
        let collection = Collection::new("c").unwrap();
        let body = Shape::Body { collection, field: "id".to_owned(), required: false };
        assert_eq!(
            told(&body, "{\"id\":"),
            "not valid JSON: EOF while parsing a value at column 6"
        );
        assert!(told(&body, "[1]").starts_with("not a JSON object"));
        assert!(told(&body, "{\0\"\0").contains("UTF-16"));
        assert!(told(&Shape::Exported, "{\"id\":\"x\"}").contains("--collection"));
        for text in ["{\"id\":", "[1]", "7", "{\"id\":\"x\"}x"] {
            for shape in [&body, &Shape::Exported] {
                let what = told(shape, text);
                assert!(!what.contains("line 1"), "{what}");
            }
        }
    }
}
