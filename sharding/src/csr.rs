//! A block of cells in compressed sparse row form.
//!
//! Guarantee: `indptr` has one entry more than there are rows, starts at 0, never falls, and ends at
//! `indices.len() == values.len()`; every index is below `n_cols`. [`Csr::validate`] checks it for
//! blocks that come from outside.

/// Rows (cells) × columns (genes); values are counts or log-normalised expression as `f32`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Csr {
    /// Number of columns (genes).
    pub n_cols: usize,
    /// Row starts, `n_rows + 1` entries.
    pub indptr: Vec<usize>,
    /// Column of every stored value.
    pub indices: Vec<u32>,
    /// Stored values, one per index.
    pub values: Vec<f32>,
}

impl Csr {
    /// An empty block with `n_cols` columns and no rows.
    pub fn empty(n_cols: usize) -> Self {
        Self { n_cols, indptr: vec![0], indices: Vec::new(), values: Vec::new() }
    }

    /// Becomes an empty block, keeping its memory.
    pub(crate) fn clear(&mut self, n_cols: usize) {
        self.n_cols = n_cols;
        self.indices.clear();
        self.values.clear();
        self.indptr.clear();
        self.indptr.push(0);
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.indptr.len().saturating_sub(1)
    }

    /// Number of stored values.
    pub fn nnz(&self) -> usize {
        self.indices.len()
    }

    /// Columns and values of row `row`.
    ///
    /// # Panics
    /// When `row` is not below [`Csr::n_rows`].
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.indptr[row]..self.indptr[row + 1];
        (&self.indices[range.clone()], &self.values[range])
    }

    /// Appends one row.
    pub fn push_row(&mut self, indices: &[u32], values: &[f32]) {
        debug_assert_eq!(indices.len(), values.len());
        self.indices.extend_from_slice(indices);
        self.values.extend_from_slice(values);
        self.indptr.push(self.indices.len());
    }

    /// Says what is wrong with the block, if anything.
    ///
    /// # Errors
    /// A sentence that names the first row at fault.
    pub fn validate(&self) -> Result<(), String> {
        if self.indptr.first() != Some(&0) {
            return Err("indptr does not start at 0".into());
        }
        if let Some(row) = self.indptr.windows(2).position(|pair| pair[0] > pair[1]) {
            return Err(format!("indptr falls after row {row}"));
        }
        if self.indptr.last() != Some(&self.indices.len()) || self.indices.len() != self.values.len() {
            return Err(format!(
                "indptr ends at {:?}, but there are {} indices and {} values",
                self.indptr.last(),
                self.indices.len(),
                self.values.len()
            ));
        }
        match self.indices.iter().position(|&column| column as usize >= self.n_cols) {
            Some(at) => Err(format!("column {} of value {at} is not below {}", self.indices[at], self.n_cols)),
            None => Ok(()),
        }
    }
}

/// Whether all values are whole numbers from 0 up; larger ones than 2^31 are not looked at closely, and said not to be.
pub(crate) fn are_counts(values: &[f32]) -> bool {
    // The cast saturates, so what is negative, broken, infinite or no number comes back as another.
    values.iter().fold(true, |so_far, &value| so_far.min(value as i32 as f32 == value).min(value >= 0.0))
}

#[cfg(test)]
mod tests {
    use super::Csr;

    #[test]
    fn rows_come_back_as_pushed_and_a_bad_column_is_named() {
        let mut block = Csr::empty(3);
        block.push_row(&[0, 2], &[1.0, 4.0]);
        block.push_row(&[], &[]);
        assert_eq!((block.n_rows(), block.nnz()), (2, 2));
        assert_eq!(block.row(0), (&[0, 2][..], &[1.0, 4.0][..]));
        assert!(block.validate().is_ok());
        block.indices[1] = 3;
        assert!(block.validate().unwrap_err().contains("column 3"));
    }
}
