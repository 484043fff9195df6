//! `export`: documents as JSON Lines.

use std::io::{BufWriter, Write};

use twotide::core::model::{Collection, Limits};
use twotide::core::replica::Scan;

use super::open_existing;
use crate::args::ExportArgs;
use crate::failure::Failure;
use crate::output::Line;

pub(crate) async fn run(args: ExportArgs) -> Result<(), Failure> {
    let replica = open_existing(&args.db.db, &args.db.scope).await?;
    let collection = args.collection.map(Collection::new).transpose()?;
    let mut out = BufWriter::new(std::io::stdout());
    let mut after = None;
    loop {
        let (scope, limits) = (replica.scope().clone(), Limits::CHUNK);
        let scan = Scan { scope, collection: collection.clone(), after, limits };
        let page = replica.storage().scan(scan).await?;
        for stored in &page.items {
            serde_json::to_writer(&mut out, &Line::of(stored)?)?;
            out.write_all(b"\n")?;
        }
        after = page.items.last().map(|s| (s.key.collection.clone(), s.key.id.clone()));
        if !page.more {
            break;
        }
    }
    out.flush()?;
    Ok(replica.close().await?)
}
