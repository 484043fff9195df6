//! Where a replica's tokens come from.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::sync::Notify;

use crate::error::{Error, ErrorKind, Result, Retry};
use crate::protocol::{Hello, Welcome};
use crate::transport::{Connection, Transport};

/// Provides tokens, for servers whose tokens expire.
///
/// The provider is called before every connection, and once more when the server refuses the token.
/// The attempts end if the server refuses a second token at once, or if the provider returns the
/// refused token again: the replica then stays refused until it is given a token or run again. So a
/// bad token costs two connections, however long it stays bad.
#[async_trait]
pub trait TokenProvider: Send + Sync + fmt::Debug + 'static {
    /// A token that is good now; none to connect without one. `refused` is the one that the server
    /// did not take, if that is why it is asked: it should not be given again. A gateway's 401
    /// counts too, with one difference: it may not be about the token, so the same one may be given
    /// again, and is tried after a while.
    ///
    /// It has to answer within the time that connecting may take, and its future may be dropped. A
    /// panic counts as an error that is tried again.
    ///
    /// # Errors
    /// Whatever keeps it from knowing. The replica's status shows the error, and its advice says
    /// when it is asked again: with *never*, when the replica is given a token or run again.
    async fn token(&self, refused: Option<&str>) -> Result<Option<String>>;
}

/// A [`TokenProvider`] that is a closure: see [`tokens_from`].
pub struct FnTokens<F>(F);

impl<F> fmt::Debug for FnTokens<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnTokens(..)")
    }
}

/// A closure as a [`TokenProvider`]. It is given the token that was refused, if that is why it is
/// asked.
///
/// ```
/// use sync_core::driver::{TokenProvider, tokens_from};
/// # async fn ask_my_backend(_: Option<String>) -> sync_core::error::Result<String> { Ok(String::new()) }
/// let provider = tokens_from(|refused| async move { ask_my_backend(refused).await.map(Some) });
/// # let _: &dyn TokenProvider = &provider;
/// ```
pub fn tokens_from<F, A>(ask: F) -> FnTokens<F>
where
    F: Fn(Option<String>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Option<String>>> + Send + 'static,
{
    FnTokens(ask)
}

#[async_trait]
impl<F, A> TokenProvider for FnTokens<F>
where
    F: Fn(Option<String>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Option<String>>> + Send + 'static,
{
    async fn token(&self, refused: Option<&str>) -> Result<Option<String>> {
        (self.0)(refused.map(str::to_owned)).await
    }
}

/// The tokens of one driver.
#[derive(Debug)]
pub(super) struct Tokens {
    provider: Option<Arc<dyn TokenProvider>>,
    state: Mutex<State>,
    given: Notify,
}

#[derive(Default)]
struct State {
    /// What the app gave. With a provider it is for the connection that is there, or else the next
    /// one.
    given: Option<String>,
    /// It was given after the newest attempt to connect had chosen its token.
    is_untried: bool,
    /// What the server took last.
    taken: Option<Option<String>>,
    /// What the server refused last, unless something new was given since.
    refused: Option<Option<String>>,
    /// What something on the way to the server refused last. It may be good all the same.
    doubted: Option<Option<String>>,
    /// The connection was given another token, and nothing was refused on it since.
    renewed: bool,
}

impl fmt::Debug for State {
    /// Without the tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

impl Tokens {
    pub(super) fn new(given: Option<String>, provider: Option<Arc<dyn TokenProvider>>) -> Self {
        let state = Mutex::new(State { given, ..State::default() });
        Self { provider, state, given: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn give(&self, token: Option<String>) {
        let mut state = self.state();
        state.given = token;
        state.is_untried = true;
        (state.refused, state.doubted) = (None, None);
        drop(state);
        self.given.notify_one();
    }

    /// Whether a token was given while the newest attempt to connect was under way, or later.
    pub(super) fn is_untried(&self) -> bool {
        self.state().is_untried
    }

    /// Completes when a token was given since the last time.
    pub(super) async fn was_given(&self) {
        self.given.notified().await;
    }

    /// Forgets the refused token, so that the next attempt may use any token again.
    pub(super) fn forgive(&self) {
        self.state().refused = None;
    }

    /// Something that is not the server refused a request for the token that the connection has.
    pub(super) fn doubt_taken(&self) {
        let mut state = self.state();
        let taken = state.taken.clone();
        state.doubted = taken;
    }

    /// A request was refused for the token that the connection has. Whether another one may be had.
    pub(super) fn refuse_taken(&self) -> bool {
        let mut state = self.state();
        let taken = state.taken.take();
        if std::mem::take(&mut state.renewed) {
            // It may have been asked under the token before: another connection finds out.
            return true;
        }
        if let Some(taken) = taken {
            state.refused = Some(taken);
        }
        let is_new = |given: &String| state.refused.as_ref() != Some(&Some(given.clone()));
        self.provider.is_some() || state.given.as_ref().is_some_and(is_new)
    }

    /// The token that was given and that the connection does not have yet.
    pub(super) fn to_renew(&self) -> Option<String> {
        let mut state = self.state();
        let token = state.given.clone()?;
        if self.provider.is_some() {
            state.given = None;
        }
        (state.taken.as_ref() != Some(&Some(token.clone()))).then_some(token)
    }

    /// The connection goes on with this token.
    pub(super) fn renewed(&self, token: String) {
        let mut state = self.state();
        state.taken = Some(Some(token));
        state.refused = None;
        state.renewed = true;
    }

    /// The server does not take this token for the connection that is there. Whether another one
    /// may be had.
    pub(super) fn refuse_renewal(&self, token: String) -> bool {
        let mut state = self.state();
        (state.taken, state.renewed) = (Some(Some(token)), false);
        drop(state);
        self.refuse_taken()
    }

    async fn next(&self) -> Result<Option<String>> {
        let (provider, refused, doubted) = {
            let mut state = self.state();
            state.is_untried = false;
            let Some(provider) = &self.provider else { return Ok(state.given.clone()) };
            if let Some(given) = state.given.take() {
                return Ok(Some(given));
            }
            (provider, state.refused.clone(), state.doubted.clone())
        };
        let asked = refused.as_ref().or(doubted.as_ref());
        let asked = provider.token(asked.and_then(Option::as_deref));
        let panicked = |_| {
            let error = Error::new(ErrorKind::Internal, "the token provider panicked");
            Err(error.retrying(Retry::Later(None)))
        };
        let token = AssertUnwindSafe(asked).catch_unwind().await.unwrap_or_else(panicked);
        let token = token.map_err(|e| e.during("ask for a token"))?;
        if refused.as_ref() == Some(&token) {
            let message = "the server refused the token, and the token provider gives it again";
            return Err(Error::new(ErrorKind::Unauthenticated, message));
        }
        Ok(token)
    }

    /// Connects with the next token, and once more if that one is refused and another one may be
    /// had.
    pub(super) async fn connect(
        &self,
        transport: &dyn Transport,
        mut hello: Hello,
    ) -> Result<(Arc<dyn Connection>, Welcome)> {
        let mut may_ask_again = self.provider.is_some();
        loop {
            let token = self.next().await?;
            hello.token.clone_from(&token);
            match transport.connect(hello.clone()).await {
                Err(e) if e.kind() == ErrorKind::Unauthenticated => {
                    if e.is_retryable() {
                        self.state().doubted = Some(token);
                        return Err(e);
                    }
                    self.state().refused = Some(token);
                    if !std::mem::take(&mut may_ask_again) {
                        return Err(e);
                    }
                }
                Ok(connected) => {
                    let mut state = self.state();
                    state.taken = Some(token);
                    (state.refused, state.doubted) = (None, None);
                    state.renewed = false;
                    return Ok(connected);
                }
                Err(e) => return Err(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_of_tokens_does_not_tell_them() {
        let printed = format!("{:?}", Tokens::new(Some("secret".to_owned()), None));
        assert!(printed.contains("State") && !printed.contains("secret"), "{printed}");
    }
}
