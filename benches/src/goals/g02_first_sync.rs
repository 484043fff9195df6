//! Goal 2: the first sync of an empty replica with a million documents under random ids, against
//! rusqlite inserting them with a live index.

use super::pulling::{insert, pull};
use crate::documents::Order;
use crate::goal::Goal;
use crate::measure::{Aim, Bench, Curve, median};
use crate::server::{Listening, Way, fill};
use crate::setup::sqlite_storage;
use crate::{Outcome, raw};

const DOCUMENTS: usize = 1_000_000;
/// The smaller sizes are only for the curve.
const SIZES: [usize; 3] = [10_000, 100_000, DOCUMENTS];

pub(super) async fn measure(bench: &mut Bench) -> Outcome {
    let mut lines = vec![("raw".to_owned(), Vec::new()), ("first sync".to_owned(), Vec::new())];
    for documents in SIZES {
        let path = fill(bench, Order::Random, documents).await?;
        let server = Listening::sqlite(&path).await?;
        let rows = raw::rows(Order::Random, documents);
        let (mut rounds, mut raws, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..if documents == DOCUMENTS { bench.rounds() } else { 3 } {
            bench.say(format_args!("{documents} documents, round {}", round + 1));
            let raw = insert(bench, &rows)?.wall.as_secs_f64();
            let storage = sqlite_storage(bench.folder.path())?;
            let transport = server.transport(Way::WebSocket)?;
            let ours = pull(transport, storage, documents).await?.wall.as_secs_f64();
            rounds.push(raw / ours);
            raws.push(raw * 1e6 / documents as f64);
            all.push(ours * 1e6 / documents as f64);
        }
        lines[0].1.push((documents as f64, median(&raws)));
        lines[1].1.push((documents as f64, median(&all)));
        if documents == DOCUMENTS {
            let what = "1,000,000 documents, random ids, empty replica";
            let aim = Aim::at_least(Goal::FirstSync, what, "of raw with a live index", 2.0, 3.5);
            bench.row(aim, rounds);
        }
        drop(server);
        std::fs::remove_file(path)?;
    }
    let what = "Time per document of a first sync, random ids".to_owned();
    bench.curves.push(Curve { what, unit: "µs", lines });
    Ok(())
}
