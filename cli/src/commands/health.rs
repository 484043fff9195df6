//! The health of a server's storage, which `/healthz` returns.

use std::future::Future;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::watch;
use twotide::backend::error::{Error, Result};

/// How often the storage is checked. A request to `/healthz` is answered with the last result, so
/// that requests cost the storage nothing, however many there are.
const EVERY: Duration = Duration::from_secs(1);

/// How long the storage may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The last result of the storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Health {
    /// It answered.
    #[default]
    Ok,
    /// It failed.
    Failing,
    /// It has not answered within [`PATIENCE`].
    Silent,
}

impl IntoResponse for Health {
    /// Returns the status and JSON. The error itself names files and is only logged, because every
    /// client may request this.
    fn into_response(self) -> Response {
        let error = match self {
            Self::Ok => return Json(json!({ "status": "ok" })).into_response(),
            Self::Failing => "the storage fails: the log of the server says why".to_owned(),
            Self::Silent => format!("the storage has not answered within {} s", PATIENCE.as_secs()),
        };
        let body = Json(json!({ "status": "failing", "error": error }));
        (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
    }
}

/// Checks the storage periodically, and publishes the result. Returns the error once the storage
/// fails permanently.
pub(crate) async fn follow<F>(ask: impl Fn() -> F, publish: &watch::Sender<Health>) -> Error
where
    F: Future<Output = Result<()>>,
{
    loop {
        let mut answer = std::pin::pin!(ask());
        let answered = match tokio::time::timeout(PATIENCE, &mut answer).await {
            Ok(answered) => answered,
            Err(_) => {
                set(publish, Health::Silent, || tracing::error!("the storage does not answer"));
                // One check at a time: more would only fill the queue of the storage.
                answer.await
            }
        };
        match answered {
            Ok(()) => set(publish, Health::Ok, || tracing::warn!("the storage works again")),
            Err(error) => {
                set(
                    publish,
                    Health::Failing,
                    || tracing::error!(error = %error.report(), "the storage fails"),
                );
                if !error.is_retryable() {
                    return error;
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Publishes the health, and logs a change of it.
fn set(publish: &watch::Sender<Health>, health: Health, log: impl FnOnce()) {
    if publish.send_replace(health) != health {
        log();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::task::JoinHandle;
    use tokio::time::timeout;
    use twotide::ErrorKind;
    use twotide::backend::error::Retry;

    use super::*;

    type Answers = Vec<(Duration, Result<()>)>;

    /// Creates a storage with these delays and answers; the last one is repeated.
    fn storage(answers: Answers) -> (watch::Receiver<Health>, JoinHandle<Error>, Arc<AtomicU32>) {
        let (publish, health) = watch::channel(Health::default());
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let ask = move || {
            let n = count.fetch_add(1, Ordering::Relaxed) as usize;
            let (after, answer) = answers[n.min(answers.len() - 1)].clone();
            async move {
                tokio::time::sleep(after).await;
                answer
            }
        };
        (health, tokio::spawn(async move { follow(ask, &publish).await }), asked)
    }

    fn failure(retry: Retry) -> Result<()> {
        Err(Error::new(ErrorKind::Storage, "the disk is broken").retrying(retry))
    }

    /// Waits for that health.
    async fn until(health: &mut watch::Receiver<Health>, expected: Health) {
        let wait = health.wait_for(|h| *h == expected);
        timeout(Duration::from_secs(60), wait).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_storage_that_fails_and_recovers_is_reported() {
        let answers = vec![(EVERY, failure(Retry::Later(None))), (EVERY, Ok(()))];
        let (mut health, _task, _) = storage(answers);
        until(&mut health, Health::Failing).await;
        until(&mut health, Health::Ok).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_storage_that_does_not_answer_is_checked_once_and_reported_as_silent() {
        let answers = vec![(Duration::from_secs(3_600), Ok(())), (Duration::ZERO, Ok(()))];
        let (mut health, _task, asked) = storage(answers);
        until(&mut health, Health::Silent).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let wait = health.wait_for(|h| *h == Health::Ok);
        timeout(Duration::from_secs(3_600), wait).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_storage_that_failed_permanently_is_not_checked_again() {
        let (health, task, asked) = storage(vec![(Duration::ZERO, failure(Retry::Never))]);
        let error = timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
        assert!(error.to_string().contains("the disk is broken"), "{error}");
        assert_eq!(*health.borrow(), Health::Failing);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn all_but_a_working_storage_is_answered_with_503() {
        assert_eq!(Health::Ok.into_response().status(), StatusCode::OK);
        for health in [Health::Failing, Health::Silent] {
            assert_eq!(health.into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
        }
    }
}
