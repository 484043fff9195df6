//! Pushes and verdicts.

use super::*;

/// A batch of a thousand documents is one append, with a verdict for each in their order, and is
/// pulled whole.
pub async fn a_thousand_documents_are_pushed_together<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("thousand");
    let connection = fixture.connect(1, &[&scope]).await;
    let changes = (0..1_000).map(|n| insert(NOTES, &name(n), text("a note"))).collect();
    let pushed = fixture.soon("a push", connection.push(batch(1, 1, &scope, changes))).await;
    let expected: Vec<Seq> = (1..=1_000).map(Seq).collect();
    assert_eq!(assert_accepted(&pushed.unwrap()), expected);
    let mut reader = Reader::new(&scope);
    fixture.soon("a pull", reader.pull(&*connection)).await.unwrap();
    reader.assert_has_all(1_000);
    Ok(())
}

/// When a push is answered, the server has stored it: a later read finds it.
pub async fn an_answered_push_is_on_the_server<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("delivered");
    let connection = fixture.connect(1, &[&scope]).await;
    for n in 0..5_u64 {
        let changes = vec![insert(NOTES, &name(n as usize), text("x"))];
        let pushed =
            fixture.soon("a push", connection.push(batch(1, n + 1, &scope, changes))).await;
        assert_eq!(assert_accepted(&pushed.unwrap()), [Seq(n + 1)]);
        assert_eq!(fixture.row(&scope).await.head, Seq(n + 1));
    }
    Ok(())
}

/// The same batch again gets the same verdicts and has no other effect; an older one is stale.
pub async fn a_batch_that_is_pushed_again_has_one_effect<H: TransportHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("again");
    let connection = fixture.connect(1, &[&scope]).await;
    let push = async |id, n| {
        let batch = batch(1, id, &scope, vec![insert(NOTES, &name(n), text("x"))]);
        let first = fixture.soon("a push", connection.push(batch.clone())).await.unwrap();
        (batch, first)
    };
    let (one, first) = push(1, 0).await;
    for _ in 0..3 {
        let again = fixture.soon("a retry", connection.push(one.clone())).await.unwrap();
        assert_eq!(again, first);
    }
    push(2, 1).await;
    let stale = fixture.soon("a late double", connection.push(one)).await.unwrap();
    assert_eq!(stale, sync_core::model::Verdicts::Stale);
    assert_eq!(fixture.row(&scope).await.head, Seq(2));
    Ok(())
}

/// A recalled batch gets its verdicts if it had arrived, byte for byte, and is never appended
/// otherwise.
pub async fn a_batch_is_recalled<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("recalled");
    let connection = fixture.connect(1, &[&scope]).await;
    let recall = |batch: &sync_core::model::PushBatch| batch.clone().recalled(batch.digest());
    let odd = Body::parse(r#"{ "z": 1.50e1, "a":"\u00e9", "z" : [ ] }"#).unwrap();
    let one = batch(1, 1, &scope, vec![insert(NOTES, "a", odd), insert(NOTES, "b", text("x"))]);
    let told = fixture.soon("a push", connection.push(one.clone())).await.unwrap();
    let again = fixture.soon("a recall", connection.push(recall(&one))).await.unwrap();
    assert_eq!(again, told);
    let two = batch(1, 2, &scope, vec![insert(NOTES, "c", text("y"))]);
    for copy in [recall(&two), two.clone(), recall(&two)] {
        let told = fixture.soon("a recall", connection.push(copy)).await.unwrap();
        assert_eq!(told, sync_core::model::Verdicts::Recalled);
    }
    assert_eq!(fixture.row(&scope).await.head, Seq(2));
    Ok(())
}

/// Another batch under a known id is distinguished from a retry.
pub async fn another_batch_under_a_known_id_is_distinguished<H: TransportHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("cloned");
    let connection = fixture.connect(1, &[&scope]).await;
    let one = batch(1, 1, &scope, vec![insert(NOTES, "a", text("one"))]);
    let other = batch(1, 1, &scope, vec![insert(NOTES, "b", text("other"))]);
    fixture.soon("a push", connection.push(one)).await.unwrap();
    let cloned = fixture.soon("a push", connection.push(other)).await.unwrap();
    assert_eq!(cloned, sync_core::model::Verdicts::Cloned);
    Ok(())
}

/// Each change has its own verdict: rejections with their reason, conflicts with the server's
/// state.
pub async fn verdicts_carry_reasons_and_states<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("verdicts");
    fixture.author().await.write(&scope, &[("taken", text("the server's"))]).await;
    let connection = fixture.connect(1, &[&scope]).await;
    let changes = vec![
        insert(NOTES, "fresh", text("x")),
        insert(REFUSED, "refused", text("x")),
        insert(NOTES, "taken", text("mine")),
    ];
    let pushed =
        fixture.soon("a push", connection.push(batch(1, 1, &scope, changes))).await.unwrap();
    let [fresh, refused, taken] = decided(&pushed) else { panic!("three verdicts: {pushed:?}") };
    assert_eq!((&fresh.kind, fresh.seq), (&VerdictKind::Accepted, Seq(2)));
    let VerdictKind::Rejected(rejection) = &refused.kind else { panic!("{refused:?}") };
    assert_eq!(rejection.reason, REASON);
    assert_eq!((&taken.kind, taken.seq), (&VerdictKind::Conflict, Seq(1)));
    let current = taken.current.as_ref().and_then(|c| c.state.as_ref()).expect("the server's");
    assert_eq!(current.body, Some(text("the server's")));
    Ok(())
}

/// A batch of another replica than the connection's is refused as `InvalidInput`, for good, and has
/// no effect.
pub async fn a_batch_of_another_replica_is_refused<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("strange");
    let connection = fixture.connect(1, &[&scope]).await;
    let strange = batch(2, 1, &scope, vec![insert(NOTES, "a", text("x"))]);
    let error = error_of("the push", fixture.soon("a push", connection.push(strange)).await);
    assert_eq!((error.kind(), error.retry()), (ErrorKind::InvalidInput, Retry::Never), "{error}");
    assert!(!fixture.has_begun(&scope).await);
    Ok(())
}

/// The answers of concurrent pushes are not mixed up.
pub async fn verdicts_belong_to_their_batch<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scopes: Vec<_> = (0..20).map(|n| scope(&format!("scope-{n}"))).collect();
    let author = fixture.author().await;
    for (n, scope) in scopes.iter().enumerate() {
        author.write_each(scope, 0..n % 5).await;
    }
    let connection = fixture.connect(1, &[]).await;
    for scope in &scopes {
        fixture.access_switch.hold(scope);
    }
    let pushes = scopes.iter().enumerate().map(|(n, scope)| {
        let changes = (0..=n % 3).map(|k| insert(NOTES, &format!("mine-{k}"), text("x")));
        connection.push(batch(1, n as u64 + 1, scope, changes.collect()))
    });
    let pushes = futures_util::future::join_all(pushes);
    let release = async {
        // Some are appended before the first is answered.
        fixture.soon("the pushes' arrival", fixture.access_switch.holds(2)).await;
        fixture.access_switch.release();
    };
    let (answers, ()) = fixture.soon("pushes", async { tokio::join!(pushes, release) }).await;
    for (n, answer) in answers.into_iter().enumerate() {
        let first = (n % 5) as u64 + 1;
        let expected: Vec<Seq> = (first..=first + (n % 3) as u64).map(Seq).collect();
        assert_eq!(assert_accepted(&answer.unwrap()), expected, "batch {}", n + 1);
    }
    Ok(())
}
