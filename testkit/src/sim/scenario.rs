//! A run that is given step by step, instead of drawn at random.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sync_core::model::{Body, DocumentKey, DocumentState};
use sync_core::resolver::ConflictResolver;

use super::diagram;
use super::fact::Look;
use super::history::History;
use super::oracles::{Oracle, OracleResult};
use super::plan::{Action, Decider, Plan, Setting, What};
use super::{Failure, Simulation, Tally};
use crate::resolvers::ResolverKind;

/// Describes a run step by step: which client writes what, which connections fail, which processes
/// crash, and when.
///
/// The oracles of [`Simulation`] check it too: after the last step all faults end, and all clients
/// must become idle with equal documents.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use sync_core::model::Body;
/// use sync_core::resolver::FieldMerge;
/// use testkit::sim::Scenario;
///
/// let body = |text: &str| Body::parse(text.to_owned()).unwrap();
/// let s = Duration::from_secs;
/// let end = Scenario::new(["phone", "laptop"])
///     .resolver(Arc::new(FieldMerge::new()))
///     .at(s(1)).write("phone", "note", body(r#"{"title": "milk", "done": false}"#))
///     .at(s(5)).partition(["phone"], s(20))
///     .at(s(8)).write("phone", "note", body(r#"{"title": "milk", "done": true}"#))
///     .at(s(9)).write("laptop", "note", body(r#"{"title": "oat milk", "done": false}"#))
///     .run()
///     .assert_converged();
/// let note: serde_json::Value = end.body("note").unwrap().to().unwrap();
/// assert_eq!(note, serde_json::json!({"title": "oat milk", "done": true}));
/// ```
#[derive(Clone)]
#[must_use]
pub struct Scenario {
    clients: Vec<String>,
    documents: Vec<String>,
    at: u64,
    actions: Vec<Action>,
    resolver: Option<Arc<dyn ConflictResolver>>,
    on_server: bool,
    requests: bool,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scenario")
            .field("clients", &self.clients)
            .field("actions", &self.actions)
            .finish_non_exhaustive()
    }
}

impl Scenario {
    /// Makes clients of these names, which are all online and in sync with an empty server.
    ///
    /// # Panics
    /// If there are no names, or two are equal.
    pub fn new<N: Into<String>>(clients: impl IntoIterator<Item = N>) -> Self {
        let clients: Vec<String> = clients.into_iter().map(Into::into).collect();
        let names: BTreeSet<&String> = clients.iter().collect();
        assert!(
            !clients.is_empty() && names.len() == clients.len(),
            "a scenario has clients, each of a name of its own: {clients:?}"
        );
        Self {
            clients,
            documents: Vec::new(),
            at: 0,
            actions: Vec::new(),
            resolver: None,
            on_server: false,
            requests: false,
        }
    }

    /// Sets the resolver of the replicas. By default the newer edit wins.
    pub fn resolver(mut self, resolver: Arc<dyn ConflictResolver>) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Lets clients send single requests, as over HTTP, instead of a stream of frames.
    pub fn over_requests(mut self) -> Self {
        self.requests = true;
        self
    }

    /// Sets the time of the following steps, since the beginning. Steps may be given in any order.
    pub fn at(mut self, time: Duration) -> Self {
        self.at = u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4);
        self
    }

    /// Lets the app of a client write a document: insert it, or replace the state that it shows.
    ///
    /// # Panics
    /// If no client has that name; the same holds for all steps.
    pub fn write(mut self, client: &str, document: &str, body: Body) -> Self {
        let (client, document) = (self.client(client), self.document(document));
        self.step(What::Set { client, document, body: body.as_str().to_owned() })
    }

    /// Lets the app of a client delete a document, if it exists.
    pub fn delete(mut self, client: &str, document: &str) -> Self {
        let (client, document) = (self.client(client), self.document(document));
        self.step(What::Delete { client, document })
    }

    /// Cuts these clients off from the server for that long: no message arrives, and no error is
    /// reported.
    pub fn partition<'a>(self, clients: impl IntoIterator<Item = &'a str>, time: Duration) -> Self {
        let clients = clients.into_iter().map(|name| self.client(name)).collect();
        self.step(What::Partition { clients, millis: millis(time) })
    }

    /// Breaks the connection of a client; it may reconnect at once.
    pub fn cut(self, client: &str) -> Self {
        let client = self.client(client);
        self.step(What::Cut { client })
    }

    /// Lets the app of a client stop the sync, and start it again after that long.
    pub fn offline(self, client: &str, time: Duration) -> Self {
        let client = self.client(client);
        self.step(What::Offline { client, millis: millis(time) })
    }

    /// Crashes the process of a client, which starts again after that long.
    pub fn crash(self, client: &str, time: Duration) -> Self {
        let client = self.client(client);
        self.step(What::Crash { client, millis: millis(time), power: false, salt: 0 })
    }

    /// Fails the power of a client for that long: unsynced changes on its disk are lost.
    pub fn power_loss(self, client: &str, time: Duration) -> Self {
        let client = self.client(client);
        self.step(What::Crash { client, millis: millis(time), power: true, salt: 0 })
    }

    /// Stops the server, which starts again after that long.
    pub fn server_restart(self, time: Duration) -> Self {
        self.step(What::RestartServer { millis: millis(time), power: false, salt: 0 })
    }

    /// Adds any other action of a [`Plan`]. Clients and documents are numbers there, in the order
    /// in which this scenario named them.
    pub fn step(mut self, what: What) -> Self {
        self.actions.push(Action { at: self.at, what });
        self
    }

    /// Runs the scenario, ends all faults, and runs the oracles.
    pub fn run(&self) -> ScenarioEnd {
        let plan = self.plan();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let shown = Arc::clone(&seen);
        let mut builder = Simulation::builder().oracle(move || Witness(Arc::clone(&shown)));
        if let Some(resolver) = &self.resolver {
            builder = builder.resolver(Arc::clone(resolver));
        }
        let (tally, failure) = match builder.build().replay(&plan) {
            Ok(tally) => (tally, None),
            Err(failure) => (Tally::default(), Some(failure)),
        };
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ScenarioEnd { scenario: self.clone(), plan, failure, tally, seen: seen.unwrap_or_default() }
    }

    /// Returns the scenario as a plan, which is data.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut actions = self.actions.clone();
        actions.sort_by_key(|a| a.at);
        let last = actions.last().map_or(0, |a| a.at);
        Plan {
            setting: Setting {
                seed: 0,
                clients: self.clients.len(),
                scopes: 1,
                documents: self.documents.len().max(1),
                millis: last + 1,
                resolver: match &self.resolver {
                    Some(own) => Decider::Given { given: own.name().to_owned() },
                    None => Decider::Kind(ResolverKind::LastWriteWins),
                },
                on_server: self.on_server,
                refusals: false,
                requests_every: usize::from(self.requests),
                push: 1_000,
                chunk: 1_000,
                heartbeat: 10_000,
                latency: 10,
                jitter: 0,
                body_limit: None,
                collections: 1,
            },
            actions,
        }
    }

    #[allow(
        clippy::panic,
        reason = "a scenario is a test, and this is how a test that is written wrong ends"
    )]
    fn client(&self, name: &str) -> usize {
        let found = self.clients.iter().position(|c| c == name);
        found.unwrap_or_else(|| panic!("there is no client {name:?}, only {:?}", self.clients))
    }

    fn document(&mut self, name: &str) -> usize {
        self.documents.iter().position(|d| d == name).unwrap_or_else(|| {
            self.documents.push(name.to_owned());
            self.documents.len() - 1
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4)
}

/// The states that the server and each client show of each document, by its number: lane 0 is the
/// server.
type Shown = BTreeMap<(usize, String), Option<Body>>;
type Seen = Option<Shown>;

/// Records what the server and the clients show when all have become idle for the first time,
/// before any client writes again.
#[derive(Debug)]
struct Witness(Arc<Mutex<Seen>>);

impl Oracle for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn finish(&mut self, _: &History, look: &mut dyn Look) -> OracleResult {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.is_some() {
            return Ok(());
        }
        let mut shown = Shown::new();
        let mut note = |lane, key: DocumentKey, state: Option<&DocumentState>| {
            shown.insert((lane, key.id.to_string()), state.and_then(|s| s.body.clone()));
        };
        for client in 0..look.clients() {
            for scope in look.scopes_of(client) {
                for (key, row) in look.server_rows(&scope) {
                    note(0, key, Some(&row.state));
                }
                for (key, record) in look.records(client, &scope) {
                    note(client + 1, key, record.current.as_ref());
                }
            }
        }
        *seen = Some(shown);
        Ok(())
    }
}

/// The end of a [`Scenario`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ScenarioEnd {
    scenario: Scenario,
    plan: Plan,
    failure: Option<Box<Failure>>,
    tally: Tally,
    seen: Shown,
}

impl ScenarioEnd {
    /// Panics if any oracle found a violation, with the diagram of the run.
    ///
    /// # Panics
    /// If an oracle found a violation, also if not all converged.
    #[track_caller]
    #[allow(clippy::panic, reason = "this is how a test ends")]
    pub fn assert_converged(self) -> Self {
        if let Some(failure) = &self.failure {
            let text = diagram::text(&failure.trace, 200);
            panic!("{}\n{}{text}", failure.violation, self.plan.to_json());
        }
        self
    }

    /// Returns the violation, if there is one.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_deref()
    }

    /// Returns what the run did; nothing if it failed.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Returns the server's state of a document at the end; none if it is deleted, or was never
    /// written.
    #[must_use]
    pub fn body(&self, document: &str) -> Option<&Body> {
        self.of(0, document)
    }

    /// Returns a client's state of a document at the end.
    #[must_use]
    pub fn body_on(&self, client: &str, document: &str) -> Option<&Body> {
        self.of(self.scenario.client(client) + 1, document)
    }

    fn of(&self, lane: usize, document: &str) -> Option<&Body> {
        let n = self.scenario.documents.iter().position(|d| d == document)?;
        self.seen.get(&(lane, n.to_string()))?.as_ref()
    }
}
