//! A server and two replicas in one program: an offline write, a sync, and live changes.
//!
//! `cargo run --example quickstart --features server`

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::timeout;
use twotide::prelude::*;
use twotide::server::Server;
use twotide::{Page, StorageUrl, net, routes};

/// A document can be any type that serde writes as JSON and reads again.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
    done: bool,
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;

    // The server stores its data in a SQLite file, too. It normally runs on another machine; here
    // it listens on any free port.
    let storage = StorageUrl::sqlite(folder.path().join("server.db")).open_server().await?;
    let server = Server::builder(storage).build();
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("ws://{}", socket.local_addr()?);
    tokio::spawn(net::listen(socket, routes(&server), std::future::pending()));
    println!("The server listens at {url}.");

    // Each device has a replica. Opening one needs no network.
    let open = |name: &str| Replica::builder().sqlite(folder.path().join(name)).server(&url).open();
    let (phone, laptop) = (open("phone.db").await?, open("laptop.db").await?);

    // A replica that is not started is offline: the write is durable when `insert` returns, and
    // waits.
    let notes = phone.collection::<Note>("notes")?;
    let milk = notes.insert(&Note { text: "buy milk".into(), done: false }).await?;
    let state = phone.sync_state("notes", milk.id()).await?;
    println!("The phone wrote {:?} offline; it is {}.", milk.value().text, state.as_str());
    assert_eq!(state.as_str(), "pending");

    // One sync of each brings it to the server, and from there to the laptop.
    phone.sync_now().await?;
    laptop.sync_now().await?;
    let state = phone.sync_state("notes", milk.id()).await?;
    println!("Both have synced; on the phone the note is {}.", state.as_str());
    let copies = laptop.collection::<Note>("notes")?;
    let copy = copies.get(milk.id()).await?.ok_or("the note did not reach the laptop")?;
    assert_eq!((copy.value(), state.as_str()), (milk.value(), "synced"));
    println!("The laptop has {:?}.", copy.value().text);

    // A started replica follows live, and reconnects when the link is lost.
    let mut changes = phone.changes().await?;
    phone.start().await?;
    laptop.start().await?;
    copies.update(milk.id(), &Note { text: "buy oat milk".into(), done: false }).await?;
    copies.insert(&Note { text: "feed the cat".into(), done: true }).await?;
    for expected in ["buy oat milk", "feed the cat"] {
        let change = timeout(Duration::from_secs(10), changes.next()).await?;
        let change = change.ok_or("nothing closes the phone here")??;
        let note = change.document::<Note>()?.ok_or("nobody deletes anything here")?.into_value();
        let mark = if note.done { "x" } else { " " };
        println!("The phone is told live: {:?} of [{mark}] {:?}", change.operation(), note.text);
        assert_eq!(note.text, expected);
    }

    // At the end both have the same data.
    laptop.wait_until_in_sync().await?;
    phone.wait_until_in_sync().await?;
    let values = |page: Page<Note>| page.documents.into_iter().map(Document::into_value);
    let ours: Vec<_> = values(notes.scan(None, 100).await?).collect();
    let theirs: Vec<_> = values(copies.scan(None, 100).await?).collect();
    println!("Both hold the same {} notes.", ours.len());
    assert_eq!((ours.len(), &ours), (2, &theirs));

    phone.close().await?;
    laptop.close().await?;
    server.drain();
    Ok(server.storage().close().await?)
}
