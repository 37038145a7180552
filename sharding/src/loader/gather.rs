//! Gathering rows out of chunks: chunk after chunk in any order, then all rows in the order wanted.

use crate::csr::Csr;

/// Rows wanted, grouped by the chunk they lie in.
pub(super) struct Plan {
    /// (chunk, row inside the chunk, place in the result), by chunk.
    wanted: Vec<(usize, usize, usize)>,
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
        let place = |(place, &row): (usize, &u64)| (row as usize / chunk_rows, row as usize % chunk_rows, place);
        let mut wanted: Vec<_> = rows.enumerate().map(place).collect();
        wanted.sort_unstable();
        Self { wanted }
    }

    pub(super) fn n_rows(&self) -> usize {
        self.wanted.len()
    }

    /// Chunks in rising order, each with the rows wanted of it.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (usize, &[(usize, usize, usize)])> {
        self.wanted.chunk_by(|a, b| a.0 == b.0).map(|wanted| (wanted[0].0, wanted))
    }
}

impl Gathered {
    pub(super) fn new(n_rows: usize, n_genes: usize) -> Self {
        Self { n_genes, indices: Vec::new(), values: Vec::new(), spans: vec![(0, 0); n_rows] }
    }

    /// Copies the wanted rows out of their chunk.
    pub(super) fn copy(&mut self, chunk: &Csr, wanted: &[(usize, usize, usize)]) {
        for &(_, row, place) in wanted {
            let (indices, values) = chunk.row(row);
            self.spans[place] = (self.indices.len(), indices.len());
            self.indices.extend_from_slice(indices);
            self.values.extend_from_slice(values);
        }
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
