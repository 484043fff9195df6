//! A conflict that only a person can decide: it waits in the inbox, also when the app is closed,
//! and other documents continue to sync.
//! `cargo run --example conflict_inbox`

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twotide::StorageUrl;
use twotide::prelude::*;
use twotide::server::Server;

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    text: String,
}

impl Note {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned() }
    }
}

/// Opens a replica that does not decide conflicts by itself.
async fn open(folder: &Path, name: &str, server: &Server) -> Result<Replica> {
    let ask = resolve_with("ask", |_| Ok(Resolution::Defer));
    let transport = Arc::new(server.in_process());
    Replica::builder().sqlite(folder.join(name)).transport(transport).resolver(ask).open().await
}

/// Returns the text of one side of a conflict; a side without a body is deleted or did not exist.
fn text(side: Option<&Body>) -> Result<String> {
    Ok(side.map(|body| body.to::<Note>()).transpose()?.map_or("(none)".into(), |note| note.text))
}

async fn read(replica: &Replica, id: &str) -> Result<Option<String>> {
    Ok(replica.collection::<Note>("notes")?.get(id).await?.map(|note| note.into_value().text))
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let storage = StorageUrl::memory().open_server().await?;
    let server = Server::builder(storage).build();
    let ann = open(folder.path(), "ann.db", &server).await?;
    let ben = open(folder.path(), "ben.db", &server).await?;

    println!("1. Ann and Ben edit one note without knowing of each other.");
    let (anns, bens) = (ann.collection::<Note>("notes")?, ben.collection::<Note>("notes")?);
    anns.put("trip", &Note::new("Leave at 9")).await?;
    ann.sync_now().await?;
    ben.sync_now().await?;
    anns.put("trip", &Note::new("Leave at 8")).await?;
    bens.put("trip", &Note::new("Leave at 9, by train")).await?;
    ann.sync_now().await?;
    ben.sync_now().await?;

    println!("2. Ben's replica met the conflict, and asks. It is in sync all the same:");
    bens.put("food", &Note::new("Bring bread")).await?;
    ben.sync_now().await?;
    ann.sync_now().await?;
    println!("   Ann has got   {:?}", read(&ann, "food").await?.ok_or("the rest did not sync")?);

    println!("3. Ben closes the app, and opens it another day. The conflict is still there:");
    ben.close().await?;
    let ben = open(folder.path(), "ben.db", &server).await?;
    let inbox = ben.conflicts().list(None, 10).await?.entries;
    assert_eq!(inbox.len(), 1);
    for conflict in &inbox {
        println!("   {}", conflict.key);
        println!("   it was        {:?}", text(conflict.base.as_ref())?);
        println!("   Ben wrote     {:?}", text(conflict.local.as_ref())?);
        println!("   Ann wrote     {:?}", text(conflict.remote.as_ref())?);
    }
    assert_eq!(ben.sync_state("notes", "trip").await?.as_str(), "conflict");

    println!("4. Ben makes one of both, and everybody gets that:");
    let both = Body::from_value(&Note::new("Leave at 8, by train"))?;
    ben.conflicts().resolve("notes", "trip", Resolution::Merge(both)).await?;
    ben.sync_now().await?;
    ann.sync_now().await?;
    for (name, replica) in [("Ann", &ann), ("Ben", &ben)] {
        let shown = read(replica, "trip").await?.ok_or("the note is gone")?;
        println!("   {name} has       {shown:?}");
        assert_eq!(shown, "Leave at 8, by train");
        assert_eq!(replica.sync_state("notes", "trip").await?.as_str(), "synced");
    }

    ann.close().await?;
    Ok(ben.close().await?)
}
