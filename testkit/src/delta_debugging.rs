//! Delta debugging: finds the few items of a failing list that its failure needs.

/// Removes runs of items as long as the rest still fails, ever shorter runs, down to single items:
/// the greedy form of "Simplifying and Isolating Failure-Inducing Input" (Zeller and Hildebrandt,
/// 2002). `fails` is called with every candidate, and returns whether it fails as the whole list
/// did.
///
/// ```
/// use testkit::delta_debugging::remove_runs;
/// let mut items: Vec<u32> = (0..100).collect();
/// remove_runs(&mut items, |rest| rest.contains(&7) && rest.contains(&90));
/// assert_eq!(items, [7, 90]);
/// ```
pub fn remove_runs<T: Clone>(items: &mut Vec<T>, mut fails: impl FnMut(&[T]) -> bool) {
    let mut size = items.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let mut removed = false;
        while at < items.len() {
            let end = (at + size).min(items.len());
            let rest = [&items[..at], &items[end..]].concat();
            if fails(&rest) {
                (*items, removed) = (rest, true);
            } else {
                at += size;
            }
        }
        if size > 1 {
            size = size.div_ceil(2);
        } else if !removed {
            return;
        }
    }
}
