//! `{"outcome":"decided","epoch":"…","verdicts":[{"kind":"accepted","seq":17}]}`

use serde::{Deserialize, Serialize};
use sync_core::error::Result;
use sync_core::model::{
    Body, Epoch, LogMark, Rejection, RejectionCode, Revision, Scope, Seq, ServerState, Stamp,
    Verdict, VerdictKind, Verdicts,
};

use super::{
    ErasedJson, author_of, custom, mark, of_answer, present, read_answer, state, write_json,
};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Decided,
    Recalled,
    Stale,
    Cloned,
}

#[derive(Serialize, Deserialize)]
struct VerdictsJson {
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    #[serde(default, with = "mark", skip_serializing_if = "Option::is_none")]
    mark: Option<LogMark>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdicts: Option<Vec<VerdictJson>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Accepted,
    Superseded,
    Merged,
    Conflict,
    Rejected,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Code {
    Forbidden,
    Invalid,
    TooLarge,
    Clock,
}

#[derive(Serialize, Deserialize)]
struct VerdictJson {
    kind: Kind,
    seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_time: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<CurrentJson>,
}

/// The server's current state: a document, or only the position at which there is none.
#[derive(Serialize, Deserialize)]
struct CurrentJson {
    seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<Revision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<Revision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    erased: Option<ErasedJson>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    body: Option<Body>,
}

impl From<ServerState> for CurrentJson {
    fn from(ServerState { seq, state }: ServerState) -> Self {
        let held = state.as_ref();
        Self {
            seq,
            revision: held.map(|s| s.revision),
            author: held.and_then(author_of),
            created: held.map(|s| s.created),
            deleted: held.map(|s| s.is_deleted()),
            erased: held.and_then(ErasedJson::of),
            body: state.and_then(|s| s.body),
        }
    }
}

impl CurrentJson {
    fn into_state(self) -> Result<ServerState> {
        let Self { seq, revision, author, created, deleted, erased, body } = self;
        let state = match (revision, created, deleted) {
            (None, None, None) if author.is_none() && body.is_none() && erased.is_none() => None,
            (Some(revision), Some(created), Some(deleted)) => {
                Some(state(revision, author, created, deleted, body, erased).map_err(of_answer)?)
            }
            _ => return Err(of_answer(custom("a current state is told in part"))),
        };
        Ok(ServerState { seq, state })
    }
}

impl From<Verdict> for VerdictJson {
    fn from(Verdict { seq, kind, current }: Verdict) -> Self {
        let (mut code, mut reason, mut server_time) = (None, None, None);
        let kind = match kind {
            VerdictKind::Accepted => Kind::Accepted,
            VerdictKind::Superseded => Kind::Superseded,
            VerdictKind::Merged => Kind::Merged,
            VerdictKind::Conflict => Kind::Conflict,
            VerdictKind::Rejected(rejection) => {
                reason = Some(rejection.reason);
                code = Some(match rejection.code {
                    RejectionCode::Forbidden => Code::Forbidden,
                    RejectionCode::Invalid => Code::Invalid,
                    RejectionCode::TooLarge => Code::TooLarge,
                    RejectionCode::Clock { server_time: now } => {
                        server_time = Some(now);
                        Code::Clock
                    }
                });
                Kind::Rejected
            }
        };
        Self { kind, seq, code, reason, server_time, current: current.map(CurrentJson::from) }
    }
}

impl VerdictJson {
    fn into_verdict(self) -> Result<Verdict> {
        let kind = match (self.kind, self.code) {
            (Kind::Accepted, _) => VerdictKind::Accepted,
            (Kind::Superseded, _) => VerdictKind::Superseded,
            (Kind::Merged, _) => VerdictKind::Merged,
            (Kind::Conflict, _) => VerdictKind::Conflict,
            (Kind::Rejected, None) => return Err(of_answer(custom("a rejection has a code"))),
            (Kind::Rejected, Some(code)) => {
                let code = match (code, self.server_time) {
                    (Code::Forbidden, _) => RejectionCode::Forbidden,
                    (Code::Invalid, _) => RejectionCode::Invalid,
                    (Code::TooLarge, _) => RejectionCode::TooLarge,
                    (Code::Clock, Some(server_time)) => RejectionCode::Clock { server_time },
                    (Code::Clock, None) => {
                        return Err(of_answer(custom("a wrong clock is told the server's time")));
                    }
                };
                VerdictKind::Rejected(Rejection { code, reason: self.reason.unwrap_or_default() })
            }
        };
        let current = self.current.map(CurrentJson::into_state).transpose()?;
        Ok(Verdict { seq: self.seq, kind, current })
    }
}

pub(in crate::format) fn write(verdicts: Verdicts) -> Result<Vec<u8>> {
    let (outcome, epoch, mark, verdicts) = match verdicts {
        Verdicts::Decided { epoch, mark, verdicts } => {
            let verdicts = verdicts.into_iter().map(VerdictJson::from).collect();
            (Outcome::Decided, Some(epoch), mark, Some(verdicts))
        }
        Verdicts::Recalled => (Outcome::Recalled, None, None, None),
        Verdicts::Stale => (Outcome::Stale, None, None, None),
        Verdicts::Cloned => (Outcome::Cloned, None, None, None),
    };
    write_json(&VerdictsJson { outcome, epoch, mark, verdicts })
}

pub(in crate::format) fn read(bytes: &[u8], _: Option<&Scope>) -> Result<Verdicts> {
    let json: VerdictsJson = read_answer(bytes)?;
    match (json.outcome, json.epoch, json.verdicts) {
        (Outcome::Recalled, ..) => Ok(Verdicts::Recalled),
        (Outcome::Stale, ..) => Ok(Verdicts::Stale),
        (Outcome::Cloned, ..) => Ok(Verdicts::Cloned),
        (Outcome::Decided, Some(epoch), Some(verdicts)) => {
            let verdicts: Result<_> = verdicts.into_iter().map(VerdictJson::into_verdict).collect();
            Ok(Verdicts::Decided { epoch, mark: json.mark, verdicts: verdicts? })
        }
        (Outcome::Decided, ..) => {
            Err(of_answer(custom("what was decided comes with an epoch and verdicts")))
        }
    }
}
