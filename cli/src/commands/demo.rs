//! `demo`: a partition and its repair in one process, over real sockets, on real data.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use twotide::StorageUrl;
use twotide::backend::model::{Digest, Limits, Seq};
use twotide::prelude::*;
use twotide::server::Server;

use super::sync::Bar;
use crate::args::DemoArgs;
use crate::failure::Failure;
use crate::output::print;
use crate::stderr::tell;

/// Cities of the world, from GeoNames (CC BY 4.0); see data/README.md.
const CITIES: &str = include_str!("../../../data/cities.jsonl");
/// The longest that a step of the demo may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct City {
    id: String,
    name: String,
    country: String,
    population: u64,
    latitude: f64,
    longitude: f64,
    timezone: String,
}

#[derive(Serialize)]
struct Outcome {
    documents: u64,
    replicas: usize,
    conflicts: u64,
    digest: String,
    equal: bool,
}

pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let temporary = tempfile::tempdir()?;
    let folder = match &args.keep {
        Some(folder) => {
            std::fs::create_dir_all(folder)
                .map_err(|e| Failure::from(e).about(folder.display()))?;
            is_free(folder)?;
            folder.clone()
        }
        None => temporary.path().to_owned(),
    };
    let stage = Stage::open(&folder).await?;
    let outcome = tokio::time::timeout(PATIENCE * 3, stage.play()).await;
    stage.close().await?;
    let outcome = outcome.map_err(|_| Failure::failed("the demo hangs: that is a bug"))??;
    print(&outcome)?;
    if outcome.equal {
        Ok(())
    } else {
        Err(Failure::failed("the replicas diverged: that is a bug"))
    }
}

/// Refuses a folder with files of an earlier demo, with which the output would differ.
fn is_free(folder: &Path) -> Result<(), Failure> {
    for name in ["server.db", "ann.db", "ben.db", "cleo.db"] {
        let file = folder.join(name);
        if file.exists() {
            let what = "the file is there already, as from an earlier demo: remove it, or give --keep another folder";
            return Err(Failure::failed(what).about(file.display()));
        }
    }
    Ok(())
}

struct Stage {
    server: Server,
    listening: JoinHandle<Result<(), Error>>,
    ann: Replica,
    ben: Replica,
    cleo: Replica,
}

fn say(line: &str) {
    tell(line);
}

fn step(number: u32, line: &str) {
    tell(format_args!("\n{number}. {line}"));
}

async fn open_replica(folder: &Path, name: &str, url: &str) -> Result<Replica, Failure> {
    let path: PathBuf = folder.join(format!("{name}.db"));
    // Small batches and chunks, so that the progress is visible. A chunk is never cut within a
    // batch.
    let limits = Limits { documents: 250, ..Limits::CHUNK };
    let builder = Replica::builder().sqlite(path).server(url);
    Ok(builder.push_limits(limits).chunk_limits(limits).open().await?)
}

impl Stage {
    async fn open(folder: &Path) -> Result<Self, Failure> {
        let server =
            super::serve::open(&StorageUrl::sqlite(folder.join("server.db")), Vec::new()).await?;
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("ws://{}", socket.local_addr()?);
        let mut draining = server.draining();
        let stop = async move {
            let _ = draining.wait_for(|d| *d).await;
        };
        let listening = tokio::spawn(twotide::net::listen(socket, twotide::routes(&server), stop));
        say(
            "Twotide: three replicas and a server, each with a SQLite file of its own, over WebSocket.",
        );
        say(&format!("  server  {url}  in {}", folder.display()));
        let (ann, ben, cleo) = (
            open_replica(folder, "ann", &url).await?,
            open_replica(folder, "ben", &url).await?,
            open_replica(folder, "cleo", &url).await?,
        );
        Ok(Self { server, listening, ann, ben, cleo })
    }

    async fn close(&self) -> Result<(), Failure> {
        for replica in [&self.ann, &self.ben, &self.cleo] {
            replica.close().await?;
        }
        self.server.drain();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.server.drained()).await;
        self.listening.abort();
        Ok(self.server.storage().close().await?)
    }

    async fn play(&self) -> Result<Outcome, Failure> {
        self.write_offline().await?;
        self.catch_up().await?;
        self.edit_live().await?;
        self.part_and_heal().await?;
        self.compare().await
    }

    /// Writes as Ann while her replica is offline.
    async fn write_offline(&self) -> Result<(), Failure> {
        step(1, "Ann imports the cities of the world while she is offline.");
        let cities = self.ann.collection::<City>("cities")?;
        let lines: Vec<&str> = CITIES.lines().collect();
        for chunk in lines.chunks(250) {
            let mut transaction = self.ann.transaction();
            for line in chunk {
                let city: City = serde_json::from_str(line)?;
                transaction.put(&cities, &city.id, &city)?;
            }
            transaction.commit().await?;
        }
        let outbox = outbox(&self.ann).await?;
        say(&format!("   {} documents are in her file, {outbox} wait in her outbox.", lines.len()));
        step(2, "Ann finds a network: her outbox travels to the server.");
        self.ann.start().await?;
        self.ann.wait_until_in_sync().await?;
        let pushed = self.ann.statistics().borrow().pushed;
        say(&format!("   {pushed} pushed; {}", self.describe(&self.ann).await?));
        Ok(())
    }

    async fn catch_up(&self) -> Result<(), Failure> {
        step(3, "Ben and Cleo join and catch up in chunks.");
        for (name, replica) in [("Ben", &self.ben), ("Cleo", &self.cleo)] {
            let mut bar = Bar::default();
            let mut status = replica.status();
            replica.start().await?;
            loop {
                let now = status.changed().await?;
                bar.show(&now);
                if now.in_sync {
                    break;
                }
            }
            bar.clear();
            let pulled = replica.statistics().borrow().pulled;
            say(&format!("   {name}: {pulled} pulled; {}", self.describe(replica).await?));
        }
        Ok(())
    }

    async fn edit_live(&self) -> Result<(), Failure> {
        step(4, "All three are connected: an edit of Ben's is everywhere at once.");
        let mut watch = self.cleo.changes().await?;
        let cities = self.ben.collection::<City>("cities")?;
        let mut lisbon = find(&cities, "Lisbon").await?;
        lisbon.population += 1;
        let began = tokio::time::Instant::now();
        cities.update(&lisbon.id.clone(), &lisbon).await?;
        let change = tokio::time::timeout(PATIENCE, watch.next()).await;
        let change = change.map_err(|_| Failure::failed("the live edit did not arrive"))?;
        let change = change.ok_or_else(|| Failure::failed("the replica was closed"))??;
        let seen = change.document::<City>()?.map_or(0, |d| d.value().population);
        say(&format!(
            "   Cleo sees {} with {seen} people after {:.1} ms.",
            lisbon.name,
            began.elapsed().as_secs_f64() * 1_000.0
        ));
        Ok(())
    }

    async fn part_and_heal(&self) -> Result<(), Failure> {
        step(5, "A partition: Ben and Cleo lose the network, and everybody goes on writing.");
        self.ben.stop().await;
        self.cleo.stop().await;
        let of = |replica: &Replica| replica.collection::<City>("cities");
        let (ann, ben, cleo) = (of(&self.ann)?, of(&self.ben)?, of(&self.cleo)?);
        let paris = find(&ann, "Paris").await?;
        for (name, cities, population) in
            [("Ann", &ann, 1_u64), ("Ben", &ben, 2), ("Cleo", &cleo, 3)]
        {
            cities.update(&paris.id, &City { population, ..paris.clone() }).await?;
            say(&format!("   {name} writes that {} has {population} people.", paris.name));
        }
        let oslo = find(&ben, "Oslo").await?;
        ben.delete(&oslo.id).await?;
        say("   Ben deletes Oslo.");
        let atlantis = City { id: "atlantis".into(), name: "Atlantis".into(), ..paris.clone() };
        cleo.insert_with_id("atlantis", &atlantis).await?;
        say("   Cleo founds Atlantis.");
        self.ann.wait_until_in_sync().await?;

        step(
            6,
            "The network heals: conflicts go to the last write, and everybody hears of everything.",
        );
        self.ben.start().await?;
        self.ben.wait_until_in_sync().await?;
        self.cleo.start().await?;
        self.cleo.wait_until_in_sync().await?;
        self.settle().await?;
        let mut populations = Vec::new();
        for cities in [&ann, &ben, &cleo] {
            populations.push(cities.get(&paris.id).await?.map_or(0, |d| d.value().population));
        }
        let winner = populations[0];
        let agreed = (1..=3).contains(&winner) && populations.iter().all(|p| *p == winner);
        let gone = ann.get(&oslo.id).await?.is_none() && cleo.get(&oslo.id).await?.is_none();
        let found = ann.get("atlantis").await?.is_some() && ben.get("atlantis").await?.is_some();
        say(&format!(
            "   Paris has {winner} people everywhere (the last write), Oslo is gone: {gone}, Atlantis is everywhere: {found}."
        ));
        if !agreed || !gone || !found {
            return Err(Failure::failed("the demo failed: that is a bug"));
        }
        Ok(())
    }

    /// Waits until every replica has applied the server's log up to its head.
    async fn settle(&self) -> Result<(), Failure> {
        let head = self.look().await?.0;
        for replica in [&self.ann, &self.ben, &self.cleo] {
            let mut commits = replica.storage().commits();
            let reached = async {
                loop {
                    commits.borrow_and_update();
                    let state = replica.state().await?;
                    if state.scopes.first().is_some_and(|s| s.checkpoint.after() >= head) {
                        return Ok::<_, Error>(());
                    }
                    if commits.changed().await.is_err() {
                        return Err(Error::new(ErrorKind::Closed, "the replica was closed"));
                    }
                }
            };
            let reached = tokio::time::timeout(PATIENCE, reached).await;
            reached.map_err(|_| Failure::failed("a replica does not reach the head"))??;
        }
        Ok(())
    }

    async fn look(&self) -> Result<(Seq, Digest, u64), Failure> {
        let row = self.server.look_at(None, self.ann.scope()).await?;
        Ok((row.head, row.digest, row.documents))
    }

    async fn describe(&self, replica: &Replica) -> Result<String, Failure> {
        let state = replica.state().await?;
        let scope =
            state.scopes.first().ok_or_else(|| Failure::failed("the replica has no scope"))?;
        Ok(format!("{} documents, digest {}", scope.documents, short(scope.digest)))
    }

    async fn compare(&self) -> Result<Outcome, Failure> {
        step(7, "Is everybody equal?");
        let (_, digest, documents) = self.look().await?;
        say(&format!("   server  {documents} documents, digest {}", short(digest)));
        let (mut equal, mut conflicts) = (true, 0);
        for (name, replica) in [("Ann", &self.ann), ("Ben", &self.ben), ("Cleo", &self.cleo)] {
            let state = replica.state().await?;
            equal &= state
                .scopes
                .first()
                .is_some_and(|s| s.digest == digest && s.documents == documents);
            conflicts += replica.statistics().borrow().conflicts;
            say(&format!("   {name:7} {}", self.describe(replica).await?));
        }
        say(if equal { "\nYes: all four hold the same." } else { "\nNo!" });
        Ok(Outcome { documents, replicas: 3, conflicts, digest: digest.to_string(), equal })
    }
}

fn short(digest: Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

async fn outbox(replica: &Replica) -> Result<u64, Failure> {
    Ok(replica.state().await?.scopes.iter().map(|s| s.outbox.pending).sum())
}

async fn find(cities: &Collection<City>, name: &str) -> Result<City, Failure> {
    let mut after = None;
    loop {
        let page = cities.scan(after.as_deref(), 1_000).await?;
        if let Some(found) = page.documents.into_iter().find(|d| d.value().name == name) {
            return Ok(found.into_value());
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Err(Failure::failed(format!("there is no city named {name}"))),
        }
    }
}
