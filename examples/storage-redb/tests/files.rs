//! Which files are opened, which are refused, and the data after closing.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use storage_redb::{open_replica, open_server};
use sync_core::error::{ErrorKind, Retry};
use sync_core::model::{Epoch, LogKey, NewLog, ReplicaId, Scope};
use sync_core::storage::Storage;
use sync_server::ServerStorage;

const REPLICA: ReplicaId = ReplicaId([7; 16]);

fn error_of_opening(path: &Path) -> (ErrorKind, Retry, String) {
    let error = open_replica(path, REPLICA).map(drop).unwrap_err();
    (error.kind(), error.retry(), error.report().to_string())
}

#[tokio::test]
async fn a_closed_file_can_be_opened_again_and_an_open_one_is_busy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.redb");
    for n in 0..10 {
        let storage = open_replica(&path, ReplicaId([7 + n; 16])).unwrap();
        assert_eq!(storage.state().await.unwrap().replica, REPLICA);
        let (kind, retry, text) = error_of_opening(&path);
        assert_eq!((kind, retry), (ErrorKind::Busy, Retry::Later(None)), "{text}");
        assert!(text.contains("app.redb"), "{text}");
        storage.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_remembers_its_scopes_and_is_no_replica() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.redb");
    for fresh in [1, 2] {
        let server = open_server(&path).unwrap();
        let scope = server
            .scope(Scope::default(), NewLog { epoch: Epoch([fresh; 16]), key: LogKey([7; 16]) })
            .await
            .unwrap();
        assert_eq!(scope.epoch, Epoch([1; 16]));
        server.close().await.unwrap();
        let (kind, retry, text) = error_of_opening(&path);
        assert_eq!((kind, retry), (ErrorKind::Incompatible, Retry::Never), "{text}");
    }
}

#[test]
fn a_foreign_file_is_refused_and_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter.txt");
    for text in ["Dear Ada".to_owned(), "x".repeat(100_000)] {
        std::fs::write(&path, &text).unwrap();
        let (kind, _, said) = error_of_opening(&path);
        assert_eq!(kind, ErrorKind::Incompatible, "{said}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    let (kind, _, said) = error_of_opening(&folder.path().join("no/such/folder/app.redb"));
    assert_eq!(kind, ErrorKind::Storage, "{said}");
}
