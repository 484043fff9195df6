//! `put`, `get`, `rm` and `ls`.

use serde::Serialize;
use serde_json::value::RawValue;
use twotide::core::model::{Collection, Limits, Scope};
use twotide::core::replica::Scan;
use twotide::prelude::*;

use super::{open, open_existing};
use crate::args::{KeyArgs, LsArgs, PutArgs, RmArgs};
use crate::failure::Failure;
use crate::output::{one_line, print};

#[derive(Serialize)]
struct Shown<'a> {
    collection: &'a str,
    id: &'a str,
    revision: String,
    synced: bool,
    body: Box<RawValue>,
}

fn show(collection: &str, document: &Document<Body>) -> Result<(), Failure> {
    print(&Shown {
        collection,
        id: document.id(),
        revision: document.revision().to_string(),
        synced: document.is_synced(),
        body: one_line(Some(document.value()))?,
    })
}

pub(crate) async fn put(args: PutArgs) -> Result<(), Failure> {
    let KeyArgs { db, collection, id } = args.key;
    let body = Body::parse(args.json)?;
    let replica = open(&db).await?;
    let document = replica.raw(&collection)?.put(&id, &body).await?;
    show(&collection, &document)?;
    Ok(replica.close().await?)
}

pub(crate) async fn get(args: KeyArgs) -> Result<(), Failure> {
    let KeyArgs { db, collection, id } = args;
    let replica = open_existing(&db.db, &db.scope).await?;
    let found = replica.raw(&collection)?.get(&id).await?;
    let found = found.ok_or_else(|| {
        Failure::failed(format!("there is no document {}/{collection}/{id}", db.scope))
    })?;
    show(&collection, &found)?;
    Ok(replica.close().await?)
}

pub(crate) async fn rm(args: RmArgs) -> Result<(), Failure> {
    let KeyArgs { db, collection, id } = args.key;
    let replica = open_existing(&db.db, &db.scope).await?;
    let documents = replica.raw(&collection)?;
    if !args.erase {
        documents.delete(&id).await?;
        print(&serde_json::json!({ "collection": collection, "id": id, "deleted": true }))?;
        return Ok(replica.close().await?);
    }
    documents.hard_delete(&id).await?;
    let tidy = replica.tidy().await?;
    print(
        &serde_json::json!({ "collection": collection, "id": id, "erased": true, "tidy": tidy }),
    )?;
    Ok(replica.close().await?)
}

pub(crate) async fn ls(args: LsArgs) -> Result<(), Failure> {
    let replica = open_existing(&args.db.db, &args.db.scope).await?;
    let scopes = match &args.collection {
        Some(name) => vec![replica.raw(name)?.scope().clone()],
        None => vec![replica.scope().clone(), Scope::local()],
    };
    let collection = args.collection.map(Collection::new).transpose()?;
    for scope in scopes {
        list(&replica, &scope, collection.as_ref()).await?;
    }
    Ok(replica.close().await?)
}

async fn list(
    replica: &Replica,
    scope: &Scope,
    collection: Option<&Collection>,
) -> Result<(), Failure> {
    let mut after = None;
    let mut counted: Option<(Collection, u64)> = None;
    loop {
        let (scope, limits) = (scope.clone(), Limits::CHUNK);
        let scan = Scan { scope, collection: collection.cloned(), after, limits };
        let page = replica.storage().scan(scan).await?;
        after = page.items.last().map(|s| (s.key.collection.clone(), s.key.id.clone()));
        for stored in &page.items {
            if collection.is_some() {
                let (id, revision) = (stored.key.id.as_str(), stored.state.revision);
                let synced = !stored.dirty && !stored.key.scope.is_local();
                print(&serde_json::json!({ "id": id, "revision": revision, "synced": synced }))?;
                continue;
            }
            match &mut counted {
                Some((name, count)) if *name == stored.key.collection => *count += 1,
                _ => show_count(counted.replace((stored.key.collection.clone(), 1)))?,
            }
        }
        if !page.more {
            break;
        }
    }
    show_count(counted)
}

fn show_count(counted: Option<(Collection, u64)>) -> Result<(), Failure> {
    match counted {
        Some((name, count)) => {
            print(&serde_json::json!({ "collection": name, "documents": count }))
        }
        None => Ok(()),
    }
}
