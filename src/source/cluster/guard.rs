//! When a complete list is not believed at once: after an accident in the cluster (an etcd restored empty, a proxy
//! that answers for the API server) the list is complete and wrong.

/// Above this many objects, losing more than half of them at once is unlikely to be meant.
const FEW: usize = 10;

/// Whether a list that no longer has `missing` of `known` objects is to be taken a second time before it is obeyed.
pub(super) fn is_suspicious(known: usize, missing: usize) -> bool {
    missing > 0 && (missing >= known || (known > FEW && missing > known / 2))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, 0, false)]
    #[case(1, 0, false)]
    #[case(1, 1, true)]
    #[case(2, 1, false)]
    #[case(10, 9, false)]
    #[case(10, 10, true)]
    #[case(11, 5, false)]
    #[case(11, 6, true)]
    #[case(12, 6, false)]
    #[case(12, 7, true)]
    #[case(1_000, 500, false)]
    #[case(1_000, 501, true)]
    fn everything_or_more_than_half_of_many(
        #[case] known: usize,
        #[case] missing: usize,
        #[case] suspicious: bool,
    ) {
        assert_eq!(is_suspicious(known, missing), suspicious);
    }
}
