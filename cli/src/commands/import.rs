//! `import`: the lines of a JSON Lines file as local writes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use twotide::core::environment::{Environment, System};
use twotide::core::model::{Body, Collection, DocumentId};
use twotide::core::replica::{LocalTransaction, LocalWrite, WriteOperation};
use twotide::{Error, Replica};

use super::open;
use crate::args::ImportArgs;
use crate::failure::Failure;
use crate::output::print_done;

/// Documents that are written together, and so are pushed together: a transaction does not get smaller on a slow link.
const BATCH: usize = 500;
/// Their bodies together, in bytes.
const BATCH_BYTES: usize = 64 << 10;
/// The longest line, in bytes: what no body can need.
const LINE: u64 = 16 << 20;

/// What a line is made of.
enum Shape {
    /// A line that `export` prints.
    Exported,
    /// A body, with its id in a field of that name; whether the field has to be there.
    Body { collection: Collection, field: String, required: bool },
}

#[derive(Deserialize)]
struct Exported<'a> {
    collection: String,
    id: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

pub(crate) async fn run(args: ImportArgs) -> Result<(), Failure> {
    let shape = match args.collection {
        None => Shape::Exported,
        Some(name) => Shape::Body {
            collection: name,
            required: args.id_field.is_some(),
            field: args.id_field.unwrap_or_else(|| "id".to_owned()),
        },
    };
    let mut lines = source(&args.file)?;
    let replica = open(&args.db).await?;
    let mut written = 0;
    let result = import(&replica, &mut lines, &shape, &mut written).await;
    let done = format!("{written} documents were written");
    let printed = print_done(done, &serde_json::json!({ "imported": written }));
    replica.close().await?;
    let result = result.map_err(|f| match written {
        0 => f,
        n => f.about(format!("after {n} documents were written (importing again is safe)")),
    });
    result.and(printed)
}

fn source(file: &Path) -> Result<Box<dyn BufRead + Send>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    match std::fs::File::open(file) {
        Ok(file) => Ok(Box::new(BufReader::new(file))),
        Err(e) => Err(Failure::from(e).about(file.display())),
    }
}

async fn import(
    replica: &Replica,
    lines: &mut (dyn BufRead + Send),
    shape: &Shape,
    written: &mut u64,
) -> Result<(), Failure> {
    let mut batch: Vec<LocalWrite> = Vec::new();
    let (mut bytes, mut number) = (0, 0u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        number += 1;
        let read = lines.take(LINE).read_until(b'\n', &mut line);
        let at = |f: Failure| f.about(format!("line {number}"));
        let read = read.map_err(|e| at(e.into()))?;
        if read as u64 == LINE && !line.ends_with(b"\n") {
            return Err(at(Failure::failed(format!("it is longer than {LINE} bytes"))));
        }
        let text = line.trim_ascii();
        if !text.is_empty() {
            // What came before a bad line is written, so that the report can say how much that is.
            match parse(text, shape) {
                Ok(write) => {
                    bytes += text.len();
                    batch.push(write);
                }
                Err(e) => {
                    flush(replica, &mut batch, written).await?;
                    return Err(at(e));
                }
            }
        }
        if batch.len() >= BATCH || bytes >= BATCH_BYTES || read == 0 {
            flush(replica, &mut batch, written)
                .await
                .map_err(|f| f.about(format!("before line {number}")))?;
            bytes = 0;
        }
        if read == 0 {
            return Ok(());
        }
    }
}

async fn flush(
    replica: &Replica,
    batch: &mut Vec<LocalWrite>,
    written: &mut u64,
) -> Result<(), Failure> {
    let writes = std::mem::take(batch);
    let count = writes.len() as u64;
    if count == 0 {
        return Ok(());
    }
    let transaction = LocalTransaction { scope: replica.scope().clone(), writes };
    replica.storage().write(System.now(), transaction).await?;
    *written += count;
    Ok(())
}

fn parse(text: &[u8], shape: &Shape) -> Result<LocalWrite, Failure> {
    let invalid = |e: serde_json::Error| Failure::failed(format!("not valid JSON: {e}"));
    let (collection, id, body) = match shape {
        Shape::Exported => {
            let line: Exported<'_> = serde_json::from_slice(text).map_err(|e| {
                Failure::failed(format!(
                    "not a line that `export` prints (give --collection for others): {e}"
                ))
            })?;
            let body = Body::parse(line.body.get().to_owned())?;
            (Collection::new(line.collection)?, DocumentId::new(line.id)?, body)
        }
        Shape::Body { collection, field, required } => {
            let fields: BTreeMap<String, &RawValue> =
                serde_json::from_slice(text).map_err(invalid)?;
            let id = match fields.get(field) {
                Some(value) => id_of(value.get()).ok_or_else(|| {
                    Failure::failed(format!(
                        "the field {field:?} is neither a string nor a whole number"
                    ))
                })?,
                None if *required => {
                    return Err(Failure::failed(format!("there is no field {field:?} for the id")));
                }
                None => (&System as &dyn Environment).document_id().as_str().to_owned(),
            };
            (collection.clone(), DocumentId::new(id)?, Body::parse(text.to_vec())?)
        }
    };
    Ok::<_, Error>(LocalWrite { collection, id, operation: WriteOperation::Put(body) })
        .map_err(Failure::from)
}

/// A string as it is, a whole number in its digits.
fn id_of(json: &str) -> Option<String> {
    if let Ok(text) = serde_json::from_str::<String>(json) {
        return Some(text);
    }
    let digits = json.strip_prefix('-').unwrap_or(json);
    let whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    whole.then(|| json.to_owned())
}
