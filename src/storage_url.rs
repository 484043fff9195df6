//! Storages by their address, chosen at run time.

use std::fmt;
use std::path::Path;
#[cfg(any(feature = "sqlite", feature = "sled"))]
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use storage_kit::kv::{self, KvOptions, MemoryKv};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::ReplicaId;
use sync_core::storage::Storage;
#[cfg(feature = "server")]
use sync_server::ServerStorage;

/// Where a replica or a server stores its data: `sqlite:PATH`, `sled:PATH` or `memory:`, among
/// those that were compiled in.
///
/// ```
/// use twotide::StorageUrl;
/// let url: StorageUrl = "memory:".parse()?;
/// assert_eq!(url.path(), None);
/// let error = "redis:cache".parse::<StorageUrl>().unwrap_err();
/// assert!(error.to_string().contains("memory:"), "{error}");
/// // A path follows, not an authority: a form that other programs read differently is refused.
/// let error = "sqlite://notes.db".parse::<StorageUrl>().unwrap_err();
/// assert!(error.to_string().contains("`sqlite:notes.db`"), "{error}");
/// # Ok::<(), twotide::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StorageUrl(Backend);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Backend {
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf),
    #[cfg(feature = "sled")]
    Sled(PathBuf),
    Memory,
}

/// SQLite's name of a database in memory.
#[cfg(any(feature = "sqlite", feature = "sled"))]
const MEMORY: &str = ":memory:";

/// The schemes that were compiled in.
const KNOWN: &[&str] = &[
    #[cfg(feature = "sqlite")]
    "sqlite:PATH",
    #[cfg(feature = "sled")]
    "sled:PATH",
    "memory:",
];

impl StorageUrl {
    /// Returns the address of a SQLite file.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self(Backend::Sqlite(path.into()))
    }

    /// Returns the address of a folder of sled.
    #[cfg(feature = "sled")]
    #[must_use]
    pub fn sled(path: impl Into<PathBuf>) -> Self {
        Self(Backend::Sled(path.into()))
    }

    /// Returns the address of this process's memory: the data is lost when it is closed.
    #[must_use]
    pub fn memory() -> Self {
        Self(Backend::Memory)
    }

    /// Returns the file or folder; none for memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(path) => Some(path),
            #[cfg(feature = "sled")]
            Backend::Sled(path) => Some(path),
            Backend::Memory => None,
        }
    }

    /// Opens a replica's storage with the backend's default settings. A missing one is created, and
    /// becomes the replica `id`; an existing one keeps its own id.
    ///
    /// # Errors
    /// `InvalidInput` for a path that is likely a mistake, such as `:memory:`, `Incompatible` for
    /// data of another kind, program or newer version, `Storage` if it cannot be read or written,
    /// `Busy` if another process holds it and the backend allows one.
    pub async fn open_replica(&self, id: ReplicaId) -> Result<Arc<dyn Storage>> {
        let backend = self.0.clone();
        blocking(move || backend.open_replica(id)).await
    }

    /// Opens a replica's storage in SQLite with those settings, whose path is that of this address.
    #[cfg(feature = "sqlite")]
    pub(crate) async fn open_sqlite(
        &self,
        config: Option<storage_sqlite::SqliteConfig>,
        id: ReplicaId,
    ) -> Result<Arc<dyn Storage>> {
        let Some(config) = config else { return self.open_replica(id).await };
        self.0.check()?;
        blocking(move || Ok(Arc::new(storage_sqlite::open_replica(&config, id)?) as _)).await
    }

    /// Opens a server's storage with the backend's default settings. A missing one is created.
    ///
    /// # Errors
    /// As [`Self::open_replica`].
    #[cfg(feature = "server")]
    pub async fn open_server(&self) -> Result<Arc<dyn ServerStorage>> {
        let backend = self.0.clone();
        blocking(move || backend.open_server()).await
    }
}

/// Refuses a path that means something else to other programs; the error names the alternative.
#[cfg(any(feature = "sqlite", feature = "sled"))]
fn check_path(scheme: &str, path: &Path) -> Result<()> {
    let Some(path) = path.to_str() else { return Ok(()) };
    let what = match path.strip_prefix("//") {
        _ if path == MEMORY => {
            format!("data in memory is `memory:`, and a file of this name is `{scheme}:./{MEMORY}`")
        }
        Some(rest) if !rest.starts_with('/') => format!(
            "a path follows on `{scheme}:`, and no slashes: write `{scheme}:{rest}` for a path from the current folder, or \
             `{scheme}:/{rest}` for one from the root"
        ),
        _ if path.starts_with("file:") => {
            format!(
                "URIs are not read: write `{scheme}:PATH`, or `{scheme}:./{path}` for a file of this name"
            )
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::InvalidInput, what).with("storage", format!("{scheme}:{path}")))
}

impl Backend {
    /// Refuses a path that is likely a mistake.
    fn check(&self) -> Result<()> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => check_path("sqlite", path),
            #[cfg(feature = "sled")]
            Self::Sled(path) => check_path("sled", path),
            Self::Memory => Ok(()),
        }
    }

    fn open_replica(self, id: ReplicaId) -> Result<Arc<dyn Storage>> {
        self.check()?;
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => {
                let config = storage_sqlite::SqliteConfig::new(path);
                Ok(Arc::new(storage_sqlite::open_replica(&config, id)?))
            }
            #[cfg(feature = "sled")]
            Self::Sled(path) => {
                let config = storage_sled::SledConfig::new(path);
                Ok(Arc::new(storage_sled::open_replica(&config, id)?))
            }
            Self::Memory => {
                let memory = Arc::<MemoryKv>::default();
                Ok(Arc::new(kv::open_replica(memory, id, KvOptions::default())?))
            }
        }
    }

    #[cfg(feature = "server")]
    fn open_server(self) -> Result<Arc<dyn ServerStorage>> {
        self.check()?;
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => {
                let config = storage_sqlite::SqliteConfig::new(path);
                Ok(Arc::new(storage_sqlite::open_server(&config)?))
            }
            #[cfg(feature = "sled")]
            Self::Sled(path) => {
                let config = storage_sled::SledConfig::new(path);
                Ok(Arc::new(storage_sled::open_server(&config)?))
            }
            Self::Memory => {
                let memory = Arc::<MemoryKv>::default();
                Ok(Arc::new(kv::open_server(memory, KvOptions::default())?))
            }
        }
    }
}

/// Runs the opening of a storage, which reads and writes files, on a blocking thread.
async fn blocking<T: Send + 'static>(
    open: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(open).await {
        Ok(opened) => opened,
        Err(e) => {
            Err(Error::new(ErrorKind::Internal, "opening the storage was interrupted").because(e))
        }
    }
}

impl FromStr for StorageUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |what: &str| {
            Error::new(ErrorKind::InvalidInput, what)
                .with("storage", format!("{text:?}"))
                .with("there is", KNOWN.join(", "))
        };
        let Some((scheme, path)) = text.split_once(':') else {
            return Err(invalid("a storage is named by a scheme and a path"));
        };
        let backend = match scheme {
            #[cfg(feature = "sqlite")]
            "sqlite" => Backend::Sqlite(path.into()),
            #[cfg(feature = "sled")]
            "sled" => Backend::Sled(path.into()),
            "memory" if path.is_empty() => Backend::Memory,
            "memory" => return Err(invalid("memory has no path")),
            _ => return Err(invalid("no such storage was compiled in")),
        };
        if path.is_empty() && backend != Backend::Memory {
            return Err(invalid("the path is empty"));
        }
        backend.check()?;
        Ok(Self(backend))
    }
}

impl fmt::Display for StorageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            #[cfg(feature = "sled")]
            Backend::Sled(path) => write!(f, "sled:{}", path.display()),
            Backend::Memory => f.write_str("memory:"),
        }
    }
}

impl Serialize for StorageUrl {
    /// Serializes it as its text; a path that is not Unicode is an error.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.path().is_some_and(|path| path.to_str().is_none()) {
            return Err(ser::Error::custom("the path of the storage is not Unicode"));
        }
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StorageUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_its_text() {
        for text in [
            #[cfg(feature = "sqlite")]
            "sqlite:a b/ä.db",
            #[cfg(feature = "sled")]
            "sled:notes.sled",
            "memory:",
        ] {
            assert_eq!(text.parse::<StorageUrl>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_scheme_that_is_not_compiled_in_is_refused_with_those_that_are() {
        for bad in ["", "notes.db", "redis:x", "memory:x", "sqlite:", "sled:"] {
            let error = bad.parse::<StorageUrl>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
            let there = error.to_string();
            assert!(KNOWN.iter().all(|known| there.contains(known)), "{there}");
        }
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn ambiguous_addresses_are_refused_with_the_one_to_write() {
        for (text, instead) in [
            ("sqlite://rel.db", "`sqlite:rel.db`"),
            ("sqlite://folder/rel.db", "`sqlite:/folder/rel.db`"),
            ("sqlite::memory:", "`memory:`"),
            ("sqlite:file:x.db?mode=ro", "`sqlite:PATH`"),
            #[cfg(feature = "sled")]
            ("sled://notes", "`sled:notes`"),
        ] {
            let error = text.parse::<StorageUrl>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
            assert!(error.to_string().contains(instead), "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
        let named = StorageUrl::sqlite(":memory:");
        let error = named.open_replica(ReplicaId([7; 16])).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(named.open_server().await.is_err());
        assert!(!std::path::Path::new(":memory:").exists());
        // Further slashes at the root are ignored.
        let root: StorageUrl = "sqlite:///data/notes.db".parse().unwrap();
        assert_eq!(root.path(), Some(Path::new("/data/notes.db")));
        assert!("sqlite:./:memory:".parse::<StorageUrl>().is_ok());
    }

    #[tokio::test]
    async fn memory_opens_in_both_roles() {
        let replica = StorageUrl::memory().open_replica(ReplicaId([7; 16])).await.unwrap();
        assert_eq!(replica.state().await.unwrap().replica, ReplicaId([7; 16]));
        let server = StorageUrl::memory().open_server().await.unwrap();
        assert!(server.scopes(None, 10).await.unwrap().is_empty());
    }
}
