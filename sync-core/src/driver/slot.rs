//! One engine for each storage of this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::storage::Storage;

/// The right to claim the engine lease of a storage that other parts of this process may share. It
/// is free again once this is dropped.
///
/// A storage keeps other processes out, but a call of [`Storage::claim`] in the same process takes
/// the lease from the holder before. Two engines over one storage would end each other that way.
#[derive(Debug)]
pub struct EngineSlot<S: ?Sized = dyn Storage> {
    storage: Arc<S>,
}

struct Taken {
    /// The address of the storage. The slot holds it, so that no other storage gets that address.
    storage: usize,
    holder: String,
}

static TAKEN: Mutex<Vec<Taken>> = Mutex::new(Vec::new());

fn taken() -> MutexGuard<'static, Vec<Taken>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn address<S: ?Sized>(storage: &Arc<S>) -> usize {
    Arc::as_ptr(storage).cast::<()>() as usize
}

impl<S: ?Sized> EngineSlot<S> {
    /// Takes the slot of a storage.
    ///
    /// # Errors
    /// `Busy`, naming the holder, while another holder has it.
    pub fn take(storage: &Arc<S>, holder: &str) -> Result<Self> {
        let address = address(storage);
        let mut taken = taken();
        if let Some(other) = taken.iter().find(|t| t.storage == address) {
            let what =
                "the engine of this replica runs already in this process, over the same storage";
            let error = Error::new(ErrorKind::Busy, what).during("lock the engine");
            return Err(error.with("holder", &other.holder));
        }
        taken.push(Taken { storage: address, holder: holder.to_owned() });
        Ok(Self { storage: Arc::clone(storage) })
    }
}

impl<S: ?Sized> Drop for EngineSlot<S> {
    fn drop(&mut self) {
        let address = address(&self.storage);
        taken().retain(|t| t.storage != address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_taken_once_for_each_storage_and_free_when_it_is_dropped() {
        let (one, two) = (Arc::new("one"), Arc::new("two"));
        let first = EngineSlot::take(&one, "the app").unwrap();
        let _other = EngineSlot::take(&two, "the app").unwrap();
        let error = EngineSlot::take(&Arc::clone(&one), "another").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains("holder the app"), "{error}");
        drop(first);
        drop(EngineSlot::take(&one, "another").unwrap());
    }
}
