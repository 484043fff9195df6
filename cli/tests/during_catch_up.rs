//! Writes while a replica catches up: catch-up and live changes share one path, so no write is lost
//! or applied twice.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

#[path = "support/seed.rs"]
mod seed;
mod support;

use support::{Db, Folder, Served, until};

const DOCUMENTS: usize = 40_000;
const EACH: usize = 12;

#[test]
fn writes_during_a_catch_up_are_neither_lost_nor_applied_twice() {
    let folder = Folder::new();
    seed::server(&folder.path("server.db"), DOCUMENTS);
    let server = Served::start(&folder.path("server.db"));
    let (late, other) = (Db::new(&folder, "late.db"), Db::new(&folder, "other.db"));
    let (mut catching_up, total) = (None, DOCUMENTS as u64);

    other.sync(&server);
    let mut other_live = other.live(&server, &[]);
    other_live.line_where("in sync", |l| l["in_sync"] == true);
    // Small chunks, so that the catch-up lasts.
    let mut late_live = late.live(&server, &["--chunk", "25"]);
    until("the catch-up has begun", || late.position().filter(|(at, ..)| *at > 0));

    for n in 0..EACH {
        // Each replica writes a new document and an edit, near the end and near the beginning of
        // the log.
        late.put("new", &format!("late-{n}"), r#"{"by":"late"}"#);
        other.put("new", &format!("other-{n}"), r#"{"by":"other"}"#);
        let (near, far) = (seed::id(n), seed::id(DOCUMENTS - 1 - n));
        other.put("docs", &near, r#"{"edited":"other"}"#);
        late.put("docs", &far, r#"{"edited":"late"}"#);
        let (at, ..) = late.position().unwrap();
        if at < total {
            catching_up = Some((n + 1, at));
        }
    }
    // And a document is deleted that the late replica has pulled or will pull.
    other.rm("docs", &seed::id(DOCUMENTS / 2));
    let Some((during, at)) = catching_up else { panic!("the catch-up was over before the writes") };
    println!("{during} of {EACH} rounds of writes were made during the catch-up, the last at {at}");

    let edits = 4 * EACH as u64 + 1;
    let scope = until("everything is at the server", || {
        let scope = server.scope();
        (scope["head"].as_u64().unwrap() >= total + edits).then_some(scope)
    });
    late.reaches(&server);
    other.reaches(&server);
    // Each write took one place in the log: nothing was applied twice.
    assert_eq!(scope["head"], total + edits);
    let left = total + 2 * EACH as u64 - 1;
    assert_eq!(server.scope()["documents"], left);
    for live in [&mut late_live, &mut other_live] {
        assert!(live.is_running(), "{}", live.stderr());
        live.kill();
    }
    let exported = late.export();
    assert_eq!(exported, other.export());
    assert_eq!(exported.lines().count() as u64, left);
    for n in 0..EACH {
        assert!(exported.contains(&format!(r#""id":"late-{n}""#)));
        assert!(exported.contains(&format!(r#""id":"other-{n}""#)));
        assert_eq!(late.body("docs", &seed::id(n)).unwrap()["edited"], "other");
        assert_eq!(other.body("docs", &seed::id(DOCUMENTS - 1 - n)).unwrap()["edited"], "late");
    }
    assert_eq!(late.body("docs", &seed::id(DOCUMENTS / 2)), None);
}
