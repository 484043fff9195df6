//! Live streams: what they deliver, and how they end.

use std::task::Poll;

use super::*;

/// A live stream delivers what follows its cursor, first the present entries and then new ones, in
/// order and each once.
pub async fn a_live_stream_catches_up_and_follows<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("live");
    let author = fixture.author().await;
    author.write_each(&scope, 0..10).await;
    let connection = fixture.connect(1, &[&scope]).await;
    let mut reader = Reader::few(&scope, 3);
    fixture.soon("a pull", reader.pull(&*connection)).await.unwrap();
    let mut live = connection.live(reader.request());
    reader.follow_until(&fixture, &mut live, 10).await;
    for n in 10..14 {
        author.write_each(&scope, n..n + 1).await;
        reader.follow_until(&fixture, &mut live, n + 1).await;
    }
    reader.assert_has_all(14);
    Ok(())
}

/// Documents that are written after a live stream was made and before its first poll are delivered
/// as well.
pub async fn nothing_is_missed_before_the_first_poll<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("early");
    let author = fixture.author().await;
    author.write_each(&scope, 0..2).await;
    let connection = fixture.connect(1, &[&scope]).await;
    let mut reader = Reader::new(&scope);
    fixture.soon("a pull", reader.pull_all(&*connection)).await.unwrap();
    let mut live = connection.live(reader.request());
    author.write_each(&scope, 2..7).await;
    reader.follow_until(&fixture, &mut live, 7).await;
    reader.assert_has_all(7);
    Ok(())
}

/// Documents that are written while the stream is not polled are delivered when it is polled again,
/// however many they are.
pub async fn nothing_is_missed_while_it_is_not_polled<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("bursts");
    let author = fixture.author().await;
    author.write_each(&scope, 0..1).await;
    let connection = fixture.connect(1, &[&scope]).await;
    let mut reader = Reader::few(&scope, 7);
    let mut live = connection.live(reader.request());
    let mut written = 1;
    reader.follow_until(&fixture, &mut live, written).await;
    for burst in [1, 50, 3, 150] {
        author.write_each(&scope, written..written + burst).await;
        written += burst;
        reader.follow_until(&fixture, &mut live, written).await;
    }
    reader.assert_has_all(written);
    Ok(())
}

/// Writes of other clients that are made while this replica pushes arrive on the live stream, and
/// also its own writes.
pub async fn nothing_is_missed_while_pushes_are_in_flight<H: TransportHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let (scope, held) = (scope("both-ways"), scope("held"));
    let author = fixture.author().await;
    let connection = fixture.connect(1, &[&scope]).await;
    let mut reader = Reader::new(&scope);
    let mut live = connection.live(reader.request());
    author.write_each(&scope, 0..1).await;
    reader.follow_until(&fixture, &mut live, 1).await;
    for round in 0..5 {
        fixture.access_switch.hold(&held);
        let (first, id) = (reader.entries.len(), 2 * round + 1);
        let waits = batch(1, id, &held, vec![insert(NOTES, &name(id as usize), text("x"))]);
        let mut waiting = connection.push(waits);
        tokio::select! {
            _ = &mut waiting => panic!("the push was answered although it is held"),
            () = fixture.soon("the push's arrival", fixture.access_switch.holds(1)) => {}
        }
        author.write_each(&scope, first..first + 3).await;
        let follow = reader.follow_until(&fixture, &mut live, first + 3);
        tokio::select! {
            _ = &mut waiting => panic!("the push was answered although it is held"),
            () = follow => {}
        }
        fixture.access_switch.release();
        assert_accepted(&fixture.soon("a push", waiting).await.unwrap());
        let own = insert(NOTES, &name(first + 3), text("mine"));
        let pushed = connection.push(batch(1, id + 1, &scope, vec![own]));
        assert_accepted(&fixture.soon("a push", pushed).await.unwrap());
        reader.follow_until(&fixture, &mut live, first + 4).await;
    }
    reader.assert_has_all(21);
    Ok(())
}

/// A wait for the next chunk may be dropped at any time, again and again, and nothing is lost by
/// it.
pub async fn waiting_for_a_chunk_may_be_dropped<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("impatient");
    let author = fixture.author().await;
    let connection = fixture.connect(1, &[&scope]).await;
    let mut reader = Reader::few(&scope, 2);
    let mut live = connection.live(reader.request());
    for n in 0..30 {
        // The write runs while one task after the other waits, polls once, and stops waiting; and a
        // while longer, because the author may be answered first. Some of the polls take time: on a
        // busy machine all of them would be over before anything has arrived.
        let mut write = std::pin::pin!(author.write_each(&scope, n..n + 1));
        let (mut is_written, mut looks) = (false, 0);
        while !is_written || (looks < 1_000 && reader.entries.len() <= n) {
            is_written = is_written || poll!(&mut write).is_ready();
            looks += usize::from(is_written);
            // One poll each by two tasks. A timeout of no time would wait until its timer runs.
            let mut next = live.next().now_or_never();
            if next.is_none()
                && let Poll::Ready(found) = poll!(live.next())
            {
                next = Some(found);
            }
            if let Some(next) = next {
                reader.take(chunk_of(next.expect("no end").unwrap()));
            }
            match looks % 20 {
                19 => tokio::time::sleep(Duration::from_millis(1)).await,
                _ => tokio::task::yield_now().await,
            }
        }
    }
    reader.follow_until(&fixture, &mut live, 30).await;
    reader.assert_has_all(30);
    Ok(())
}

/// Twenty scopes are followed at once on one connection, each by its own stream.
pub async fn many_scopes_are_followed_at_once<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scopes: Vec<_> = (0..20).map(|n| scope(&format!("scope-{n}"))).collect();
    let author = fixture.author().await;
    let connection = fixture.connect(1, &scopes.iter().collect::<Vec<_>>()).await;
    let mut readers: Vec<(Reader, Live)> = Vec::new();
    for scope in &scopes {
        author.write_each(scope, 0..2).await;
        let reader = Reader::new(scope);
        let live = connection.live(reader.request());
        readers.push((reader, live));
    }
    for documents in [2, 4] {
        let all = readers.iter_mut().map(|(reader, live)| {
            let fixture = &fixture;
            async move { reader.follow_until(fixture, live, documents).await }
        });
        futures_util::future::join_all(all).await;
        for scope in &scopes {
            author.write_each(scope, documents..documents + 2).await;
        }
    }
    for (reader, _) in &readers {
        reader.assert_has_all(4);
    }
    Ok(())
}

/// A cursor of a foreign epoch causes a reset as the last event of the stream. A log that begins
/// another epoch while the stream is at its head causes it too.
pub async fn a_reset_ends_a_live_stream<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::with_heartbeat(harness).await;
    let scope = scope("lives");
    fixture.author().await.write_each(&scope, 0..3).await;
    let connection = fixture.connect(1, &[&scope]).await;
    let epoch = fixture.row(&scope).await.epoch;
    let foreign = Cursor {
        epoch: Some(Epoch([9; 16])),
        after: Seq(2),
        position: Seq(2),
        ..Cursor::default()
    };
    let reason = ResetReason::EpochChanged { cut: Seq(0) };
    let mut live = connection.live(pull(&scope, foreign));
    let event = fixture.soon("the reset", live.next()).await;
    assert_eq!(event.unwrap().unwrap(), Delivery::Reset(Reset { epoch, reason }));
    assert!(fixture.soon("the end", live.next()).await.is_none(), "more after a reset");

    let mut reader = Reader::new(&scope);
    let mut live = connection.live(reader.request());
    reader.follow_until(&fixture, &mut live, 3).await;
    let next = Epoch([7; 16]);
    fixture.server.storage().begin_epoch(scope.clone(), epoch, Seq(1), next).await.unwrap();
    let event = fixture.soon("the reset", live.next()).await;
    let reset = Reset { epoch: next, reason: ResetReason::EpochChanged { cut: Seq(1) } };
    assert_eq!(event.unwrap().unwrap(), Delivery::Reset(reset));
    assert!(fixture.soon("the end", live.next()).await.is_none(), "more after a reset");
    Ok(())
}

/// When access to a scope is revoked, its live stream ends with `PermissionDenied`, for good; the
/// connection and its other streams continue.
pub async fn a_revoked_scope_ends_its_stream<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::with_heartbeat(harness).await;
    let (lost, kept) = (scope("lost"), scope("kept"));
    let author = fixture.author().await;
    author.write_each(&lost, 0..1).await;
    author.write_each(&kept, 0..1).await;
    let connection = fixture.connect(1, &[&lost, &kept]).await;
    let (mut losing, mut keeping) = (Reader::new(&lost), Reader::new(&kept));
    let mut lost_live = connection.live(losing.request());
    let mut kept_live = connection.live(keeping.request());
    losing.follow_until(&fixture, &mut lost_live, 1).await;
    keeping.follow_until(&fixture, &mut kept_live, 1).await;
    fixture.access_switch.reserve(&lost, OTHER);
    let event = fixture.soon("the last word", lost_live.next()).await;
    let error = error_of("the stream", event.expect("it ended without a word"));
    assert_eq!((error.kind(), error.retry()), (ErrorKind::PermissionDenied, Retry::Never));
    assert!(fixture.soon("the end", lost_live.next()).await.is_none(), "more after an error");
    author.write_each(&kept, 1..3).await;
    keeping.follow_until(&fixture, &mut kept_live, 3).await;
    keeping.assert_has_all(3);
    Ok(())
}

/// A live stream that is dropped is over: another can be opened in its place any number of times,
/// and the connection continues.
pub async fn a_dropped_stream_makes_room_for_another<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::with(harness, |options| options.scopes = 2).await;
    let scope = scope("room");
    fixture.author().await.write_each(&scope, 0..3).await;
    let connection = fixture.connect(1, &[&scope]).await;
    for round in 0..20 {
        let mut reader = Reader::few(&scope, 1);
        let mut live = connection.live(reader.request());
        if round % 4 > 0 {
            reader.follow_until(&fixture, &mut live, round % 4).await;
        }
        drop(live);
        // Its answer comes after all messages that the end of the stream made the transport send.
        let mut reader = Reader::new(&scope);
        fixture.soon("a pull", reader.pull_all(&*connection)).await.unwrap();
        reader.assert_has_all(3);
    }
    Ok(())
}

/// A live stream that is not polled waits on the server as a position: of a log that is much larger
/// than the read-ahead, no more is read, other requests continue, and every entry is delivered when
/// it is polled.
pub async fn a_live_stream_that_is_not_polled_holds_nothing_up<H: TransportHarness>(
    harness: H,
) -> Outcome {
    const DOCUMENT: usize = 64 << 10;
    let fixture = Fixture::new(harness).await;
    let (long, other) = (scope("long"), scope("other"));
    let (author, ahead) = (fixture.author().await, fixture.timing.ahead);
    let documents = (4 * ahead).div_ceil(DOCUMENT);
    for n in 0..documents {
        author.write(&long, &[(&name(n), large(DOCUMENT))]).await;
    }
    let connection = fixture.connect(1, &[&long, &other]).await;
    let mut reader = Reader::few(&long, 2);
    let mut live = connection.live(reader.request());
    reader.follow(&fixture, &mut live).await;
    let (mut read, mut calm, mut id) = (fixture.storage.bytes_read(), 0, 0);
    while calm < 20 {
        id += 1;
        let own = insert(NOTES, &name(id as usize), text("x"));
        let pushed = connection.push(batch(1, id, &other, vec![own]));
        assert_accepted(&fixture.soon("a push beside a stream", pushed).await.unwrap());
        let now = fixture.storage.bytes_read();
        calm = if now == read { calm + 1 } else { 0 };
        read = now;
        assert!(read <= ahead + 4 * DOCUMENT, "{read} bytes were read ahead");
    }
    reader.follow_until(&fixture, &mut live, documents).await;
    reader.assert_has_all(documents);
    Ok(())
}
