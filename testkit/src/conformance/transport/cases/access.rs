//! Access rights, and the errors that reach the client.

use super::*;

/// A pull of a scope that the principal may not read fails with `PermissionDenied` and must not be
/// retried; a push to it is rejected change by change. Other scopes are not affected.
pub async fn a_forbidden_scope_is_denied<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let (mine, theirs) = (scope("mine"), scope("theirs"));
    fixture.author().await.write_each(&mine, 0..2).await;
    fixture.access_switch.reserve(&theirs, OTHER);
    let connection = fixture.connect(1, &[&mine, &theirs]).await;
    let denied = connection.pull(pull(&theirs, Cursor::default()));
    let error = error_of("the pull", fixture.soon("a pull", denied).await);
    assert_eq!((error.kind(), error.retry()), (ErrorKind::PermissionDenied, Retry::Never));
    let pushed = connection.push(batch(1, 1, &theirs, vec![insert(NOTES, "a", text("x"))]));
    let verdicts = fixture.soon("a push", pushed).await.unwrap();
    assert!(matches!(decided(&verdicts)[0].kind, VerdictKind::Rejected(_)), "{verdicts:?}");
    let mut reader = Reader::new(&mine);
    fixture.soon("a pull", reader.pull_all(&*connection)).await.unwrap();
    reader.assert_has_all(2);
    Ok(())
}

/// Requests after a new token use it.
pub async fn a_new_token_is_used_from_then_on<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let theirs = scope("theirs");
    fixture.access_switch.reserve(&theirs, OTHER);
    let connection = fixture.connect(1, &[&theirs]).await;
    let look = async || {
        fixture.soon("a pull", connection.pull(pull(&theirs, Cursor::default()))).await.map(drop)
    };
    assert_eq!(error_of("the pull", look().await).kind(), ErrorKind::PermissionDenied);
    fixture.soon("renewing", connection.renew(OTHER_TOKEN.to_owned())).await.unwrap();
    look().await.unwrap();
    let pushed = connection.push(batch(1, 1, &theirs, vec![insert(NOTES, "a", text("x"))]));
    assert_accepted(&fixture.soon("a push", pushed).await.unwrap());
    fixture.soon("renewing", connection.renew(TOKEN.to_owned())).await.unwrap();
    assert_eq!(error_of("the pull", look().await).kind(), ErrorKind::PermissionDenied);
    Ok(())
}

/// A wrong token is refused as `Unauthenticated`, for good, and the connection continues under the
/// old one.
pub async fn a_wrong_new_token_leaves_the_old_one<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("mine");
    let connection = fixture.connect(1, &[&scope]).await;
    let renewed = fixture.soon("renewing", connection.renew("nobody's".to_owned())).await;
    let error = error_of("renewing", renewed);
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unauthenticated, Retry::Never));
    let pushed = connection.push(batch(1, 1, &scope, vec![insert(NOTES, "a", text("x"))]));
    assert_accepted(&fixture.soon("a push", pushed).await.unwrap());
    Ok(())
}

/// Every error of the server arrives with its kind, its message and its advice, also the time in
/// it, and fails nothing else: on pulls, pushes, acknowledgements and live streams.
pub async fn errors_carry_their_advice<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("failing");
    fixture.author().await.write_each(&scope, 0..1).await;
    let epoch = fixture.row(&scope).await.epoch;
    let connection = fixture.connect(1, &[&scope]).await;
    let errors = [
        (ErrorKind::Overloaded, Retry::Later(Some(Duration::from_millis(61_250)))),
        (ErrorKind::Overloaded, Retry::Later(None)),
        (ErrorKind::Storage, Retry::Later(Some(Duration::from_secs(7)))),
        (ErrorKind::Internal, Retry::Never),
        (ErrorKind::InvalidInput, Retry::Never),
        (ErrorKind::Internal, Retry::Reconnect),
    ];
    for (n, (kind, retry)) in errors.into_iter().enumerate() {
        let error = Error::new(kind, "as the case says: ü").retrying(retry);
        fixture.access_switch.fail(&scope, Some(error));
        let ack = Ack::new(scope.clone(), epoch, Seq(1));
        let change = insert(NOTES, "never", text("x"));
        let push = batch(1, n as u64 + 1, &scope, vec![change]);
        let mut live = connection.live(pull(&scope, Cursor::default()));
        let failed = [
            fixture
                .soon("a pull", connection.pull(pull(&scope, Cursor::default())))
                .await
                .map(drop),
            fixture.soon("a push", connection.push(push)).await.map(drop),
            fixture.soon("an acknowledgement", connection.acknowledge(ack)).await.map(drop),
            fixture.soon("a live stream", live.next()).await.expect("a last word").map(drop),
        ];
        for failed in failed {
            let error = error_of("the request", failed);
            assert_eq!((error.kind(), error.retry()), (kind, retry), "{error}");
            assert!(error.report().to_string().contains("as the case says: ü"), "{error}");
        }
        assert!(fixture.soon("the end", live.next()).await.is_none(), "more after an error");
        fixture.access_switch.fail(&scope, None);
    }
    let mut reader = Reader::new(&scope);
    fixture.soon("a pull", reader.pull_all(&*connection)).await.unwrap();
    reader.assert_has_all(1);
    Ok(())
}
