//! Links that break, fall silent, or lose answers.

use super::*;

/// Asserts that an error reports a lost link.
fn assert_lost(error: &Error) {
    let kinds = [ErrorKind::Network, ErrorKind::Timeout, ErrorKind::Closed];
    assert!(kinds.contains(&error.kind()), "{error:?}");
    assert_eq!(error.retry(), Retry::Reconnect, "{error:?}");
}

/// When the link is lost for good, every pending request fails promptly, with the advice to
/// reconnect; live streams end with that error.
pub async fn a_cut_fails_everything_that_is_pending<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let connection = fixture.connect(1, &[]).await;
    let pending = Pending::ask(&fixture, &*connection).await;
    fixture.harness.refuse().await?;
    fixture.harness.cut().await?;
    let errors = pending.fails(fixture.timing.prompt, async {}).await;
    errors.iter().for_each(assert_lost);
    assert_lost(&fixture.soon("the loss", connection.lost()).await);
    Ok(())
}

/// A request on a lost link fails promptly, with the advice to reconnect; and a new connection
/// succeeds as soon as the server is there.
pub async fn requests_after_a_cut_fail_promptly<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("cut");
    let connection = fixture.connect(1, &[&scope]).await;
    fixture.harness.refuse().await?;
    fixture.harness.cut().await?;
    let pulled = connection.pull(pull(&scope, Cursor::default()));
    assert_lost(&error_of("the pull", fixture.soon("a pull", pulled).await));
    let mut live = connection.live(pull(&scope, Cursor::default()));
    let last = fixture.soon("a live stream", live.next()).await.expect("a last word");
    assert_lost(&error_of("the stream", last));
    fixture.harness.heal().await;
    let connection = fixture.connect(1, &[&scope]).await;
    let pushed = connection.push(batch(1, 1, &scope, vec![insert(NOTES, "a", text("x"))]));
    assert_accepted(&fixture.soon("a push", pushed).await.unwrap());
    Ok(())
}

/// A link that carries nothing any more, without an error, is detected within the bound: every
/// pending request fails with the advice to reconnect. When it carries bytes again, a new
/// connection succeeds.
pub async fn a_half_open_link_is_noticed<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::with_heartbeat(harness).await;
    let connection = fixture.connect(1, &[]).await;
    let pending = Pending::ask(&fixture, &*connection).await;
    fixture.harness.stall().await?;
    let errors = pending.fails(fixture.timing.silence, async {}).await;
    errors.iter().for_each(assert_lost);
    assert_lost(&fixture.soon("the loss", connection.lost()).await);
    fixture.access_switch.release();
    fixture.harness.heal().await;
    let scope = scope("later");
    let connection = fixture.connect(1, &[&scope]).await;
    let pushed = connection.push(batch(1, 1, &scope, vec![insert(NOTES, "a", text("x"))]));
    assert_accepted(&fixture.soon("a push", pushed).await.unwrap());
    Ok(())
}

/// A connection that is idle outlives many heartbeats.
pub async fn an_idle_connection_stays<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::with_heartbeat(harness).await;
    let scope = scope("idle");
    let author = fixture.author().await;
    let connection = fixture.connect(1, &[&scope]).await;
    let mut reader = Reader::new(&scope);
    let mut live = connection.live(reader.request());
    author.write_each(&scope, 0..1).await;
    reader.follow_until(&fixture, &mut live, 1).await;
    // The case tests the passage of time itself.
    let idle = tokio::time::timeout(fixture.timing.heartbeat * 8, live.next()).await;
    assert!(idle.is_err(), "nothing happened, and the stream said {idle:?}");
    author.write_each(&scope, 1..2).await;
    reader.follow_until(&fixture, &mut live, 2).await;
    reader.assert_has_all(2);
    Ok(())
}

/// A push whose answer was lost is on the server; pushed again on a new connection, it gets the
/// verdicts that were lost, and has no other effect.
pub async fn a_push_whose_answer_was_lost_has_one_effect<H: TransportHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("lost-answer");
    let connection = fixture.connect(1, &[&scope]).await;
    let batch = batch(1, 1, &scope, vec![insert(NOTES, &name(0), text("x"))]);
    fixture.storage.hold_answers(true);
    let mut committed = fixture.storage.appends();
    let mut pushing = connection.push(batch.clone());
    tokio::select! {
        answer = &mut pushing => panic!("the answer was held back, and came: {answer:?}"),
        _ = fixture.soon("the commit", committed.wait_for(|n| *n == 1)) => {}
    }
    fixture.harness.refuse().await?;
    fixture.harness.cut().await?;
    assert_lost(&error_of("the push", fixture.soon("the push", pushing).await));
    fixture.storage.hold_answers(false);
    fixture.harness.heal().await;
    let connection = fixture.connect(1, &[&scope]).await;
    for _ in 0..2 {
        let again = fixture.soon("the push again", connection.push(batch.clone())).await.unwrap();
        assert_eq!(assert_accepted(&again), [Seq(1)]);
    }
    assert_eq!(fixture.row(&scope).await.head, Seq(1));
    Ok(())
}

/// A log is pulled over links that break in the middle of a chunk, again and again: a reader that
/// reconnects and continues at its position misses nothing and gets nothing twice.
pub async fn a_log_is_pulled_over_links_that_break<H: TransportHarness>(harness: H) -> Outcome {
    let breaks = over_links_that_break(harness, async |fixture, connection, reader| {
        while reader.entries.len() < DOCUMENTS {
            fixture.soon("a pull", reader.pull(&**connection)).await?;
        }
        Ok(())
    })
    .await?;
    // A transport that opens links as it needs them need not detect a break between two requests.
    // These breaks are within requests.
    assert!(breaks > 0, "the link never broke in the middle");
    Ok(())
}

/// A log is followed by live streams over links that break. A stream that continues by itself need
/// not report the breaks.
pub async fn a_log_is_followed_over_links_that_break<H: TransportHarness>(harness: H) -> Outcome {
    let heals = harness.heals();
    let breaks = over_links_that_break(harness, async |fixture, connection, reader| {
        let mut live = connection.live(reader.request());
        while reader.entries.len() < DOCUMENTS {
            let event = fixture.soon("the next chunk", live.next()).await;
            reader.take(chunk_of(event.expect("it ended without a word")?));
        }
        Ok(())
    })
    .await?;
    assert!(breaks > 0 || heals, "the link never broke in the middle");
    Ok(())
}

/// A flipped bit in transit is detected: the receiver gets the sent bytes, or an error that may be
/// retried.
pub async fn damage_is_noticed<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::with_heartbeat(harness).await;
    let scope = scope("damaged");
    fixture.author().await.write(&scope, &[("large", large(20_000))]).await;
    let read = async || {
        let (connection, _) = fixture.transport.connect(hello(1, &[&scope])).await?;
        let mut reader = Reader::new(&scope);
        reader.pull_all(&*connection).await?;
        Ok::<_, Error>(reader.entries)
    };
    let sound = fixture.soon("reading", read()).await.unwrap();
    let mut noticed = 0;
    for byte in (0..12).map(|n| 1_000 + n * 1_531) {
        fixture.harness.damage(byte).await?;
        // A link that is kept open has carried more than that already.
        fixture.harness.cut().await?;
        match within(fixture.timing.silence, "reading what is damaged", read()).await {
            Ok(entries) => assert_eq!(entries, sound, "damage at byte {byte} came through"),
            Err(error) => {
                assert_ne!(error.retry(), Retry::Never, "{error:?}");
                noticed += 1;
            }
        }
    }
    assert!(noticed > 0, "nothing was damaged");
    fixture.harness.heal().await;
    assert_eq!(fixture.soon("reading", read()).await.unwrap(), sound);
    Ok(())
}

/// The number of documents in a log that is read over links that break, and their size.
const DOCUMENTS: usize = 60;
const BYTES: usize = 4_000;

/// Reads a log, reconnecting after each failure; returns the number of failures.
async fn over_links_that_break<H: TransportHarness>(
    harness: H,
    read: impl AsyncFn(&Fixture<H>, &Arc<dyn Connection>, &mut Reader) -> Result<()>,
) -> Result<u64, Skipped> {
    let fixture = Fixture::new(harness).await;
    let scope = scope("broken");
    let author = fixture.author().await;
    for n in 0..DOCUMENTS {
        author.write(&scope, &[(&name(n), large(BYTES))]).await;
    }
    let mut reader = Reader::few(&scope, 2);
    let mut breaks = 0;
    while reader.entries.len() < DOCUMENTS {
        // Enough bytes for the greeting and a few chunks, and each time for another part of one.
        fixture.harness.cut_after(30_000 + 1_777 * breaks).await?;
        let connection = fixture.connect(1, &[&scope]).await;
        if let Err(error) = read(&fixture, &connection, &mut reader).await {
            // The link is not lost for good: the transport advises whether to retry at once, or how
            // soon.
            assert!(matches!(error.kind(), ErrorKind::Network | ErrorKind::Timeout), "{error:?}");
            assert_ne!(error.retry(), Retry::Never, "{error:?}");
            breaks += 1;
        }
        assert!(breaks < 60, "no progress: {} documents", reader.entries.len());
    }
    reader.assert_has_all(DOCUMENTS);
    Ok(breaks)
}
