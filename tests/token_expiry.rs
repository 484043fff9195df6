//! Tokens that expire while a replica is connected over HTTP, where every request is checked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod support;

use std::sync::{Arc, Mutex};

use support::{Door, soon};
use tokio::net::TcpListener;
use twotide::prelude::*;
use twotide::server::{Hooks, Server};
use twotide::{StorageUrl, net, routes, tokens_from};

async fn serve() -> (String, Arc<Door>) {
    let door = Arc::new(Door::default());
    door.set_good("first");
    let hooks = Hooks { authenticate: Arc::clone(&door) as _, ..Hooks::default() };
    let storage = StorageUrl::memory().open_server().await.unwrap();
    let server = Server::builder(storage).hooks(hooks).build();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    tokio::spawn(net::listen(socket, routes(&server), std::future::pending()));
    (url, door)
}

async fn write(replica: &Replica, id: &str) {
    replica.raw("notes").unwrap().put(id, &Body::parse("1").unwrap()).await.unwrap();
}

async fn is_pushed(replica: &Replica, id: &str) {
    let notes = replica.raw("notes").unwrap();
    let mut commits = replica.storage().commits();
    while !notes.get(id).await.unwrap().unwrap().is_synced() {
        soon(commits.changed()).await.unwrap();
    }
}

#[tokio::test]
async fn an_expired_token_is_renewed_and_the_edit_is_pushed() {
    let (url, door) = serve().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&asked);
    let provider = tokens_from(move |refused: Option<String>| {
        let token = if refused.is_some() { "second" } else { "first" };
        told.lock().unwrap().push(refused);
        async move { Ok(Some(token.to_owned())) }
    });
    let replica =
        Replica::builder().memory().server(&url).token_provider(provider).open().await.unwrap();
    replica.start().await.unwrap();
    soon(replica.wait_until_in_sync()).await.unwrap();
    door.set_good("second");
    write(&replica, "n").await;
    is_pushed(&replica, "n").await;
    soon(replica.wait_until_in_sync()).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), [None, Some("first".to_owned())]);
    replica.close().await.unwrap();
}

#[tokio::test]
async fn without_a_provider_the_replica_waits_for_a_token_and_continues_with_it() {
    let (url, door) = serve().await;
    let replica = Replica::builder().memory().server(&url).token("first").open().await.unwrap();
    let mut events = replica.event_stream(EventFilter::all());
    replica.start().await.unwrap();
    soon(replica.wait_until_in_sync()).await.unwrap();
    door.set_good("second");
    write(&replica, "n").await;
    while soon(events.next()).await.unwrap().unwrap() != SyncEvent::TokenNeeded {}
    soon(replica.status().wait_for(|s| s.activity == Activity::Error)).await.unwrap();
    replica.set_token(Some("second".to_owned())).await;
    is_pushed(&replica, "n").await;
    replica.close().await.unwrap();
}

#[tokio::test]
async fn a_token_that_is_set_in_time_renews_the_connection() {
    let (url, door) = serve().await;
    let replica = Replica::builder().memory().server(&url).token("first").open().await.unwrap();
    replica.start().await.unwrap();
    soon(replica.wait_until_in_sync()).await.unwrap();
    let mut events = replica.event_stream(EventFilter::all());
    door.set_good("second");
    let knocks = door.knocks();
    replica.set_token(Some("second".to_owned())).await;
    soon(async {
        while door.knocks() == knocks {
            tokio::task::yield_now().await;
        }
    })
    .await;
    write(&replica, "n").await;
    is_pushed(&replica, "n").await;
    let told: Vec<_> = std::iter::from_fn(|| events.next_ready()).collect();
    assert!(!told.contains(&SyncEvent::TokenNeeded), "{told:?}");
    replica.close().await.unwrap();
}
