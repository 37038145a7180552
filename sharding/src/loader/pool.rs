//! Buffers that are used again.
//!
//! Guarantee: what is dropped goes back to its pool with its memory; a pool makes a new one only when none is free.
//! So once the largest working set has been seen, taking and dropping allocates nothing.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Spare buffers of one kind.
#[derive(Debug, Default)]
pub(super) struct Pool<T> {
    free: Mutex<Vec<T>>,
    made: AtomicU64,
}

/// A buffer on loan from a pool.
#[derive(Debug)]
pub struct Pooled<T: Default> {
    item: T,
    home: Arc<Pool<T>>,
}

impl<T: Default> Pool<T> {
    pub(super) fn take(self: &Arc<Self>) -> Pooled<T> {
        // No code that can panic runs while the list is half-changed.
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let item = free.unwrap_or_else(|| {
            self.made.fetch_add(1, Ordering::Relaxed);
            T::default()
        });
        Pooled { item, home: Arc::clone(self) }
    }

    /// How many buffers were ever made.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }
}

impl<T: Default> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T: Default> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.item
    }
}

impl<T: Default> Drop for Pooled<T> {
    fn drop(&mut self) {
        let item = std::mem::take(&mut self.item);
        self.home.free.lock().unwrap_or_else(PoisonError::into_inner).push(item);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Pool;

    #[test]
    fn what_is_dropped_is_used_again_with_its_memory() {
        let pool: Arc<Pool<Vec<u8>>> = Arc::default();
        let mut first = pool.take();
        first.resize(1000, 0);
        let (memory, second) = (first.as_ptr(), pool.take());
        assert_eq!(pool.made(), 2);
        drop(first);
        assert_eq!((pool.take().as_ptr(), pool.made()), (memory, 2));
        drop(second);
    }
}
