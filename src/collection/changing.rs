//! Writes that depend on the state that was read.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::replica::WriteOperation;

use super::Collection;
use crate::Document;

impl<T: Serialize + DeserializeOwned> Collection<T> {
    /// Replaces a document if it is still at the revision that was read. The storage compares and
    /// writes in one transaction: no write of another handle, of another process or of the sync
    /// happens in between.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// let notes = replica.collection("notes")?;
    /// let read = notes.insert_with_id("n", &"buy milk".to_owned()).await?;
    /// let newer = notes.replace_if(&read, &"buy oat milk".to_owned()).await?;
    /// // The first revision is not current any more.
    /// let error = notes.replace_if(&read, &"buy tea".to_owned()).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Superseded);
    /// assert_eq!(notes.get("n").await?.unwrap().revision(), newer.revision());
    /// # replica.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Superseded` if the document is at another revision, `NotFound` if it was deleted;
    /// `InvalidInput` if the value has no JSON form or is over the limit; else as the storage.
    pub async fn replace_if(&self, document: &Document<T>, value: &T) -> Result<Document<T>> {
        let operation = WriteOperation::Replace(document.revision(), self.encode(value)?);
        self.write(document.id(), operation).await
    }

    /// Reads a document, changes its value, and writes it, with no other write of the document in
    /// between. After another write the closure is called again, with the newer value: it must do
    /// nothing but change the value. Each repetition means that another write succeeded.
    ///
    /// ```
    /// # use twotide::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let replica = Replica::builder().memory().open().await?;
    /// let counts = replica.collection::<u32>("counts")?;
    /// counts.put("visits", &1).await?;
    /// let visits = counts.modify("visits", |count| *count += 1).await?;
    /// assert_eq!(*visits.value(), 2);
    /// # replica.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// `NotFound` if there is no such document; `InvalidInput` for a bad id, for a document that is
    /// not of type `T`, or for a value that has no JSON form or is over the limit; `Incompatible`
    /// as [`get`](Self::get); else as the storage.
    pub async fn modify(
        &self,
        id: impl AsRef<str>,
        mut change: impl FnMut(&mut T),
    ) -> Result<Document<T>> {
        let key = self.key(id)?;
        loop {
            let Some(document) = self.get(&key.id).await? else {
                let message = "there is no such document";
                return Err(Error::new(ErrorKind::NotFound, message).with("document", key));
            };
            let revision = document.revision();
            let mut value = document.into_value();
            change(&mut value);
            let operation = WriteOperation::Replace(revision, self.encode(&value)?);
            match self.write(&key.id, operation).await {
                Err(error) if error.kind() == ErrorKind::Superseded => {}
                done => return done,
            }
        }
    }
}
