//! The results of a resolver, called directly.

use sync_core::model::{Body, DocumentState, Limits};
use sync_core::resolver::Resolution;

use super::super::run::Outcome;
use super::Subject;
use super::conflicts::{Met, odd, over};

/// Returns the part of a result that is compared: all errors are equal.
fn answer(subject: &Subject, met: &Met) -> Option<Option<Resolution>> {
    met.ask(&subject.resolver).map(Result::ok)
}

/// The resolver has a name for logs and reports, always the same.
pub async fn it_has_a_name(subject: Subject) -> Outcome {
    let name = subject.resolver.name().to_owned();
    assert!(!name.trim().is_empty(), "logs and reports need a name");
    assert_eq!(name, subject.resolver.name(), "the name changes");
    assert_eq!(subject.resolver.needs_base(), subject.resolver.needs_base());
    Ok(())
}

/// The same conflict gets the same result: at once, in another order, on another thread.
pub async fn the_same_conflict_gets_the_same_answer(subject: Subject) -> Outcome {
    let conflicts = over(&subject.documents);
    let answers: Vec<_> = conflicts.iter().map(|met| answer(&subject, met)).collect();
    for (met, first) in conflicts.iter().zip(&answers) {
        assert_eq!(&answer(&subject, met), first, "asked again: {met:#?}");
    }
    for (met, first) in conflicts.iter().zip(&answers).rev() {
        assert_eq!(&answer(&subject, met), first, "asked in another order: {met:#?}");
    }
    let asked = (subject.clone(), conflicts.clone());
    let elsewhere = tokio::task::spawn_blocking(move || {
        asked.1.iter().map(|met| answer(&asked.0, met)).collect::<Vec<_>>()
    });
    let elsewhere = super::super::tools::finished(elsewhere).await;
    assert_eq!(elsewhere, answers, "asked on another thread");
    Ok(())
}

/// Conflicts over the app's documents are decided or deferred: no error and no panic, whatever is
/// deleted or missing.
pub async fn ordinary_documents_are_decided(subject: Subject) -> Outcome {
    for met in over(&subject.documents) {
        match met.ask(&subject.resolver) {
            Some(Ok(_)) => {}
            Some(Err(error)) => panic!("{error}: {met:#?}"),
            None => panic!("a panic: {met:#?}"),
        }
    }
    Ok(())
}

/// Conflicts over unexpected documents (null, nested, huge numbers) may return an error, and must
/// not panic.
pub async fn odd_documents_do_no_harm(subject: Subject) -> Outcome {
    let odd = odd();
    for ordinary in subject.documents.iter().take(2) {
        for body in &odd {
            for met in over(&[ordinary.clone(), body.clone()]) {
                assert!(met.ask(&subject.resolver).is_some(), "a panic: {met:#?}");
            }
        }
    }
    for pair in odd.windows(2) {
        for met in over(pair) {
            assert!(met.ask(&subject.resolver).is_some(), "a panic: {met:#?}");
        }
    }
    Ok(())
}

/// A merged body is a valid document: JSON, and within the limit of a body.
pub async fn a_merge_is_a_valid_document(subject: Subject) -> Outcome {
    let mut bodies = subject.documents.clone();
    bodies.extend(odd().into_iter().take(4));
    for met in over(&bodies) {
        let Some(Ok(Resolution::Merge(merged))) = met.ask(&subject.resolver) else { continue };
        assert!(merged.len() <= Limits::BODY_BYTES, "{} bytes: {met:#?}", merged.len());
        let parsed = Body::parse(merged.as_bytes().clone());
        assert!(parsed.is_ok(), "{merged:?} is not JSON: {met:#?}");
    }
    Ok(())
}

/// A body that the resolver does not request does not change its result: a server has a base's body
/// only if the resolver declares that it needs it.
pub async fn an_unrequested_base_makes_no_difference(subject: Subject) -> Outcome {
    for met in over(&subject.documents) {
        let Some(base) = met.base.clone() else { continue };
        let on_replica = answer(&subject, &met);
        // A server knows the base's revision, and its body only if it was sent along.
        let body = base.body.clone().filter(|_| subject.resolver.needs_base());
        let sent = DocumentState::new(base.revision, body);
        let on_server = Met { base: Some(sent), ..met.clone() };
        assert_eq!(answer(&subject, &on_server), on_replica, "as a server asks: {met:#?}");
    }
    Ok(())
}

/// Merging the same state again and again reaches a fixed point: nothing grows with each retry.
pub async fn merging_the_same_again_terminates(subject: Subject) -> Outcome {
    const ROUNDS: usize = 8;
    for met in over(&subject.documents) {
        let (mut now, mut rests) = (met.clone(), false);
        for _ in 0..ROUNDS {
            let Some(Ok(answer)) = now.ask(&subject.resolver) else { break };
            let Some(shown) = now.shown(&answer) else { break };
            rests = shown == now.local.body;
            let settled = now.remote.as_ref().and_then(|r| r.body.clone());
            if rests || shown == settled {
                rests = true;
                break;
            }
            now.local.body = shown;
        }
        let decides = matches!(met.ask(&subject.resolver), Some(Ok(a)) if a != Resolution::Defer);
        assert!(rests || !decides, "no rest after {ROUNDS} rounds: {met:#?}\n{now:#?}");
    }
    Ok(())
}
