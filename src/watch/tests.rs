//! What a watch keeps is bounded.

use super::WatchEvent;
use crate::Replica;

#[tokio::test]
async fn what_a_watch_keeps_does_not_grow_with_the_changes() {
    let replica = Replica::builder().memory().open().await.unwrap();
    let counts = replica.collection::<usize>("counts").unwrap();
    let put = async |from: usize, to: usize| {
        let mut transaction = replica.transaction();
        for n in from..to {
            transaction.put(&counts, &n.to_string(), &n).unwrap();
        }
        transaction.commit().await.unwrap();
    };
    for start in (0..2_000).step_by(500) {
        put(start, start + 500).await;
    }
    let mut watch = counts.watch_all();
    let mut told = 0;
    while let Some(event) = watch.try_next().await.unwrap() {
        assert!(watch.kept().0 <= 256 && watch.kept().1 == 0, "{watch:?}");
        told += usize::from(matches!(event, WatchEvent::Current(_)));
    }
    assert_eq!(told, 2_000);
    for _ in 0..5 {
        for start in (0..2_000).step_by(500) {
            put(start, start + 500).await;
        }
    }
    // Ten thousand changes of two thousand documents; what one read gathers is known once each.
    told = 0;
    while let Some(event) = watch.try_next().await.unwrap() {
        assert!(watch.kept().0 == 0 && watch.kept().1 < 512, "{watch:?}");
        told += usize::from(matches!(event, WatchEvent::Changed(_)));
    }
    assert_eq!(told, 2_000, "the newest state is told, and once");
}
