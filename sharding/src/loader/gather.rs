//! Gathering rows out of chunks: chunk after chunk in any order, then all rows in the order wanted.

use crate::csr::Csr;

/// One row wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    pub(super) chunk: usize,
    /// Row inside the chunk.
    pub(super) row: usize,
    /// Place in the result.
    pub(super) place: usize,
}

/// Rows wanted, grouped by the chunk they lie in.
pub(super) struct Plan {
    wanted: Vec<Wanted>,
}

/// Rows copied out of chunks so far.
pub(super) struct Gathered {
    n_genes: usize,
    indices: Vec<u32>,
    values: Vec<f32>,
    /// Start and length in the buffers of the row at every place.
    spans: Vec<(usize, usize)>,
}

impl Plan {
    pub(super) fn new<'a>(rows: impl Iterator<Item = &'a u64>, chunk_rows: usize) -> Self {
        let want = |(place, &row): (usize, &u64)| {
            let row = row as usize;
            Wanted { chunk: row / chunk_rows, row: row % chunk_rows, place }
        };
        let mut wanted: Vec<Wanted> = rows.enumerate().map(want).collect();
        wanted.sort_unstable();
        Self { wanted }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.wanted.len()
    }

    /// Chunks in rising order, each with the rows wanted of it.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (usize, &[Wanted])> {
        self.wanted.chunk_by(|a, b| a.chunk == b.chunk).map(|wanted| (wanted[0].chunk, wanted))
    }
}

impl Gathered {
    pub(super) fn new(n_rows: usize, n_genes: usize) -> Self {
        Self { n_genes, indices: Vec::new(), values: Vec::new(), spans: vec![(0, 0); n_rows] }
    }

    /// Copies the wanted rows out of their chunk.
    pub(super) fn copy(&mut self, chunk: &Csr, wanted: &[Wanted]) {
        for wanted in wanted {
            self.put(wanted.place, chunk.row(wanted.row));
        }
    }

    /// Puts one row in its place.
    pub(super) fn put(&mut self, place: usize, (indices, values): (&[u32], &[f32])) {
        self.spans[place] = (self.indices.len(), indices.len());
        self.indices.extend_from_slice(indices);
        self.values.extend_from_slice(values);
    }

    /// The rows at places `places`, in order.
    pub(super) fn block(&self, places: std::ops::Range<usize>) -> Csr {
        let spans = &self.spans[places];
        let nnz = spans.iter().map(|(_, length)| length).sum();
        let mut block = Csr {
            n_cols: self.n_genes,
            indptr: Vec::with_capacity(spans.len() + 1),
            indices: Vec::with_capacity(nnz),
            values: Vec::with_capacity(nnz),
        };
        block.indptr.push(0);
        for &(start, length) in spans {
            block.push_row(&self.indices[start..start + length], &self.values[start..start + length]);
        }
        block
    }
}
