//! `{"reset":{"epoch":"…","reason":"epoch_changed","cut":17}}`

use serde::{Deserialize, Serialize};
use sync_core::error::Result;
use sync_core::model::{Epoch, Reset, ResetReason, Scope, Seq};

use super::{custom, of_answer, read_answer, write_json};

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    EpochChanged,
    BelowHorizon,
    DigestDiffers,
    Requested,
    Unproven,
}

/// A reset as a part of other messages.
#[derive(Serialize, Deserialize)]
pub(super) struct Told {
    epoch: Epoch,
    reason: Reason,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<Seq>,
}

impl From<Reset> for Told {
    fn from(Reset { epoch, reason }: Reset) -> Self {
        let (reason, cut) = match reason {
            ResetReason::EpochChanged { cut } => (Reason::EpochChanged, Some(cut)),
            ResetReason::BelowHorizon => (Reason::BelowHorizon, None),
            ResetReason::DigestDiffers => (Reason::DigestDiffers, None),
            ResetReason::Requested => (Reason::Requested, None),
            ResetReason::Unproven => (Reason::Unproven, None),
        };
        Self { epoch, reason, cut }
    }
}

impl Told {
    pub(super) fn into_reset(self) -> Result<Reset> {
        let reason = match (self.reason, self.cut) {
            (Reason::EpochChanged, Some(cut)) => ResetReason::EpochChanged { cut },
            (Reason::EpochChanged, None) => {
                return Err(of_answer(custom("a changed epoch comes with a cut")));
            }
            (Reason::BelowHorizon, _) => ResetReason::BelowHorizon,
            (Reason::DigestDiffers, _) => ResetReason::DigestDiffers,
            (Reason::Requested, _) => ResetReason::Requested,
            (Reason::Unproven, _) => ResetReason::Unproven,
        };
        Ok(Reset { epoch: self.epoch, reason })
    }
}

#[derive(Serialize, Deserialize)]
struct ResetJson {
    reset: Told,
}

pub(in crate::format) fn write(reset: Reset) -> Result<Vec<u8>> {
    write_json(&ResetJson { reset: reset.into() })
}

pub(in crate::format) fn read(bytes: &[u8], _: Option<&Scope>) -> Result<Reset> {
    read_answer::<ResetJson>(bytes)?.reset.into_reset()
}
