//! `export`: documents as JSON Lines.

use std::io::{BufWriter, Write};

use twotide::Replica;
use twotide::backend::model::{Collection, Limits, Scope};
use twotide::backend::replica::Scan;

use super::data::scopes;
use super::{closing, open_existing};
use crate::args::ExportArgs;
use crate::failure::Failure;
use crate::output::{Line, print_to};

pub(crate) async fn run(args: ExportArgs) -> Result<(), Failure> {
    closing(open_existing(&args.db.db, &args.db.scope).await?, async |replica| {
        let mut out = BufWriter::new(std::io::stdout());
        for scope in scopes(replica, args.collection.as_ref())? {
            write_out(replica, &scope, args.collection.as_ref(), &mut out).await?;
        }
        out.flush().map_err(|e| Failure::unprinted(&e))
    })
    .await
}

async fn write_out(
    replica: &Replica,
    scope: &Scope,
    collection: Option<&Collection>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let (scope, limits) = (scope.clone(), Limits::CHUNK);
        let scan = Scan { scope, collection: collection.cloned(), after, limits };
        let page = replica.storage().scan(scan).await?;
        for stored in &page.items {
            print_to(out, &Line::of(stored)?)?;
        }
        after = page.items.last().map(|s| (s.key.collection.clone(), s.key.id.clone()));
        if !page.more {
            return Ok(());
        }
    }
}
