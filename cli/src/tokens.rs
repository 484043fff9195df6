//! Tokens: those that `serve` accepts, the one that `sync` sends, and the files that hold them.

use std::path::{Path, PathBuf};

use clap::Args;
use twotide::{Error, ErrorKind, Retry, TokenProvider, tokens_from};

use crate::failure::Failure;
use crate::text::without_mark;
use crate::values::read_file;

/// The token that `sync` authenticates with.
#[derive(Args)]
pub(crate) struct TokenArgs {
    /// The token to authenticate with; better given by TWOTIDE_TOKEN or --token-file, which no
    /// process list shows
    #[arg(long, value_name = "SECRET", env = "TWOTIDE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file that holds the token, besides blank lines and lines that begin with #; a live sync
    /// reads it again for each connection
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
}

impl std::fmt::Debug for TokenArgs {
    /// Omits the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenArgs").field("token_file", &self.token_file).finish_non_exhaustive()
    }
}

impl TokenArgs {
    /// Returns the token, if one is given.
    ///
    /// # Errors
    /// Usage, for a token that cannot be sent and for a file that holds none.
    pub(crate) fn read(&self) -> Result<Option<String>, Failure> {
        if let Some(file) = &self.token_file {
            return Ok(Some(token_of(file)?));
        }
        let about = |what| Failure::usage(what).about("--token or TWOTIDE_TOKEN");
        match &self.token {
            Some(token) => check(token).map_err(about).map(|()| Some(token.clone())),
            None => Ok(None),
        }
    }

    /// Reads the token file for each connection, so that a token that was replaced in it is used;
    /// none without a file.
    pub(crate) fn provider(&self) -> Option<impl TokenProvider + use<>> {
        let file = self.token_file.clone()?;
        Some(tokens_from(move |refused| read_again(file.clone(), refused)))
    }
}

async fn read_again(file: PathBuf, refused: Option<String>) -> Result<Option<String>, Error> {
    let shown = file.display().to_string();
    let read = tokio::task::spawn_blocking(move || token_of(&file)).await;
    // The file may be being written, so this is retried.
    let later =
        |what: String| Error::new(ErrorKind::InvalidInput, what).retrying(Retry::Later(None));
    let token = read.map_err(|e| later(e.to_string()))?;
    let token = token.map_err(|failure| later(failure.message().to_owned()))?;
    if refused.as_ref() == Some(&token) {
        let message = format!("the server refused the token of the file {shown}");
        return Err(Error::new(ErrorKind::Unauthenticated, message));
    }
    Ok(Some(token))
}

/// Returns the one token of a file.
fn token_of(file: &Path) -> Result<String, Failure> {
    let lines = lines_of(file)?;
    let [(number, token)] = &*lines else {
        let what = match lines.first() {
            None => "the file holds no token".to_owned(),
            Some(_) => format!("the file holds {} lines, and has to hold one token", lines.len()),
        };
        return Err(Failure::usage(what).about(file.display()));
    };
    check(token).map_err(|what| at(file, *number, what))?;
    Ok(token.clone())
}

/// The tokens that `serve` accepts.
#[derive(Args)]
pub(crate) struct ServerTokens {
    /// A token that opens the server; may be given several times, also for one name. TWOTIDE_TOKEN
    /// may hold one
    #[arg(
        long = "token",
        value_name = "NAME=SECRET",
        env = "TWOTIDE_TOKEN",
        hide_env_values = true
    )]
    tokens: Vec<String>,
    /// A file with one NAME=SECRET a line, besides blank lines and lines that begin with #; a name
    /// may have several
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl std::fmt::Debug for ServerTokens {
    /// Omits the tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTokens").field("token_file", &self.token_file).finish_non_exhaustive()
    }
}

impl ServerTokens {
    /// Returns the tokens as pairs of name and secret.
    ///
    /// # Errors
    /// Usage, naming the file and its line, for an invalid token, and for a file that holds none: a
    /// server that was configured to require tokens must not run without.
    pub(crate) fn read(&self) -> Result<Vec<(String, String)>, Failure> {
        let mut pairs = Vec::new();
        for token in &self.tokens {
            add(&mut pairs, token)
                .map_err(|what| Failure::usage(what).about("--token or TWOTIDE_TOKEN"))?;
        }
        if let Some(file) = &self.token_file {
            let lines = lines_of(file)?;
            if lines.is_empty() {
                let what = "the file holds no token; a token is a line NAME=SECRET";
                return Err(Failure::usage(what).about(file.display()));
            }
            for (number, line) in &lines {
                add(&mut pairs, line).map_err(|what| at(file, *number, what))?;
            }
        }
        Ok(pairs)
    }
}

/// Adds a token. An error does not contain it.
fn add(pairs: &mut Vec<(String, String)>, line: &str) -> Result<(), &'static str> {
    let Some((name, secret)) = line.split_once('=') else {
        return Err("a token is given as NAME=SECRET, and there is no `=`");
    };
    if name.is_empty() || secret.is_empty() {
        return Err("a token is given as NAME=SECRET, and neither may be empty");
    }
    if name.trim() != name {
        return Err("a token is given as NAME=SECRET, without blanks around the name");
    }
    check(secret)?;
    if pairs.iter().any(|(other, known)| known == secret && other != name) {
        return Err("another name has the same secret");
    }
    pairs.push((name.to_owned(), secret.to_owned()));
    Ok(())
}

/// Checks that every transport can carry a secret: over HTTP it is sent in a header.
fn check(secret: &str) -> Result<(), &'static str> {
    if secret.is_empty() {
        return Err("the token is empty");
    }
    if !secret.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(
            "the secret has blanks or other characters in it than visible ASCII, and not every transport can carry those",
        );
    }
    Ok(())
}

/// Returns the lines of a file with their numbers, without a mark, blank lines and comments.
fn lines_of(file: &Path) -> Result<Vec<(usize, String)>, Failure> {
    let bytes = read_file(file)?;
    let usage = |what: &str| Failure::usage(what).about(file.display());
    let text = std::str::from_utf8(without_mark(&bytes).map_err(usage)?)
        .map_err(|_| usage("it is not UTF-8"))?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(|(number, line)| (number + 1, line.to_owned())).collect())
}

fn at(file: &Path, line: usize, what: &str) -> Failure {
    Failure::usage(what).about(format!("{}:{line}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_may_have_two_secrets_and_two_names_not_one() {
        let mut pairs = Vec::new();
        for line in ["ann=old", "ann=new", "ann=new", "ben=a=b"] {
            add(&mut pairs, line).unwrap();
        }
        assert_eq!(pairs.len(), 4);
        assert_eq!(pairs[3], ("ben".to_owned(), "a=b".to_owned()));
        assert!(add(&mut pairs, "cleo=old").unwrap_err().contains("another name"));
    }

    #[test]
    fn a_secret_is_what_a_header_carries() {
        check("aA0!~#=").unwrap();
        for bad in ["", "two words", "tab\t", "café", "line\n", "\u{7f}"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
