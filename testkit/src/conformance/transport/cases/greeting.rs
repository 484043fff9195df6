//! Connecting.

use super::*;

/// The welcome names the scopes of the greeting in their order, each with its epoch and head, the
/// newest batch of the replica, and the server's limits and time.
pub async fn greets_with_heads_epochs_and_limits<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::with(harness, |options| {
        options.push_limits = Limits { documents: 77, bytes: 70_000 };
        options.chunk_limits = Limits { documents: 88, bytes: 80_000 };
        options.body_bytes = 12_345;
    })
    .await;
    let (full, empty) = (scope("full ünï"), scope("empty"));
    fixture.author().await.write_each(&full, 0..3).await;
    let connection = fixture.connect(1, &[&full]).await;
    let pushed = connection.push(batch(1, 7, &full, vec![insert(NOTES, "mine", text("x"))]));
    fixture.soon("a push", pushed).await.unwrap();

    let (_connection, welcome) = fixture.greet(hello(1, &[&full, &empty])).await.unwrap();
    assert!(VERSIONS.contains(&welcome.version));
    assert_eq!(welcome.push_limits, Limits { documents: 77, bytes: 70_000 });
    assert_eq!(welcome.chunk_limits, Limits { documents: 88, bytes: 80_000 });
    assert_eq!(welcome.body_bytes, 12_345);
    assert!(welcome.server_time > 1_600_000_000_000, "{}", welcome.server_time);
    let scopes: Vec<_> = welcome.scopes.iter().map(|s| (&s.scope, s.head, s.last_push)).collect();
    assert_eq!(scopes, [(&full, Seq(4), PushId(7)), (&empty, Seq(0), PushId(0))]);
    assert_eq!(welcome.scopes[0].epoch, fixture.row(&full).await.epoch);
    assert!(!fixture.has_begun(&empty).await, "a greeting writes nothing");
    for told in &welcome.scopes {
        assert_eq!((told.horizon, told.reset), (Seq(0), None));
    }
    Ok(())
}

/// A scope is reset if its cursor is of an epoch that the server never had, or below the horizon.
pub async fn resets_scopes_whose_position_means_nothing<H: TransportHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let (foreign, purged) = (scope("foreign"), scope("purged"));
    let author = fixture.author().await;
    author.write_each(&foreign, 0..3).await;
    author.write_each(&purged, 0..3).await;
    fixture.server.storage().purge(purged.clone(), Seq(2)).await.unwrap();
    let epoch = fixture.row(&purged).await.epoch;

    let mut hello = hello(1, &[&foreign, &purged]);
    hello.scopes[0].cursor = standing(Epoch([9; 16]), Seq(2));
    hello.scopes[1].cursor = standing(epoch, Seq(1));
    let (_connection, welcome) = fixture.greet(hello).await.unwrap();
    let reset = |n: usize| welcome.scopes[n].reset.map(|r| (r.epoch, r.reason));
    let reason = ResetReason::EpochChanged { cut: Seq(0) };
    assert_eq!(reset(0), Some((fixture.row(&foreign).await.epoch, reason)));
    assert_eq!(reset(1), Some((epoch, ResetReason::BelowHorizon)));
    assert_eq!(welcome.scopes[1].horizon, Seq(2));
    Ok(())
}

/// A greeting with a digest acknowledges its cursor: at the head the digest is compared, and a
/// different one causes a reset.
pub async fn compares_the_digest_of_a_greeting<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("digests");
    fixture.author().await.write_each(&scope, 0..4).await;
    let row = fixture.row(&scope).await;
    let wrong = Digest(row.digest.0.wrapping_add(1));
    let told = async |seq, digest| {
        let mut hello = hello(1, &[&scope]);
        hello.scopes[0].cursor = standing(row.epoch, Seq(seq));
        hello.scopes[0].digest = Some(digest);
        let (_connection, welcome) = fixture.greet(hello).await.unwrap();
        welcome.scopes[0].reset
    };
    assert_eq!(told(2, wrong).await, None, "nothing to compare with");
    assert_eq!(told(4, row.digest).await, None);
    let storage = fixture.server.storage();
    let (acknowledged, _) = storage.replica(scope.clone(), replica(1)).await.unwrap();
    assert_eq!(acknowledged.map(|a| a.seq), Some(Seq(4)));
    let reset = Reset { epoch: row.epoch, reason: ResetReason::DigestDiffers };
    assert_eq!(told(4, wrong).await, Some(reset));
    Ok(())
}

/// A scope that the replica may not read is missing from the welcome, and the others are there.
pub async fn leaves_out_scopes_that_may_not_be_seen<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let (mine, theirs) = (scope("mine"), scope("theirs"));
    fixture.access_switch.reserve(&theirs, OTHER);
    let (_connection, welcome) = fixture.greet(hello(1, &[&theirs, &mine])).await.unwrap();
    let scopes: Vec<_> = welcome.scopes.iter().map(|s| &s.scope).collect();
    assert_eq!(scopes, [&mine]);
    Ok(())
}

/// A wrong token, and a missing one, are refused as `Unauthenticated`, for good. A right one is
/// accepted afterwards.
pub async fn refuses_a_wrong_token_for_good<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    for token in [Some("nobody's".to_owned()), None] {
        let refused = fixture.greet(sync_core::protocol::Hello { token, ..hello(1, &[]) }).await;
        let error = error_of("a wrong token", refused);
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unauthenticated, Retry::Never));
    }
    fixture.connect(1, &[]).await;
    Ok(())
}

/// A replica that shares no version with the server is refused as `Incompatible`, for good.
pub async fn refuses_versions_that_it_does_not_speak<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let mut hello = hello(1, &[]);
    hello.versions = vec![4_000_000_000];
    let error = error_of("an unknown version", fixture.greet(hello).await);
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Incompatible, Retry::Never), "{error}");
    Ok(())
}

/// An error of the server during the greeting arrives with its kind and its advice.
pub async fn a_greeting_that_fails_carries_the_advice<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("busy");
    let later = Retry::Later(Some(Duration::from_millis(1_500)));
    let error = Error::new(ErrorKind::Overloaded, "come back later").retrying(later);
    fixture.access_switch.fail(&scope, Some(error));
    let error = error_of("the greeting", fixture.greet(hello(1, &[&scope])).await);
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Overloaded, later), "{error}");
    fixture.access_switch.fail(&scope, None);
    fixture.connect(1, &[&scope]).await;
    Ok(())
}

/// Connecting to a server that is unreachable fails within the bound, as `Network` or `Timeout`,
/// and may be retried; it succeeds when the server is back.
pub async fn connecting_to_a_closed_port_fails_soon<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    fixture.harness.refuse().await?;
    fails_to_connect(&fixture).await;
    fixture.harness.heal().await;
    fixture.connect(1, &[]).await;
    Ok(())
}

/// Connecting over a silent link fails within the bound, as `Network` or `Timeout`, and may be
/// retried.
pub async fn connecting_over_a_silent_link_fails_soon<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::with_heartbeat(harness).await;
    fixture.harness.stall().await?;
    fails_to_connect(&fixture).await;
    fixture.harness.heal().await;
    fixture.connect(1, &[]).await;
    Ok(())
}

async fn fails_to_connect<H: TransportHarness>(fixture: &Fixture<H>) {
    let connecting = fixture.transport.connect(hello(1, &[]));
    let failed = within(fixture.timing.connecting, "an attempt to connect", connecting).await;
    let error = error_of("connecting to nobody", failed);
    assert!(matches!(error.kind(), ErrorKind::Network | ErrorKind::Timeout), "{error:?}");
    assert_ne!(error.retry(), Retry::Never, "{error:?}");
}

/// An attempt to connect may be dropped at any time; the next one succeeds.
pub async fn an_attempt_to_connect_may_be_dropped<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("held");
    fixture.access_switch.hold(&scope);
    let mut connecting = Box::pin(fixture.transport.connect(hello(1, &[&scope])));
    tokio::select! {
        _ = &mut connecting => panic!("the greeting was answered although it is held"),
        () = fixture.soon("the greeting's arrival", fixture.access_switch.holds(1)) => {}
    }
    drop(connecting);
    fixture.access_switch.release();
    fixture.connect(1, &[&scope]).await;
    Ok(())
}

/// Several connections of one transport work side by side, and each has its own replica.
pub async fn connections_of_one_transport_are_apart<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("shared");
    let mut connections = Vec::new();
    for who in 1..=6 {
        connections.push((who, fixture.connect(who, &[&scope]).await));
    }
    for (who, connection) in &connections {
        let changes = vec![insert(NOTES, &name(usize::from(*who)), text("x"))];
        let pushed = connection.push(batch(*who, 1, &scope, changes));
        assert_accepted(&fixture.soon("a push", pushed).await.unwrap());
    }
    let why = Goodbye { reason: "enough".to_owned(), retry_after: None };
    let (_, first) = connections.remove(0);
    fixture.soon("closing", first.close(why)).await;
    for (_, connection) in &connections {
        let mut reader = Reader::new(&scope);
        fixture.soon("pulling", reader.pull_all(&**connection)).await.unwrap();
        assert_eq!(reader.entries.len(), 6);
    }
    Ok(())
}

/// Returns the cursor of a replica of that epoch that has applied everything up to a position.
fn standing(epoch: Epoch, at: Seq) -> Cursor {
    Cursor { epoch: Some(epoch), after: at, position: at, ..Cursor::default() }
}
