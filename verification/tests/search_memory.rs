//! The search, on the backend in memory. `TESTKIT_SEEDS=from..to` runs other seeds.

use testkit::cores::MemoryCores;
use verification::search::{Mix, explore};

fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("TESTKIT_SEEDS").ok();
    let parse = |text: String| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    };
    given.and_then(parse).unwrap_or(0..if cfg!(debug_assertions) { 120 } else { 1_000 })
}

macro_rules! searches {
    ($($name:ident: $mix:ident;)*) => {$(
        #[test]
        fn $name() {
            let tally = explore(|| MemoryCores, seeds(), Mix::$mix, 60);
            println!("{tally:?}");
        }
    )*};
}

searches! {
    messages_are_lost_doubled_and_late: Network;
    with_purges_and_resets: Purges;
    with_restores: Restores;
    with_purges_and_restores: Both;
    with_restores_that_nobody_announces: Silent;
    with_everything: All;
}
