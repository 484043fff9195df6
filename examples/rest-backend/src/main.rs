//! Two replicas sync through a foreign REST service: offline edits, a conflict, a deletion, a
//! refused note, a restart. It exits with 1 if they end up different.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rest_backend::notes::{FieldByField, Note};
use rest_backend::server::Serving;
use rest_backend::service::{Store, router};
use rest_backend::transport::{NOTES, notes_service};
use twotide::RetryPolicy;
use twotide::backend::environment::{Environment, System};
use twotide::prelude::*;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    match tokio::time::timeout(Duration::from_secs(60), play()).await {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => {
            eprintln!("the replicas and the service hold different notes: that is a bug");
            ExitCode::FAILURE
        }
        Ok(Err(error)) => {
            eprintln!("{}", with_causes(&*error));
            ExitCode::FAILURE
        }
        Err(_) => {
            eprintln!("it hangs: that is a bug");
            ExitCode::FAILURE
        }
    }
}

/// Returns the text of an error, and of each of its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}

async fn open(folder: &Path, name: &str, url: &str) -> Result<Replica> {
    let transport = notes_service(url, Duration::from_millis(500))?;
    let builder = Replica::builder().sqlite(folder.join(format!("{name}.db")));
    let mut retry = RetryPolicy::default();
    retry.ceiling = Duration::from_millis(500);
    builder.transport(Arc::new(transport)).resolver(FieldByField).retry(retry).open().await
}

async fn play() -> Outcome<bool> {
    let folder = tempfile::tempdir()?;
    let store = Store::new(Arc::new(|| System.now().0));
    let serving = Serving::start(router(store.clone()), 0).await?;
    let (url, port) = (serving.url(), serving.port());
    println!("1. A REST service listens at {url}. Another client of it writes a note.");
    let shopping = serde_json::json!({ "title": "Shopping", "text": "milk" });
    // The service is on this machine.
    let client = reqwest::Client::builder().no_proxy().build()?;
    client.put(format!("{url}/notes/shopping")).json(&shopping).send().await?.error_for_status()?;

    println!("2. Ann and Ben open their replicas and sync.");
    let (ann, ben) =
        (open(folder.path(), "ann", &url).await?, open(folder.path(), "ben", &url).await?);
    ann.sync_now().await?;
    ben.sync_now().await?;
    show("Ann", &ann).await?;

    println!("3. The service is away. Both go on writing, and change the same note.");
    serving.stop().await;
    let (anns, bens) = (ann.collection::<Note>(NOTES)?, ben.collection::<Note>(NOTES)?);
    anns.update("shopping", &Note::new("Shopping on Friday", "milk")).await?;
    bens.update("shopping", &Note::new("Shopping", "milk, bread")).await?;
    anns.insert_with_id("garden", &Note::new("Garden", "water the tomatoes")).await?;
    bens.insert_with_id("books", &Note::new("Books", "return to the library")).await?;
    bens.insert_with_id("empty", &Note::new("", "a note without a title")).await?;
    if let Err(error) = ann.sync_now().await {
        println!("   Ann cannot sync: {}", error.report());
    }

    println!("4. The service is back. The conflict is merged field by field, a note is refused.");
    let serving = Serving::start(router(store.clone()), port).await?;
    for replica in [&ann, &ben, &ann] {
        replica.sync_now().await?;
    }
    show("Ann", &ann).await?;
    println!(
        "   Ben has {} edit in quarantine.",
        ben.state().await?.outbox(ben.scope()).quarantined
    );

    println!("5. Ann ends the program, and begins it again. Ben deletes a note meanwhile.");
    ann.close().await?;
    bens.delete("garden").await?;
    ben.sync_now().await?;
    let ann = open(folder.path(), "ann", &url).await?;
    ann.sync_now().await?;

    println!("6. Both follow live: Ben writes, Ann is told.");
    let mut changes = ann.changes().await?;
    ann.start().await?;
    ben.start().await?;
    bens.update("books", &Note::new("Books", "returned")).await?;
    let change = changes.next().await.ok_or("nothing closes Ann here")??;
    println!("   Ann sees: {:?} of {}.", change.operation(), change.key());
    ann.wait_until_in_sync().await?;
    ben.wait_until_in_sync().await?;

    show("Ann", &ann).await?;
    show("Ben", &ben).await?;
    let held = store.notes().into_iter().map(|r| (r.id, Note { title: r.title, text: r.text }));
    let held: BTreeMap<String, Note> = held.collect();
    let equal = notes(&ann).await? == held && notes(&ben).await? == held;
    ann.close().await?;
    ben.close().await?;
    serving.stop().await;
    Ok(equal)
}

async fn notes(replica: &Replica) -> Result<BTreeMap<String, Note>> {
    let page = replica.collection::<Note>(NOTES)?.scan(None, 1_000).await?;
    Ok(page.documents.into_iter().map(|d| (d.id().to_owned(), d.into_value())).collect())
}

async fn show(who: &str, replica: &Replica) -> Result<()> {
    println!("   {who} has");
    for (id, note) in notes(replica).await? {
        println!("     {id}: {}: {}", note.title, note.text);
    }
    Ok(())
}
