//! The setting and the plan of a seed.

use super::Simulation;
use super::plan::{Decider, Plan, Setting};
use crate::random::SplitMix64;
use crate::resolvers::ResolverKind;

/// The largest batch over a link with a size limit, in bytes: fewer documents than a batch may
/// hold, and no long one.
const BODY_LIMIT: usize = 400;

impl Simulation {
    /// Returns the setting of a seed.
    #[must_use]
    pub fn setting(&self, seed: u64) -> Setting {
        use ResolverKind::{ClientWins, Deferring, Joining, LastWriteWins, ServerWins};
        let mut rng = SplitMix64::of(seed, 0x5e77);
        let kinds =
            [LastWriteWins, LastWriteWins, ClientWins, Joining, Joining, ServerWins, Deferring];
        let sizes = [1, 2, 5, 1_000];
        let kind = kinds[rng.below(kinds.len())];
        let on_server = rng.percent(30);
        Setting {
            seed,
            clients: self.clients,
            scopes: self.scopes,
            documents: 1 + rng.below(self.documents),
            millis: self.millis,
            resolver: self.decider(self.kind.unwrap_or(kind)),
            on_server: self.on_server.unwrap_or(on_server),
            refusals: self.options.edit.is_none() && rng.percent(20),
            requests_every: [0, 0, 2, 3][rng.below(4)],
            push: sizes[rng.below(4)],
            chunk: sizes[rng.below(4)],
            heartbeat: [5_000, 10_000, 30_000][rng.below(3)],
            latency: 1 + rng.next_u64() % 40,
            jitter: [0, 20, 200][rng.below(3)],
            body_limit: (self.options.edit.is_none() && rng.percent(10)).then_some(BODY_LIMIT),
            collections: [1, 1, 3][SplitMix64::of(seed, 0xc011).below(3)],
        }
    }

    fn decider(&self, kind: ResolverKind) -> Decider {
        match &self.options.resolver {
            Some(own) => Decider::Given { given: own.name().to_owned() },
            None => Decider::Kind(kind),
        }
    }

    /// Returns the plan of a seed.
    #[must_use]
    pub fn plan(&self, seed: u64) -> Plan {
        Plan::generate(self.setting(seed), &self.workload, &self.faults)
    }
}
