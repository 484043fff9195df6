//! Resolvers with a planted fault, which the cases must detect.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::Body;
use sync_core::resolver::{Conflict, ConflictResolver, Resolution};

use super::super::tools::panic_quietly;
use super::Subject;

/// The faults: the name of the test, the fault, and the case that detects it. Passed to another
/// macro of this crate.
#[doc(hidden)]
#[macro_export]
macro_rules! resolver_conformance_faults {
    ($callback:ident($($args:tt)*)) => {
        $crate::$callback! { ($($args)*)
            /// The result depends on a clock, or on earlier calls.
            answers_change AnswersChange => the_same_conflict_gets_the_same_answer
            /// A deletion on the other side is an error.
            fails_on_deletions FailsOnDeletions => ordinary_documents_are_decided
            /// A document that is not an object causes a panic.
            panics_on_odd_documents PanicsOnOddDocuments => odd_documents_do_no_harm
            /// The body is concatenated as text, and is not JSON.
            writes_no_json WritesNoJson => a_merge_is_a_valid_document
            /// The resolver reads the base without declaring it: a server decides otherwise than a
            /// replica.
            reads_the_base_silently ReadsTheBaseSilently
                => an_unrequested_base_makes_no_difference
            /// A merge joins both sides, including what it joined before.
            merges_grow MergesGrow => merging_the_same_again_terminates
        }
    };
}

crate::resolver_conformance_faults! { __conformance_fault_enum(ResolverFault) }

/// Builds a fault into the subject.
pub(super) fn broken(subject: &Subject, fault: ResolverFault) -> Subject {
    let inner = Arc::clone(&subject.resolver);
    let resolver = Arc::new(Broken { inner, fault, calls: AtomicUsize::new(0) });
    Subject { resolver, documents: subject.documents.clone() }
}

#[derive(Debug)]
struct Broken {
    inner: Arc<dyn ConflictResolver>,
    fault: ResolverFault,
    calls: AtomicUsize,
}

fn text(state: Option<&sync_core::model::DocumentState>) -> &str {
    state.and_then(|s| s.body.as_ref()).map_or("null", Body::as_str)
}

impl ConflictResolver for Broken {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn needs_base(&self) -> bool {
        self.fault != ResolverFault::ReadsTheBaseSilently && self.inner.needs_base()
    }

    fn resolve(&self, conflict: &Conflict<'_>) -> Result<Resolution> {
        let calls = self.calls.fetch_add(1, Ordering::Relaxed);
        let (local, remote) = (text(Some(conflict.local)), text(conflict.remote));
        match self.fault {
            ResolverFault::AnswersChange if calls % 7 == 3 => Ok(Resolution::Delete),
            ResolverFault::AnswersChange if calls % 7 == 4 => Ok(Resolution::Local),
            ResolverFault::FailsOnDeletions if remote == "null" => {
                Err(Error::new(ErrorKind::InvalidInput, "a document was expected"))
            }
            ResolverFault::PanicsOnOddDocuments if local.starts_with("[[") => panic_quietly(),
            ResolverFault::WritesNoJson => {
                let both = format!("{{{local} {remote}}}");
                Ok(Resolution::Merge(Body::trusted(Bytes::from(both))?))
            }
            ResolverFault::ReadsTheBaseSilently => {
                let deleted = conflict.base.is_none_or(|b| b.is_deleted());
                Ok(if deleted { Resolution::Local } else { Resolution::Remote })
            }
            ResolverFault::MergesGrow => {
                Ok(Resolution::Merge(Body::parse(format!("[{local},{remote}]"))?))
            }
            _ => self.inner.resolve(conflict),
        }
    }
}
