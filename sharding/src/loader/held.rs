//! Rows held decoded for the whole life of a loader.
//!
//! Control partners are drawn from all over the store. Through the chunk cache every one of them could cost
//! a chunk, so the controls are best held: read once at their first use, chunk by chunk, and kept up to a
//! number of bytes. What does not fit comes through the chunk cache like any other row.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::block::Block;

pub(super) struct HeldRows {
    /// By chunk: which rows of it to hold, and their content once the chunk was first decoded.
    pieces: HashMap<usize, Piece>,
    left: AtomicUsize,
}

struct Piece {
    /// Rows inside the chunk, rising.
    rows: Vec<usize>,
    /// Nothing inside where there was no room.
    content: OnceLock<Option<Block>>,
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

    /// The block that holds row `row` of a chunk, and where in it.
    pub(super) fn find(&self, chunk: usize, row: usize) -> Option<(&Block, usize)> {
        let piece = self.pieces.get(&chunk)?;
        let content = piece.content.get()?.as_ref()?;
        Some((content, piece.rows.binary_search(&row).ok()?))
    }

    /// Takes the rows to hold out of a chunk just decoded.
    pub(super) fn keep(&self, chunk: usize, decoded: &Block) {
        let Some(piece) = self.pieces.get(&chunk) else { return };
        piece.content.get_or_init(|| {
            let rows = || piece.rows.iter().copied().filter(|&row| row < decoded.n_rows());
            let mut content = Block::default();
            content.lay_out(decoded.n_cols, decoded.types(), rows().map(|row| decoded.span(row).len()));
            rows().enumerate().for_each(|(at, row)| content.copy_row(at, decoded, row));
            let reserve = |left: usize| left.checked_sub(content.capacity_bytes());
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_ok().then_some(content)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::HeldRows;
    use crate::block::Block;
    use crate::csr::Csr;

    fn chunk() -> Block {
        let (indices, values) = (vec![0, 1, 2, 3], vec![1.0, 2.0, 3.0, 4.0]);
        Block::from(&Csr { n_cols: 9, indptr: vec![0, 1, 3, 4], indices, values })
    }

    #[test]
    fn held_rows_are_found_once_their_chunk_was_decoded_and_no_others() {
        let held = HeldRows::new(&[4, 5, 4], 3, 1 << 20);
        assert!(held.find(1, 2).is_none(), "nothing was decoded yet");
        held.keep(1, &chunk());
        assert!(held.find(1, 0).is_none() && held.find(0, 2).is_none());
        let row = |row| held.find(1, row).map(|(block, at)| block.row(at));
        assert_eq!((row(1), row(2)), (Some((vec![1, 2], vec![2.0, 3.0])), Some((vec![3], vec![4.0]))));
    }

    #[test]
    fn what_does_not_fit_is_not_held() {
        let held = HeldRows::new(&[0, 1], 3, 10);
        held.keep(0, &chunk());
        assert!(held.find(0, 0).is_none());
    }
}
