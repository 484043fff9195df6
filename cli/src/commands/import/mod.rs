//! `import`: the lines of a JSON Lines file as local writes.

mod lines;
mod parse;
mod write;

use indicatif::ProgressBar;
use twotide::backend::model::Limits;

use super::{closing, open};
use crate::args::ImportArgs;
use crate::failure::Failure;
use crate::output::print_done;
use lines::Lines;
use parse::Shape;
use write::Writer;

/// Documents that are written and so pushed together: a transaction does not get smaller on a slow
/// link.
const BATCH: Limits = Limits { documents: 500, bytes: 64 << 10 };

pub(crate) async fn run(args: ImportArgs) -> Result<(), Failure> {
    let shape = Shape::of(&args);
    let mut lines = Lines::open(&args.file)?;
    closing(open(&args.db).await?, async |replica| {
        let mut writer = Writer::new(replica, args.if_absent);
        let result = import(&mut lines, &shape, &mut writer).await;
        let printed = print_done(writer.done(), &writer.counts());
        match (result, writer.done_before_failure()) {
            (Err(failure), Some(done)) => Err(failure.about(done)),
            (result, _) => result.and(printed),
        }
    })
    .await
}

async fn import(lines: &mut Lines, shape: &Shape, writer: &mut Writer<'_>) -> Result<(), Failure> {
    // Not drawn if standard error is not a terminal.
    let progress = ProgressBar::new_spinner();
    loop {
        // The lines so far are written when no further line arrives for a while, as from a pipe
        // that stays open.
        let line = match lines.next(writer.has_some()).await {
            Ok(Some(line)) => line,
            Ok(None) => {
                let is_end = lines.has_ended();
                writer.flush().await?;
                progress.set_message(format!("{} imported", writer.written()));
                progress.tick();
                if is_end {
                    progress.finish_and_clear();
                    return Ok(());
                }
                continue;
            }
            // The lines before a bad one are written, so that the report can count them.
            Err(failure) => return writer.flush().await.and(Err(failure)),
        };
        match shape.parse(&line.text) {
            Ok(parsed) => writer.add(line.number, parsed),
            Err(what) => {
                let failure = Failure::failed(what).about(format!("line {}", line.number));
                return writer.flush().await.and(Err(failure));
            }
        }
        if writer.is_full(BATCH) {
            writer.flush().await?;
            progress.set_message(format!("{} imported", writer.written()));
            progress.tick();
        }
    }
}
