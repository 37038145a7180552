//! Small matrices in single precision, between which the products of attention are taken.
//!
//! Guarantee: rows and columns are padded to what the widest level works on at once, and every row begins on a line of
//! the cache.

/// Rows and columns are multiples of this: one line of the cache, one vector of AVX-512.
pub(super) const LINE: usize = 16;

/// A matrix of single-precision numbers, row after row.
pub(super) struct Matrix {
    data: Vec<f32>,
    start: usize,
    stride: usize,
}

impl Matrix {
    /// Zeros.
    pub(super) fn zeros(rows: usize, columns: usize) -> Self {
        let stride = columns.next_multiple_of(LINE);
        let len = rows.next_multiple_of(LINE) * stride;
        let data = vec![0.0; len + LINE - 1];
        // Where an address cannot be aligned, speed is all that is lost.
        let start = data.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE - 1);
        Self { data, start, stride }
    }

    /// Numbers from one row's start to the next's.
    #[inline(always)]
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// The rows, padded, one after another.
    #[inline(always)]
    pub(super) fn flat(&self) -> &[f32] {
        &self.data[self.start..]
    }

    /// The rows, padded, one after another.
    #[inline(always)]
    pub(super) fn flat_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..]
    }

    /// A row, padded.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.flat()[row * self.stride..][..self.stride]
    }

    /// A row, padded.
    #[inline(always)]
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let stride = self.stride;
        &mut self.flat_mut()[row * stride..][..stride]
    }
}
