//! A resolver is called if and only if two edits were made without knowledge of each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use twotide::backend::engine::RetryPolicy;
use twotide::prelude::*;

use super::support::faulty::Faulty;
use super::support::{builder, server};
use super::{Counting, delete, put, shown, sync};

/// Two replicas whose resolver calls are counted, and the link of the first one.
struct Pair {
    ann: Replica,
    ben: Replica,
    link: Faulty,
    calls: Arc<AtomicUsize>,
}

impl Pair {
    async fn new() -> Self {
        let (server, calls) = (server(), Arc::<AtomicUsize>::default());
        let link = Faulty::new(Arc::new(server.in_process()));
        let mut quick = RetryPolicy::default();
        quick.first = Duration::from_millis(1);
        let open = |id| {
            let counting = Counting { inner: FieldMerge::new(), calls: Arc::clone(&calls) };
            builder(&server, id).resolver(counting).retry(quick)
        };
        let ann = open(1).transport(Arc::new(link.clone())).open().await.unwrap();
        let ben = open(2).open().await.unwrap();
        put(&ann, "x", r#"{"a":0,"b":0}"#).await;
        let pair = Self { ann, ben, link, calls };
        pair.sync().await;
        pair
    }

    /// Syncs both until nothing is left to exchange.
    async fn sync(&self) {
        for replica in [&self.ann, &self.ben, &self.ann] {
            sync(replica).await;
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn both_show(&self, text: &str) {
        for replica in [&self.ann, &self.ben] {
            assert_eq!(shown(replica, "x").await, text);
            assert_eq!(replica.sync_state("notes", "x").await.unwrap().as_str(), "synced");
        }
    }
}

#[tokio::test]
async fn two_edits_that_know_nothing_of_each_other_are_one_call() {
    let pair = Pair::new().await;
    put(&pair.ann, "x", r#"{"a":1,"b":0}"#).await;
    put(&pair.ben, "x", r#"{"a":0,"b":2}"#).await;
    pair.sync().await;
    pair.both_show(r#"{"a":1,"b":2}"#).await;
    assert_eq!(pair.calls(), 1);
    assert_eq!(pair.ben.statistics().borrow().conflicts, 1);
    pair.sync().await;
    assert_eq!(pair.calls(), 1, "the merge is a state like others");
}

#[tokio::test]
async fn many_edits_of_one_document_are_one_conflict() {
    let pair = Pair::new().await;
    for n in 1..=10 {
        put(&pair.ann, "x", &format!(r#"{{"a":{n},"b":0}}"#)).await;
        put(&pair.ben, "x", &format!(r#"{{"a":0,"b":{n}}}"#)).await;
    }
    pair.sync().await;
    pair.both_show(r#"{"a":10,"b":10}"#).await;
    assert_eq!(pair.calls(), 1);
}

#[tokio::test]
async fn an_edit_made_on_what_was_pulled_is_no_conflict() {
    let pair = Pair::new().await;
    for n in 1..5 {
        for replica in [&pair.ann, &pair.ben] {
            sync(replica).await;
            put(replica, "x", &n.to_string()).await;
            sync(replica).await;
        }
    }
    pair.sync().await;
    pair.both_show("4").await;
    assert_eq!(pair.calls(), 0);
}

#[tokio::test]
async fn a_push_that_is_sent_again_is_no_conflict() {
    let pair = Pair::new().await;
    put(&pair.ann, "x", "1").await;
    pair.link.faults.lose(3);
    pair.sync().await;
    assert_eq!(pair.link.faults.left(), 0, "the answers were lost");
    pair.both_show("1").await;
    assert_eq!(pair.calls(), 0);
}

#[tokio::test]
async fn an_edit_while_the_own_push_is_on_its_way_is_no_conflict() {
    let pair = Pair::new().await;
    for n in 1..5 {
        put(&pair.ann, "x", &n.to_string()).await;
        // The server has the push, and the replica does not know it.
        pair.link.faults.lose(usize::MAX);
        pair.ann.push().await.unwrap_err();
        assert_eq!(pair.ann.sync_state("notes", "x").await.unwrap().as_str(), "in_flight");
        put(&pair.ann, "x", &format!("{n}.5")).await;
        pair.link.faults.lose(0);
        // Its echo may arrive before the answer.
        if n % 2 == 0 {
            super::support::soon(pair.ann.pull()).await.unwrap();
        }
        sync(&pair.ann).await;
    }
    pair.sync().await;
    pair.both_show("4.5").await;
    assert_eq!(pair.calls(), 0);
}

#[tokio::test]
async fn an_edit_based_on_a_push_whose_answer_was_lost_is_no_conflict() {
    let pair = Pair::new().await;
    put(&pair.ann, "x", "1").await;
    pair.link.faults.lose(usize::MAX);
    pair.ann.push().await.unwrap_err();
    sync(&pair.ben).await;
    put(&pair.ben, "x", "2").await;
    sync(&pair.ben).await;
    pair.link.faults.lose(0);
    pair.sync().await;
    pair.both_show("2").await;
    assert_eq!(pair.calls(), 0);
}

#[tokio::test]
async fn equal_bodies_and_two_deletions_are_no_conflict() {
    let pair = Pair::new().await;
    for replica in [&pair.ann, &pair.ben] {
        put(replica, "x", "7").await;
        put(replica, "new on both", "8").await;
    }
    pair.sync().await;
    pair.both_show("7").await;
    for replica in [&pair.ann, &pair.ben] {
        delete(replica, "x").await;
    }
    pair.sync().await;
    pair.both_show("").await;
    assert_eq!(pair.calls(), 0);
}

#[tokio::test]
async fn replicas_that_follow_live_are_not_in_conflict_with_their_own_echoes() {
    let pair = Pair::new().await;
    for replica in [&pair.ann, &pair.ben] {
        replica.start().await.unwrap();
    }
    for n in 0..200 {
        put(&pair.ann, "x", &n.to_string()).await;
        put(&pair.ben, &format!("{}", n % 3), &n.to_string()).await;
    }
    for replica in [&pair.ann, &pair.ben] {
        super::support::soon(replica.wait_until_in_sync()).await.unwrap();
        replica.stop().await;
    }
    pair.sync().await;
    pair.both_show("199").await;
    assert_eq!(pair.calls(), 0);
}

/// Turns of random length, with edits, deletions and lost answers. The replica whose turn it is
/// syncs before and after, so no edits are concurrent. At the end one pair of edits is.
#[tokio::test]
async fn histories_without_concurrent_edits_call_no_resolver() {
    for seed in 1..=12u64 {
        let pair = Pair::new().await;
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut draw = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for turn in 0..12 {
            let mine = if draw(2) == 0 { &pair.ann } else { &pair.ben };
            sync(mine).await;
            for edit in 0..draw(5) {
                if draw(4) == 0 && !shown(mine, "x").await.is_empty() {
                    delete(mine, "x").await;
                } else {
                    put(mine, "x", &format!("[{turn},{edit}]")).await;
                }
                match draw(3) {
                    0 => {
                        pair.link.faults.lose(usize::MAX);
                        let _ = pair.ann.push().await;
                        pair.link.faults.lose(0);
                    }
                    1 => pair.link.faults.lose(draw(3) as usize),
                    _ => {}
                }
            }
            sync(mine).await;
            pair.link.faults.lose(0);
        }
        pair.sync().await;
        assert_eq!(pair.calls(), 0, "seed {seed}");
        put(&pair.ann, "x", r#"{"a":"ann"}"#).await;
        put(&pair.ben, "x", r#"{"b":"ben"}"#).await;
        pair.sync().await;
        assert_eq!(pair.calls(), 1, "seed {seed}");
    }
}
