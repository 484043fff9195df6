//! The sources of a replica's tokens.

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
    /// Returns a token that is valid now; none to connect without one. `refused` is the token that
    /// the server refused, if that is the reason for the call: it should not be returned again. A
    /// gateway's 401 counts too, with one difference: it may not concern the token, so the same
    /// token may be returned again, and is tried after a while.
    ///
    /// It has to return within the time that connecting may take, and its future may be dropped. A
    /// panic counts as an error that is retried.
    ///
    /// # Errors
    /// Any error that keeps it from returning a token. The replica's status shows the error, and
    /// its advice sets when the provider is called again: with *never*, when the replica is given a
    /// token or run again.
    async fn token(&self, refused: Option<&str>) -> Result<Option<String>>;
}

/// A [`TokenProvider`] that is a closure: see [`tokens_from`].
pub struct FnTokens<F>(F);

impl<F> fmt::Debug for FnTokens<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnTokens(..)")
    }
}

/// Makes a [`TokenProvider`] of a closure. The argument is the token that was refused, if that is
/// the reason for the call.
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
    /// The app's token. With a provider it is for the open connection, or else the next one.
    given: Option<String>,
    /// Whether it was given after the newest attempt to connect had chosen its token.
    is_untried: bool,
    /// The token that the server accepted last.
    taken: Option<Option<String>>,
    /// The token that the server refused last, unless a new one was given since.
    refused: Option<Option<String>>,
    /// The token that something on the way to the server refused last. It may still be valid.
    doubted: Option<Option<String>>,
    /// Whether the connection was given another token, and nothing was refused on it since.
    renewed: bool,
}

impl fmt::Debug for State {
    /// Omits the tokens.
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

    /// Returns whether a token was given while the newest attempt to connect was under way, or
    /// later.
    pub(super) fn is_untried(&self) -> bool {
        self.state().is_untried
    }

    /// Completes when a token was given since the last call.
    pub(super) async fn was_given(&self) {
        self.given.notified().await;
    }

    /// Clears the refused token, so that the next attempt may use any token again.
    pub(super) fn forgive(&self) {
        self.state().refused = None;
    }

    /// Records that something other than the server refused a request for the connection's token.
    pub(super) fn doubt_taken(&self) {
        let mut state = self.state();
        let taken = state.taken.clone();
        state.doubted = taken;
    }

    /// Records that a request was refused for the connection's token. Returns whether another one
    /// may be available.
    pub(super) fn refuse_taken(&self) -> bool {
        let mut state = self.state();
        let taken = state.taken.take();
        if std::mem::take(&mut state.renewed) {
            // The request may have used the token before: another connection shows it.
            return true;
        }
        if let Some(taken) = taken {
            state.refused = Some(taken);
        }
        let is_new = |given: &String| state.refused.as_ref() != Some(&Some(given.clone()));
        self.provider.is_some() || state.given.as_ref().is_some_and(is_new)
    }

    /// Returns the token that was given and that the connection does not have yet.
    pub(super) fn to_renew(&self) -> Option<String> {
        let mut state = self.state();
        let token = state.given.clone()?;
        if self.provider.is_some() {
            state.given = None;
        }
        (state.taken.as_ref() != Some(&Some(token.clone()))).then_some(token)
    }

    /// Records that the connection continues with this token.
    pub(super) fn renewed(&self, token: String) {
        let mut state = self.state();
        state.taken = Some(Some(token));
        state.refused = None;
        state.renewed = true;
    }

    /// Records that the server refused this token for the open connection. Returns whether another
    /// one may be available.
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
            let message = "the server refused the token, and the token provider returns it again";
            return Err(Error::new(ErrorKind::Unauthenticated, message));
        }
        Ok(token)
    }

    /// Connects with the next token, and once more if that one is refused and another one may be
    /// available.
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
    fn debug_output_does_not_contain_tokens() {
        let printed = format!("{:?}", Tokens::new(Some("secret".to_owned()), None));
        assert!(printed.contains("State") && !printed.contains("secret"), "{printed}");
    }
}
