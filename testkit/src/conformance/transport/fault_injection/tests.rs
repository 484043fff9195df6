use std::collections::BTreeSet;

use super::*;

struct Nothing;

#[async_trait]
impl TransportHarness for Nothing {
    async fn serve(&self, _: Server) -> Result<Arc<dyn Transport>> {
        Err(Error::new(ErrorKind::Internal, "nobody asks"))
    }
}

#[test]
fn every_fault_is_in_the_list_and_names_a_case() {
    let listed: BTreeSet<_> = TransportFault::ALL.iter().map(|f| *f as usize).collect();
    let all: BTreeSet<_> = (0..=TransportFault::TakesGoodbyeForGood as usize).collect();
    assert_eq!(listed, all);
    let cases: BTreeSet<_> = crate::conformance::transport::cases::<Nothing>()
        .into_iter()
        .map(|case| case.name)
        .collect();
    for fault in TransportFault::ALL {
        assert!(cases.contains(fault.noticed_by()), "{fault:?} names {}", fault.noticed_by());
    }
}
