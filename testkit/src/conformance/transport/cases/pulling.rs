//! Pulls and acknowledgements.

use super::*;

/// Documents arrive as they were pushed, byte for byte: any script, big numbers, white space, the
/// largest and the smallest names.
pub async fn bodies_arrive_byte_for_byte<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("room 7/ünï?&#%2F \"日本\" 🌍");
    let connection = fixture.connect(1, &[&scope]).await;
    let bodies = [
        r#"{"text":"zażółć 日本語 🌍 \u0000 \ud83c\udf0d","empty":"","a\/b":[]}"#,
        r#"{"n":123456789012345678901234567890.10,"small":-0.0,"e":1E+400,"i":9223372036854775808}"#,
        " {  \"b\" : 1 ,\n\t\"a\" : null } ",
        "true",
        "\"\"",
        r#"{"a":1,"a":2}"#,
    ];
    let longest = "x".repeat(512);
    let ids = ["plain", "ö/.?#%00", " ", "🌍", longest.as_str(), "a"];
    let changes: Vec<_> = ids
        .iter()
        .zip(bodies)
        .map(|(id, body)| insert(&"c".repeat(128), id, Body::parse(body).unwrap()))
        .collect();
    let pushed = connection.push(batch(1, 1, &scope, changes.clone()));
    assert_accepted(&fixture.soon("a push", pushed).await.unwrap());

    let mut reader = Reader::new(&scope);
    fixture.soon("a pull", reader.pull_all(&*connection)).await.unwrap();
    assert_eq!(reader.entries.len(), changes.len());
    for (entry, change) in reader.entries.iter().zip(&changes) {
        assert_eq!((&entry.collection, &entry.id), (&change.collection, &change.id));
        assert_eq!(entry.state, change.state, "what arrives is what was pushed");
    }
    Ok(())
}

/// Bodies of one MiB, the largest allowed, are transferred in both directions.
pub async fn the_largest_bodies_pass<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("large");
    let connection = fixture.connect(1, &[&scope]).await;
    let fill = "é🌍 ".repeat(Limits::BODY_BYTES / 7);
    let body = text(&fill[..Limits::BODY_BYTES - 9]);
    assert!(body.len() <= Limits::BODY_BYTES && body.len() > Limits::BODY_BYTES - 10);
    for n in 0..3 {
        let change = insert(NOTES, &name(n), body.clone());
        let pushed = connection.push(batch(1, n as u64 + 1, &scope, vec![change]));
        assert_accepted(&fixture.soon("a push of a large body", pushed).await.unwrap());
    }
    let mut reader = Reader::new(&scope);
    fixture.soon("pulling large bodies", reader.pull_all(&*connection)).await.unwrap();
    reader.assert_has_all(3);
    assert!(reader.entries.iter().all(|e| e.state.body.as_ref() == Some(&body)));
    Ok(())
}

/// From any position, the chunks together are the log behind it: nothing is missing, nothing
/// arrives twice, whatever the size of the chunks.
pub async fn pulls_from_any_position_add_up_to_the_log<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("log");
    fixture.author().await.write_each(&scope, 0..12).await;
    let connection = fixture.connect(1, &[&scope]).await;
    let mut whole = Reader::few(&scope, 1);
    let mut positions = vec![whole.clone()];
    while fixture.soon("a pull", whole.pull(&*connection)).await.unwrap() > whole.cursor.position {
        positions.push(whole.clone());
    }
    whole.assert_has_all(12);
    for documents in [1, 4, 5, 100] {
        for mut reader in positions.iter().cloned() {
            reader.limits.documents = documents;
            fixture.soon("pulling the rest", reader.pull_all(&*connection)).await.unwrap();
            reader.assert_has_all(12);
        }
    }
    let at_head = fixture.soon("a pull", connection.pull(whole.request())).await.unwrap();
    let chunk = chunk_of(at_head);
    assert_eq!((chunk.after, chunk.next, chunk.entries.len()), (Seq(12), Seq(12), 0));
    Ok(())
}

/// A chunk holds no more documents than were requested, and as many if there are more.
pub async fn a_pull_keeps_within_its_documents<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("many");
    fixture.author().await.write_each(&scope, 0..10).await;
    let connection = fixture.connect(1, &[&scope]).await;
    for documents in [1, 3, 10, 11] {
        let pulled = connection.pull(pull_few(&scope, documents));
        let chunk = chunk_of(fixture.soon("a pull", pulled).await.unwrap());
        assert_eq!(chunk.entries.len(), documents.min(10));
        assert_eq!(chunk.head, Seq(10));
    }
    Ok(())
}

/// A chunk holds no more bytes than were requested; one document always fits.
pub async fn a_pull_keeps_within_its_bytes<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("heavy");
    let author = fixture.author().await;
    for n in 0..6 {
        author.write(&scope, &[(&name(n), large(10_000))]).await;
    }
    let connection = fixture.connect(1, &[&scope]).await;
    for (bytes, expected) in [(1, 1), (15_000, 1), (25_000, 2), (1 << 20, 6)] {
        let mut request = pull(&scope, Cursor::default());
        request.limits.bytes = bytes;
        let chunk = chunk_of(fixture.soon("a pull", connection.pull(request)).await.unwrap());
        assert_eq!(chunk.entries.len(), expected, "within {bytes} bytes");
    }
    Ok(())
}

/// A cursor with collections that were added later returns those, and of the others only new
/// entries.
pub async fn a_cursor_with_back_fills_arrives_whole<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("back-fills");
    let connection = fixture.connect(1, &[&scope]).await;
    let changes = ["a", "b", "a", "b"].iter().enumerate();
    let changes = changes.map(|(n, c)| insert(c, &name(n), text("x"))).collect();
    let pushed = fixture.soon("a push", connection.push(batch(1, 1, &scope, changes))).await;
    assert_accepted(&pushed.unwrap());
    let late = |c: &str, at| (Collection::new(c).unwrap(), Seq(at));
    let cursor = Cursor {
        epoch: Some(fixture.row(&scope).await.epoch),
        after: Seq(2),
        position: Seq(4),
        backfills: [late("b", 2)].into_iter().collect(),
        ..Cursor::default()
    };
    let pulled = fixture.soon("a pull", connection.pull(pull(&scope, cursor))).await.unwrap();
    let chunk = chunk_of(pulled);
    let ids: Vec<_> = chunk.entries.iter().map(|e| e.id.as_str().to_owned()).collect();
    assert_eq!((chunk.after, ids), (Seq(2), vec![name(3)]));
    Ok(())
}

/// A pull from an epoch that the server never had causes a reset, with the current epoch.
pub async fn a_pull_from_a_foreign_epoch_brings_a_reset<H: TransportHarness>(
    harness: H,
) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("lives");
    fixture.author().await.write_each(&scope, 0..3).await;
    let connection = fixture.connect(1, &[&scope]).await;
    let foreign = Cursor {
        epoch: Some(Epoch([9; 16])),
        after: Seq(2),
        position: Seq(2),
        ..Cursor::default()
    };
    let reset = fixture.soon("a pull", connection.pull(pull(&scope, foreign))).await.unwrap();
    let epoch = fixture.row(&scope).await.epoch;
    let reason = ResetReason::EpochChanged { cut: Seq(0) };
    assert_eq!(reset, Delivery::Reset(Reset { epoch, reason }));
    Ok(())
}

/// An acknowledgement arrives: with the server's digest, or none, it is stored; with a different
/// one at the head it causes a reset.
pub async fn acknowledgements_compare_digests<H: TransportHarness>(harness: H) -> Outcome {
    let fixture = Fixture::new(harness).await;
    let scope = scope("digests");
    fixture.author().await.write_each(&scope, 0..4).await;
    let connection = fixture.connect(1, &[&scope]).await;
    let row = fixture.row(&scope).await;
    let ack = |seq, digest| Ack { scope: scope.clone(), epoch: row.epoch, seq, digest, mark: None };
    let wrong = Digest(row.digest.0.wrapping_add(1));
    let told = async |ack: Ack| {
        fixture.soon("an acknowledgement", connection.acknowledge(ack)).await.unwrap()
    };
    assert_eq!(told(ack(Seq(2), None)).await, None);
    assert_eq!(told(ack(Seq(2), Some(wrong))).await, None, "nothing to compare with");
    assert_eq!(told(ack(Seq(4), Some(row.digest))).await, None);
    let reset = Reset { epoch: row.epoch, reason: ResetReason::DigestDiffers };
    assert_eq!(told(ack(Seq(4), Some(wrong))).await, Some(reset));
    let storage = fixture.server.storage();
    let (acknowledged, _) = storage.replica(scope.clone(), replica(1)).await.unwrap();
    assert_eq!(acknowledged.map(|a| a.seq), Some(Seq(4)));
    Ok(())
}
