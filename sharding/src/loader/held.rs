//! Rows held decoded for the whole life of a loader.
//!
//! Control partners are drawn from all over the store. Through the chunk cache every one of them could cost
//! a chunk, so the controls are best held: read once at their first use, chunk by chunk, and kept up to a
//! number of bytes. What does not fit comes through the chunk cache like any other row.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::cache::bytes_of;
use super::decode;
use super::gather::{Gathered, Wanted};
use crate::csr::Csr;

pub(super) struct HeldRows {
    /// By chunk: which rows of it to hold, and their content once the chunk was first decoded.
    pieces: HashMap<usize, Piece>,
    left: AtomicUsize,
}

struct Piece {
    /// Rows inside the chunk, rising.
    rows: Vec<usize>,
    /// Nothing inside where there was no room.
    content: OnceLock<Option<Csr>>,
}

impl HeldRows {
    /// Holds `rows` of a store with chunks of `chunk_rows`, in at most `bytes`.
    pub(super) fn new(rows: &[u64], chunk_rows: usize, bytes: usize) -> Self {
        let mut pieces: HashMap<usize, Piece> = HashMap::new();
        let mut rows = rows.to_vec();
        rows.sort_unstable();
        rows.dedup();
        for row in rows {
            let (chunk, row) = (row as usize / chunk_rows, row as usize % chunk_rows);
            let piece = pieces.entry(chunk).or_insert_with(|| Piece { rows: Vec::new(), content: OnceLock::new() });
            piece.rows.push(row);
        }
        Self { pieces, left: AtomicUsize::new(bytes) }
    }

    /// Copies what it holds of the wanted rows of a chunk, and returns those it does not.
    pub(super) fn copy<'a>(&self, chunk: usize, wanted: &'a [Wanted], gathered: &mut Gathered) -> Cow<'a, [Wanted]> {
        let Some((piece, content)) = self.pieces.get(&chunk).and_then(|piece| Some((piece, piece.held()?))) else {
            return Cow::Borrowed(wanted);
        };
        let mut missing = Vec::new();
        for wanted in wanted {
            match piece.rows.binary_search(&wanted.row) {
                Ok(at) => gathered.put(wanted.place, content.row(at)),
                Err(_) => missing.push(*wanted),
            }
        }
        Cow::Owned(missing)
    }

    /// Takes the rows to hold out of a chunk just decoded.
    pub(super) fn keep(&self, chunk: usize, decoded: &Arc<Csr>) {
        let Some(piece) = self.pieces.get(&chunk) else { return };
        piece.content.get_or_init(|| {
            let mut content = Csr::empty(decoded.n_cols);
            for &row in piece.rows.iter().filter(|&&row| row < decoded.n_rows()) {
                let (indices, values) = decoded.row(row);
                content.push_row(indices, values);
            }
            decode::shrink(&mut content);
            let reserve = |left: usize| left.checked_sub(bytes_of(&content));
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_ok().then_some(content)
        });
    }
}

impl Piece {
    fn held(&self) -> Option<&Csr> {
        self.content.get()?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use super::HeldRows;
    use crate::csr::Csr;
    use crate::loader::gather::{Gathered, Plan};

    fn chunk() -> Arc<Csr> {
        Arc::new(Csr {
            n_cols: 9,
            indptr: vec![0, 1, 3, 4],
            indices: vec![0, 1, 2, 3],
            values: vec![1.0, 2.0, 3.0, 4.0],
        })
    }

    #[test]
    fn held_rows_are_copied_and_the_others_are_returned() {
        let held = HeldRows::new(&[4, 5, 4], 3, 1 << 20);
        let plan = Plan::new([5_u64, 3, 4].iter(), 3);
        let (index, wanted) = plan.chunks().next().unwrap();
        let mut gathered = Gathered::new(3, 9);
        assert!(matches!(held.copy(index, wanted, &mut gathered), Cow::Borrowed(_)), "nothing was decoded yet");
        held.keep(index, &chunk());
        let missing = held.copy(index, wanted, &mut gathered);
        assert_eq!(missing.iter().map(|wanted| wanted.place).collect::<Vec<_>>(), [1]);
        let block = gathered.block(0..3);
        assert_eq!((block.row(0), block.row(2)), ((&[3][..], &[4.0][..]), (&[1, 2][..], &[2.0, 3.0][..])));
    }

    #[test]
    fn what_does_not_fit_is_not_held() {
        let held = HeldRows::new(&[0, 1], 3, 10);
        held.keep(0, &chunk());
        let plan = Plan::new([0_u64, 1].iter(), 3);
        let (index, wanted) = plan.chunks().next().unwrap();
        assert_eq!(held.copy(index, wanted, &mut Gathered::new(2, 9)).len(), 2);
    }
}
