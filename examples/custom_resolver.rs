//! Two people edit one shopping list concurrently, and a resolver decides the conflict. This
//! example has four resolvers, and shows the result of each for the same two conflicts.
//!
//! `cargo run --example custom_resolver`

use std::cmp::max;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twotide::StorageUrl;
use twotide::backend::environment::{Environment, System};
use twotide::prelude::*;
use twotide::server::Server;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct List {
    title: String,
    tags: Vec<String>,
    items: Vec<Item>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Item {
    name: String,
    quantity: u32,
}

impl List {
    fn new(title: &str, tags: &[&str], items: &[(&str, u32)]) -> Self {
        let item = |&(name, quantity): &(&str, u32)| Item { name: name.to_owned(), quantity };
        Self {
            title: title.to_owned(),
            tags: tags.iter().map(|tag| tag.to_string()).collect(),
            items: items.iter().map(item).collect(),
        }
    }

    fn show(&self) -> String {
        let items: Vec<_> =
            self.items.iter().map(|i| format!("{} {}", i.quantity, i.name)).collect();
        format!("{} #{}: {}", self.title, self.tags.join(" #"), items.join(", "))
    }
}

/// Merges field by field: tags are a set, items are identified by their names, and the last write
/// decides everything else.
fn field_merge() -> Result<FieldMerge> {
    FieldMerge::new()
        .field("/tags", FieldRule::Union)?
        .field("/items", FieldRule::ByKey("name".into()))
}

/// Keeps every item, in the larger quantity: a closure over values.
fn generous(conflict: TypedConflict<'_, List>) -> Result<TypedResolution<List>> {
    Ok(match (conflict.local, conflict.remote) {
        (Some(ours), Some(mut theirs)) => {
            for item in ours.items {
                match theirs.items.iter_mut().find(|i| i.name == item.name) {
                    Some(same) => same.quantity = max(same.quantity, item.quantity),
                    None => theirs.items.push(item),
                }
            }
            TypedResolution::Merge(theirs)
        }
        // One side deleted the list: the other side's edit wins.
        (Some(_), None) => TypedResolution::Local,
        (None, _) => TypedResolution::Remote,
    })
}

/// A custom resolver: the list with more items wins; the server's, if both have as many.
#[derive(Debug)]
struct Longer;

impl ConflictResolver for Longer {
    fn name(&self) -> &str {
        "longer"
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let items = |body: Option<&Body>| -> Result<usize> {
            Ok(body.map(|body| body.to::<List>()).transpose()?.map_or(0, |list| list.items.len()))
        };
        let ours = items(conflict.local.body.as_ref())?;
        let theirs = items(conflict.remote.and_then(|remote| remote.body.as_ref()))?;
        Ok(if ours > theirs { Resolution::Local } else { Resolution::Remote })
    }
}

/// Gives Ann and Ben the list. Ann edits it, and syncs first. Ben makes another change
/// concurrently, and his replica finds the conflict. `bens` is none for a deletion. Returns the
/// list of both at the end.
async fn play<R: ConflictResolver>(
    resolver: impl Fn() -> R,
    bens: Option<&List>,
) -> Result<String> {
    let storage = StorageUrl::memory().open_server().await?;
    let server = Server::builder(storage).build();
    // Every replica has the same resolver; the replica that syncs last calls it.
    let open = || {
        let transport = Arc::new(server.in_process());
        Replica::builder().memory().transport(transport).resolver(resolver()).open()
    };
    let (ann, ben) = (open().await?, open().await?);
    let (anns_lists, bens_lists) =
        (ann.collection::<List>("lists")?, ben.collection::<List>("lists")?);
    anns_lists.put("party", &List::new("Party", &["home"], &[("milk", 1), ("bread", 1)])).await?;
    ann.sync_now().await?;
    ben.sync_now().await?;

    let anns = List::new("Party", &["home", "friday"], &[("milk", 3), ("bread", 1)]);
    anns_lists.put("party", &anns).await?;
    a_moment().await;
    match bens {
        Some(bens) => drop(bens_lists.put("party", bens).await?),
        None => bens_lists.delete("party").await?,
    }
    for replica in [&ann, &ben, &ann] {
        replica.sync_now().await?;
    }

    let show = |list: Option<Document<List>>| list.map_or("(deleted)".into(), |l| l.value().show());
    let ends = show(anns_lists.get("party").await?);
    assert_eq!(ends, show(bens_lists.get("party").await?), "both end with the same");
    ann.close().await?;
    ben.close().await?;
    Ok(ends)
}

/// Waits for the next millisecond: the clocks count milliseconds, and edits in the same one have no
/// visible order.
async fn a_moment() {
    let now = System.now();
    while System.now() == now {
        tokio::task::yield_now().await;
    }
}

async fn row<R: ConflictResolver>(
    name: &str,
    resolver: impl Fn() -> R,
    expected: [&str; 2],
) -> Result<()> {
    // Ben renames it, tags it, and buys something else than bread.
    let bens = List::new("Big party", &["home", "garden"], &[("milk", 1), ("figs", 6)]);
    let outcomes = [play(&resolver, Some(&bens)).await?, play(&resolver, None).await?];
    println!("{name:<19}  {:<51}  {}", outcomes[0], outcomes[1]);
    assert_eq!(outcomes, expected, "{name}");
    Ok(())
}

#[tokio::main]
pub(crate) async fn main() -> Result<()> {
    let anns = "Party #home #friday: 3 milk, 1 bread";
    let bens = "Big party #home #garden: 1 milk, 6 figs";
    println!("The list was         Party #home: 1 milk, 1 bread");
    println!("Ann made it          {anns}");
    println!("Ben, later, made it  {bens}\n");
    println!("{:<19}  {:<51}  If Ben deletes it instead", "Resolver", "Both have");
    row("last write", || LastWriteWins, [bens, "(deleted)"]).await?;
    let merge = field_merge()?;
    let merged = "Big party #home #friday #garden: 3 milk, 6 figs";
    row("field merge", || merge.clone(), [merged, "(deleted)"]).await?;
    let generous = || resolve_typed("generous", generous);
    let everything = "Party #home #friday: 3 milk, 1 bread, 6 figs";
    row("closure", generous, [everything, anns]).await?;
    // The handling of deletions is a separate policy, on top of any resolver.
    row("a type of one's own", || Longer.on_delete(OnDelete::KeepEdit), [anns, anns]).await
}
