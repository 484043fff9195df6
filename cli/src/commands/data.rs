//! `put`, `get`, `rm` and `ls`.

use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use twotide::backend::model::{Collection, DocumentId, Limits, Scope};
use twotide::backend::replica::Scan;
use twotide::prelude::*;

use super::{closing, open, open_existing};
use crate::args::{KeyArgs, LsArgs, PutArgs, RmArgs};
use crate::failure::Failure;
use crate::output::{one_line, print, print_done};

#[derive(Serialize)]
struct Shown<'a> {
    collection: &'a str,
    id: &'a str,
    revision: String,
    synced: bool,
    body: Box<RawValue>,
}

fn shown<'a>(
    collection: &'a Collection,
    document: &'a Document<Body>,
) -> Result<Shown<'a>, Failure> {
    Ok(Shown {
        collection: collection.as_str(),
        id: document.id(),
        revision: document.revision().to_string(),
        synced: document.is_synced(),
        body: one_line(Some(document.value()))?,
    })
}

pub(crate) async fn put(args: PutArgs) -> Result<(), Failure> {
    let KeyArgs { db, collection, id } = args.key;
    let body = Body::parse(args.json).map_err(|e| Failure::argument(&e))?;
    closing(open(&db).await?, async |replica| {
        let document = replica.raw(collection.as_str())?.put(id.as_str(), &body).await?;
        let done = format!("the document {}/{collection}/{id} was written", db.scope);
        print_done(done, &shown(&collection, &document)?)
    })
    .await
}

pub(crate) async fn get(args: KeyArgs) -> Result<(), Failure> {
    let KeyArgs { db, collection, id } = args;
    closing(open_existing(&db.db, &db.scope).await?, async |replica| {
        let found = replica.raw(collection.as_str())?.get(id.as_str()).await?;
        let found = found.ok_or_else(|| absent(&db.scope, &collection, &id))?;
        print(&shown(&collection, &found)?)
    })
    .await
}

/// Returns the failure for a document that does not exist.
pub(super) fn absent(scope: &Scope, collection: &Collection, id: &DocumentId) -> Failure {
    Failure::failed(format!("there is no document {scope}/{collection}/{id}"))
}

pub(crate) async fn rm(args: RmArgs) -> Result<(), Failure> {
    let KeyArgs { db, collection, id } = args.key;
    closing(open_existing(&db.db, &db.scope).await?, async |replica| {
        let documents = replica.raw(collection.as_str())?;
        let document = format!("the document {}/{collection}/{id}", db.scope);
        if args.erase {
            documents.erase(id.as_str()).await?;
            let tidy = replica.purge_erased().await?;
            let line = json!({ "collection": collection, "id": id, "erased": true, "tidy": tidy });
            print_done(format!("{document} was erased"), &line)
        } else {
            documents.delete(id.as_str()).await?;
            let line = json!({ "collection": collection, "id": id, "deleted": true });
            print_done(format!("{document} was deleted"), &line)
        }
    })
    .await
}

pub(crate) async fn ls(args: LsArgs) -> Result<(), Failure> {
    closing(open_existing(&args.db.db, &args.db.scope).await?, async |replica| {
        for scope in scopes(replica, args.collection.as_ref())? {
            list(replica, &scope, args.collection.as_ref()).await?;
        }
        Ok(())
    })
    .await
}

/// Returns the scopes that a replica's documents are in, or the one that a collection is in.
pub(super) fn scopes(
    replica: &Replica,
    collection: Option<&Collection>,
) -> Result<Vec<Scope>, Failure> {
    Ok(match collection {
        Some(name) => vec![replica.raw(name.as_str())?.scope().clone()],
        None => vec![replica.scope().clone(), Scope::local()],
    })
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
                print(&json!({ "id": id, "revision": revision, "synced": synced }))?;
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
        Some((name, count)) => print(&json!({ "collection": name, "documents": count })),
        None => Ok(()),
    }
}
