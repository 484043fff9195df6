//! Many requests at a time, requests that are dropped, and the end of a connection.

use super::*;

/// Sixty pulls and pushes at a time are all answered, each with its own answer.
pub async fn many_requests_at_a_time_are_each_answered<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scopes: Vec<_> = (0..6).map(|n| scope(&format!("scope-{n}"))).collect();
    let author = fixture.author().await;
    for (n, scope) in scopes.iter().enumerate() {
        author.write_each(scope, 0..n).await;
    }
    let connection = fixture.connect(1, &[]).await;
    let requests = (0..30).map(async |n: usize| {
        let of = n % scopes.len();
        let changes = (0..=n % 4).map(|k| insert(NOTES, &name(k), text("x"))).collect();
        let push = connection.push(batch(1, 1, &scope(&format!("own-{n}")), changes));
        let pull = connection.pull(pull(&scopes[of], Cursor::default()));
        let (pushed, pulled) = tokio::join!(push, pull);
        assert_eq!(assert_accepted(&pushed.unwrap()).len(), n % 4 + 1);
        let chunk = chunk_of(pulled.unwrap());
        assert_eq!((&chunk.scope, chunk.entries.len()), (&scopes[of], of));
    });
    fixture.soon("the answers", futures_util::future::join_all(requests)).await;
    Ok(())
}

/// More requests than the server serves at a time wait for their turn: none fails, none is lost.
pub async fn requests_wait_for_their_turn<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::with(harness, |options| options.requests = 4).await;
    let held = scope("held");
    let connection = fixture.connect(1, &[&held]).await;
    fixture.access_switch.hold(&held);
    let pulls = (0..200).map(|_| connection.pull(pull(&held, Cursor::default())));
    let release = async {
        fixture.soon("arrival at the server", fixture.access_switch.holds(2)).await;
        fixture.access_switch.release();
    };
    let (answers, ()) =
        tokio::join!(fixture.soon("answers", futures_util::future::join_all(pulls)), release);
    assert!(answers.into_iter().all(|a| chunk_of(a.unwrap()).entries.is_empty()));
    Ok(())
}

/// A server that is busy with one request answers the others meanwhile.
pub async fn a_request_that_waits_holds_up_no_other<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let free = scope("free");
    let connection = fixture.connect(1, &[&free]).await;
    let waiting = Pending::ask(&fixture, &*connection).await;
    for n in 0..5 {
        let changes = vec![insert(NOTES, &name(n), text("x"))];
        let pushed = connection.push(batch(1, n as u64 + 1, &free, changes));
        assert_accepted(&fixture.soon("a push beside others", pushed).await.unwrap());
    }
    let mut reader = Reader::new(&free);
    fixture.soon("a pull beside others", reader.pull_all(&*connection)).await.unwrap();
    reader.assert_has_all(5);
    drop(waiting);
    Ok(())
}

/// Pulls, pushes and live streams that are dropped while they wait do not affect others; a dropped
/// push is pushed again, and has one effect.
pub async fn dropped_requests_disturb_nothing<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let (held, free) = (scope("held"), scope("free"));
    let author = fixture.author().await;
    let connection = fixture.connect(1, &[&held, &free]).await;
    let mut reader = Reader::new(&free);
    let mut live = connection.live(reader.request());
    let dropped = batch(1, 1, &held, vec![insert(NOTES, "dropped", text("x"))]);
    for round in 0..10 {
        fixture.access_switch.hold(&held);
        {
            let pull_held = connection.pull(pull(&held, Cursor::default()));
            let push_held = connection.push(dropped.clone());
            let mut live_held = connection.live(pull(&held, Cursor::default()));
            tokio::select! {
                answer = pull_held => panic!("the pull was held, and got {answer:?}"),
                answer = push_held => panic!("the push was held, and got {answer:?}"),
                answer = live_held.next() => panic!("the stream was held, and got {answer:?}"),
                () = fixture.soon("arrival at the server", fixture.access_switch.holds(3)) => {}
            }
        }
        author.write_each(&free, round..round + 1).await;
        reader.follow_until(&fixture, &mut live, round + 1).await;
        fixture.access_switch.release();
        let pulled = connection.pull(pull(&free, Cursor::default()));
        assert_eq!(
            chunk_of(fixture.soon("a pull", pulled).await.unwrap()).head,
            Seq(round as u64 + 1)
        );
    }
    let pushed = fixture.soon("the push again", connection.push(dropped)).await.unwrap();
    assert_eq!(assert_accepted(&pushed), [Seq(1)]);
    assert_eq!(fixture.row(&held).await.head, Seq(1));
    reader.assert_has_all(10);
    Ok(())
}

/// Requests that are dropped before their first poll, or right after, do not affect others either.
pub async fn requests_may_be_dropped_at_once<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("hasty");
    fixture.author().await.write_each(&scope, 0..3).await;
    let connection = fixture.connect(1, &[&scope]).await;
    for round in 0..100 {
        let mut pulled = connection.pull(pull(&scope, Cursor::default()));
        let mut live = connection.live(pull(&scope, Cursor::default()));
        for _ in 0..round % 4 {
            let is_answered = poll!(&mut pulled).is_ready();
            let _ = poll!(live.next());
            tokio::task::yield_now().await;
            if is_answered || round % 3 == 0 {
                break;
            }
        }
    }
    let mut reader = Reader::new(&scope);
    fixture.soon("a pull", reader.pull_all(&*connection)).await.unwrap();
    let mut live = connection.live(Reader::new(&scope).request());
    Reader::new(&scope).follow_until(&fixture, &mut live, 3).await;
    reader.assert_has_all(3);
    Ok(())
}

/// Closing fails pending and later requests, as `Closed`; it may be done twice; and `lost`
/// completes.
pub async fn closing_fails_what_is_pending_and_what_follows<H: TransportHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let connection = fixture.connect(1, &[]).await;
    let pending = Pending::ask(&fixture, &*connection).await;
    let why = || Goodbye { reason: "enough".to_owned(), retry_after: None };
    let close = async { fixture.soon("closing", connection.close(why())).await };
    for error in pending.fails(fixture.timing.prompt, close).await {
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Closed, Retry::Reconnect), "{error}");
    }
    let scope = scope("late");
    let late = connection.pull(pull(&scope, Cursor::default()));
    let error = error_of("a late pull", fixture.soon("a late pull", late).await);
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    let mut live = connection.live(pull(&scope, Cursor::default()));
    let last = fixture.soon("a late stream", live.next()).await.expect("a last word");
    assert_eq!(error_of("a late stream", last).kind(), ErrorKind::Closed);
    for _ in 0..2 {
        let lost = fixture.soon("the loss", connection.lost()).await;
        assert_eq!(lost.kind(), ErrorKind::Closed, "{lost}");
    }
    fixture.soon("closing again", connection.close(why())).await;
    Ok(())
}

/// Dropping a connection ends it: its live streams fail, and the server ends its session.
pub async fn a_dropped_connection_is_released<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("fleeting");
    fixture.author().await.write_each(&scope, 0..1).await;
    // The author's connection has ended, and its session with it.
    fixture.soon("the author's end", fixture.server.drained()).await;
    let connection = fixture.connect(1, &[&scope]).await;
    let mut live = connection.live(pull(&scope, Cursor::default()));
    fixture.soon("a chunk", live.next()).await.expect("no end").unwrap();
    drop(connection);
    let last = fixture.soon("the end of the stream", live.next()).await.expect("a last word");
    error_of("the stream", last);
    fixture.soon("the end of the session", fixture.server.drained()).await;
    Ok(())
}

/// A server that drains ends its live streams and fails later requests with `Closed` or
/// `Overloaded` and the advice to retry; it still answers the requests that it is serving.
pub async fn a_server_that_drains_says_goodbye<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let (scope, held) = (scope("draining"), scope("held"));
    fixture.author().await.write_each(&scope, 0..1).await;
    let connection = fixture.connect(1, &[&scope]).await;
    let mut reader = Reader::new(&scope);
    let mut live = connection.live(reader.request());
    reader.follow_until(&fixture, &mut live, 1).await;
    fixture.access_switch.hold(&held);
    let mut served = connection.push(batch(1, 1, &held, vec![insert(NOTES, "a", text("x"))]));
    tokio::select! {
        answer = &mut served => panic!("the push was held, and got {answer:?}"),
        () = fixture.soon("arrival at the server", fixture.access_switch.holds(1)) => {}
    }
    fixture.server.drain();
    fixture.access_switch.release();
    assert_accepted(&fixture.soon("what was being served", served).await.unwrap());
    let said_goodbye = |error: &Error| {
        assert!(matches!(error.kind(), ErrorKind::Closed | ErrorKind::Overloaded), "{error:?}");
        assert_ne!(error.retry(), Retry::Never, "{error:?}");
    };
    let last = fixture.soon("the last word", live.next()).await.expect("a last word");
    said_goodbye(&error_of("the stream", last));
    let pulled = connection.pull(pull(&scope, Cursor::default()));
    said_goodbye(&error_of("a late pull", fixture.soon("a late pull", pulled).await));
    fixture.soon("the end of all sessions", fixture.server.drained()).await;
    Ok(())
}
