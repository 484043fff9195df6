//! A server in a separate process.

use twotide::StorageUrl;

use super::Asked;
use crate::Outcome;
use crate::server::Listening;

pub(super) async fn run(storage: &str) -> Outcome {
    let storage: StorageUrl = storage.parse()?;
    let listening = Listening::start(storage.open_server().await?).await?;
    let mut asked = Asked::ready(listening.address);
    while let Some(line) = asked.next().await? {
        if !asked.answer_of_process(&line)? {
            return Err(format!("a server is not asked `{line}`").into());
        }
    }
    Ok(())
}
