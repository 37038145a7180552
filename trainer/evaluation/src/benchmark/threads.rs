//! Many things of one kind, on all cores.
//!
//! Guarantee: results come in order. The threads are none of rayon's pool: a method may hold a lock while it computes on
//! that pool, and a thread of the pool that waits there for its parts could be given another condition, whose method waits
//! for the same lock.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// `f` of every number below `n`.
///
/// # Errors
/// That of the first number that has one; what comes later need not be begun.
pub(super) fn map<T: Send, E: Send>(n: usize, f: impl Fn(usize) -> Result<T, E> + Sync) -> Result<Vec<T>, E> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(n)));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= n {
                break;
            }
            let result = f(at);
            if result.is_err() {
                next.store(n, Ordering::Relaxed);
            }
            found.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..rayon::current_num_threads().min(n) {
            scope.spawn(work);
        }
        work();
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_unstable_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::map;

    #[test]
    fn results_come_in_order_and_the_first_error_ends_the_work() {
        let squares: Result<Vec<usize>, ()> = map(100, |at| Ok(at * at));
        assert_eq!(squares.unwrap(), (0..100).map(|at| at * at).collect::<Vec<_>>());
        let failed: Result<Vec<usize>, usize> = map(1000, |at| if at < 3 { Ok(at) } else { Err(at) });
        assert_eq!(failed, Err(3));
        assert_eq!(map(0, |_| Err::<(), _>(())), Ok(vec![]));
    }
}
