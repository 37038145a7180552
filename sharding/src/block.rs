//! Rows of a sparse matrix in the smallest types that hold them, in memory that is used again.
//!
//! A [`Block`] is what is decoded and what batches are made of; [`Csr`] is its wide form for everyone who is not in
//! a hurry. Guarantee: the invariants are those of [`Csr`]; clearing or overwriting a block keeps its memory, so a
//! block that has seen the largest content once never allocates again.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::csr::Csr;

/// Numbers of one stored type.
#[derive(Debug, PartialEq)]
pub enum Numbers {
    /// Bytes: counts up to 255.
    U8(Vec<u8>),
    /// Counts up to 65,535; columns of up to 65,536 genes.
    U16(Vec<u16>),
    /// Larger counts and columns.
    U32(Vec<u32>),
    /// Any other values.
    F32(Vec<f32>),
}

/// The type of [`Numbers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NumberType {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
    /// Single precision.
    F32,
}

/// Runs the same expression on the vector inside, whatever its type.
macro_rules! each {
    ($numbers:expr, $vector:ident => $body:expr) => {
        match $numbers {
            Numbers::U8($vector) => $body,
            Numbers::U16($vector) => $body,
            Numbers::U32($vector) => $body,
            Numbers::F32($vector) => $body,
        }
    };
}

impl NumberType {
    /// The smallest type that holds the whole numbers `0..=largest`.
    pub fn for_largest(largest: u64) -> Self {
        match largest {
            0..=0xff => Self::U8,
            0x100..=0xffff => Self::U16,
            _ => Self::U32,
        }
    }

    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 | Self::F32 => 4,
        }
    }
}

impl Clone for Numbers {
    fn clone(&self) -> Self {
        match self {
            Self::U8(numbers) => Self::U8(numbers.clone()),
            Self::U16(numbers) => Self::U16(numbers.clone()),
            Self::U32(numbers) => Self::U32(numbers.clone()),
            Self::F32(numbers) => Self::F32(numbers.clone()),
        }
    }

    /// Keeps the memory where the type stays.
    fn clone_from(&mut self, from: &Self) {
        match (self, from) {
            (Self::U8(to), Self::U8(from)) => to.clone_from(from),
            (Self::U16(to), Self::U16(from)) => to.clone_from(from),
            (Self::U32(to), Self::U32(from)) => to.clone_from(from),
            (Self::F32(to), Self::F32(from)) => to.clone_from(from),
            (to, from) => *to = from.clone(),
        }
    }
}

impl Default for Numbers {
    fn default() -> Self {
        Self::empty(NumberType::U16)
    }
}

impl Numbers {
    /// No numbers of a type.
    pub fn empty(number_type: NumberType) -> Self {
        match number_type {
            NumberType::U8 => Self::U8(Vec::new()),
            NumberType::U16 => Self::U16(Vec::new()),
            NumberType::U32 => Self::U32(Vec::new()),
            NumberType::F32 => Self::F32(Vec::new()),
        }
    }

    /// Their type.
    pub fn number_type(&self) -> NumberType {
        match self {
            Self::U8(_) => NumberType::U8,
            Self::U16(_) => NumberType::U16,
            Self::U32(_) => NumberType::U32,
            Self::F32(_) => NumberType::F32,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        each!(self, numbers => numbers.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory held.
    pub fn capacity_bytes(&self) -> usize {
        self.number_type().bytes() * each!(self, numbers => numbers.capacity())
    }

    /// Makes `count` numbers of `number_type` of them, keeping the memory where the type stays; what they are is
    /// not said.
    pub fn reset(&mut self, number_type: NumberType, count: usize) {
        if self.number_type() != number_type {
            *self = Self::empty(number_type);
        }
        each!(self, numbers => {
            // Exactly: a pool of blocks with room to spare would cost as much again.
            numbers.reserve_exact(count.saturating_sub(numbers.len()));
            numbers.resize(count, Default::default());
        });
    }

    /// Becomes `from`, in another type that holds all of it.
    pub(crate) fn assign<T: Copy + Into<f64>>(&mut self, number_type: NumberType, from: &[T]) {
        if self.number_type() != number_type {
            *self = Self::empty(number_type);
        }
        let wide = from.iter().map(|&number| -> f64 { number.into() });
        match self {
            Self::U8(numbers) => refill(numbers, wide.map(|number| number as u8)),
            Self::U16(numbers) => refill(numbers, wide.map(|number| number as u16)),
            Self::U32(numbers) => refill(numbers, wide.map(|number| number as u32)),
            Self::F32(numbers) => refill(numbers, wide.map(|number| number as f32)),
        }
    }

    /// The memory of the numbers `range`, little-endian on every machine this is built for.
    pub(crate) fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        each!(self, numbers => bytemuck::cast_slice_mut(&mut numbers[range]))
    }

    /// Overwrites the numbers from `at` on with the `range` of others; types that differ are converted.
    pub(crate) fn copy(&mut self, at: usize, from: &Self, range: Range<usize>) {
        let end = at + range.len();
        match (self, from) {
            (Self::U8(to), Self::U8(from)) => to[at..end].copy_from_slice(&from[range]),
            (Self::U16(to), Self::U16(from)) => to[at..end].copy_from_slice(&from[range]),
            (Self::U32(to), Self::U32(from)) => to[at..end].copy_from_slice(&from[range]),
            (Self::F32(to), Self::F32(from)) => to[at..end].copy_from_slice(&from[range]),
            // One store has one type everywhere, so this is for mixtures of stores only.
            (to, from) => {
                for (to_index, from_index) in (at..end).zip(range) {
                    to.set(to_index, from.get(from_index));
                }
            }
        }
    }

    /// The number at `index`; all types fit.
    pub fn get(&self, index: usize) -> f64 {
        each!(self, numbers => f64::from(numbers[index]))
    }

    fn set(&mut self, index: usize, value: f64) {
        match self {
            Self::U8(numbers) => numbers[index] = value as u8,
            Self::U16(numbers) => numbers[index] = value as u16,
            Self::U32(numbers) => numbers[index] = value as u32,
            Self::F32(numbers) => numbers[index] = value as f32,
        }
    }

    /// Appends the numbers `range` to `out` as `f32`.
    pub fn extend_f32(&self, range: Range<usize>, out: &mut Vec<f32>) {
        match self {
            Self::F32(numbers) => out.extend_from_slice(&numbers[range]),
            Self::U8(numbers) => out.extend(numbers[range].iter().map(|&number| f32::from(number))),
            Self::U16(numbers) => out.extend(numbers[range].iter().map(|&number| f32::from(number))),
            Self::U32(numbers) => out.extend(numbers[range].iter().map(|&number| number as f32)),
        }
    }

    /// Appends the numbers `range` to `out` as `u32`.
    pub fn extend_u32(&self, range: Range<usize>, out: &mut Vec<u32>) {
        match self {
            Self::U32(numbers) => out.extend_from_slice(&numbers[range]),
            Self::U8(numbers) => out.extend(numbers[range].iter().map(|&number| u32::from(number))),
            Self::U16(numbers) => out.extend(numbers[range].iter().map(|&number| u32::from(number))),
            Self::F32(numbers) => out.extend(numbers[range].iter().map(|&number| number as u32)),
        }
    }

    /// Whether all of them, whole numbers, are below a bound.
    fn all_below(&self, bound: usize) -> bool {
        match self {
            Self::U8(numbers) => bound > 0xff || none_from(numbers, bound as u8),
            Self::U16(numbers) => bound > 0xffff || none_from(numbers, bound as u16),
            Self::U32(numbers) => bound > 0xffff_ffff || none_from(numbers, bound as u32),
            Self::F32(numbers) => numbers.iter().all(|&number| (number as usize) < bound),
        }
    }
}

/// Whether no number reaches a bound: without a branch per number, so that the compiler can look at many at once.
fn none_from<T: Copy + PartialOrd>(numbers: &[T], bound: T) -> bool {
    numbers.chunks(4096).all(|part| !part.iter().fold(false, |any, &number| any.max(number >= bound)))
}

fn refill<T>(numbers: &mut Vec<T>, with: impl Iterator<Item = T>) {
    numbers.clear();
    numbers.extend(with);
}

/// Rows × columns: row `r` owns the columns and values `starts[r]..starts[r + 1]`.
/// The default takes no memory at all, so that a buffer goes out of its pool and back for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// Number of columns (genes).
    pub n_cols: usize,
    /// Row starts, one more than there are rows.
    pub starts: Vec<usize>,
    /// Column of every value.
    pub columns: Numbers,
    /// The values.
    pub values: Numbers,
}

impl Block {
    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Number of stored values.
    pub fn nnz(&self) -> usize {
        self.values.len()
    }

    /// Bytes of memory held.
    pub fn capacity_bytes(&self) -> usize {
        size_of::<usize>() * self.starts.capacity() + self.columns.capacity_bytes() + self.values.capacity_bytes()
    }

    /// Where row `row` lies in columns and values.
    pub fn span(&self, row: usize) -> Range<usize> {
        self.starts[row]..self.starts[row + 1]
    }

    /// Row `row` in wide types.
    pub fn row(&self, row: usize) -> (Vec<u32>, Vec<f32>) {
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        self.columns.extend_u32(self.span(row), &mut columns);
        self.values.extend_f32(self.span(row), &mut values);
        (columns, values)
    }

    /// Takes over a wide block, keeping this one's memory where the types stay.
    pub fn assign(&mut self, from: &Csr) {
        self.n_cols = from.n_cols;
        self.starts.clone_from(&from.indptr);
        self.columns.reset(NumberType::U32, from.nnz());
        self.values.reset(NumberType::F32, from.nnz());
        if let (Numbers::U32(columns), Numbers::F32(values)) = (&mut self.columns, &mut self.values) {
            columns.copy_from_slice(&from.indices);
            values.copy_from_slice(&from.values);
        }
    }

    /// Lays out rows of the given lengths; columns and values are to be filled in.
    pub(crate) fn lay_out(&mut self, n_cols: usize, types: BlockTypes, lengths: impl Iterator<Item = usize>) {
        self.n_cols = n_cols;
        self.starts.clear();
        self.starts.push(0);
        let mut end = 0;
        self.starts.extend(lengths.map(|length| {
            end += length;
            end
        }));
        self.columns.reset(types.columns, end);
        self.values.reset(types.values, end);
    }

    /// Fills row `at` with row `row` of another block, as long as itself.
    pub(crate) fn copy_row(&mut self, at: usize, from: &Self, row: usize) {
        let start = self.starts[at];
        self.columns.copy(start, &from.columns, from.span(row));
        self.values.copy(start, &from.values, from.span(row));
    }

    /// The types of columns and values.
    pub(crate) fn types(&self) -> BlockTypes {
        BlockTypes { columns: self.columns.number_type(), values: self.values.number_type() }
    }

    /// The same rows in wide types.
    pub fn to_csr(&self) -> Csr {
        let (mut indices, mut values) = (Vec::new(), Vec::new());
        self.columns.extend_u32(0..self.nnz(), &mut indices);
        self.values.extend_f32(0..self.nnz(), &mut values);
        Csr { n_cols: self.n_cols, indptr: self.starts.clone(), indices, values }
    }

    /// Says what is wrong with the block, if anything.
    ///
    /// # Errors
    /// A sentence that names the first row or value at fault.
    pub fn validate(&self) -> Result<(), String> {
        let sound = self.starts.first() == Some(&0)
            && self.starts.last() == Some(&self.values.len())
            && self.columns.len() == self.values.len()
            && self.starts.windows(2).all(|pair| pair[0] <= pair[1])
            && self.columns.all_below(self.n_cols);
        // The wide form knows how to say what is wrong.
        if sound { Ok(()) } else { self.to_csr().validate().and(Err("row starts and values do not fit".into())) }
    }
}

/// The types of a block's columns and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockTypes {
    /// Of the columns.
    pub columns: NumberType,
    /// Of the values.
    pub values: NumberType,
}

impl From<&Csr> for Block {
    fn from(from: &Csr) -> Self {
        let mut block = Self::default();
        block.assign(from);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, BlockTypes, NumberType, Numbers};
    use crate::csr::Csr;

    fn wide() -> Csr {
        Csr { n_cols: 300, indptr: vec![0, 2, 2, 3], indices: vec![0, 299, 7], values: vec![1.0, 300.0, 2.0] }
    }

    #[test]
    fn the_wide_form_comes_back() {
        let block = Block::from(&wide());
        assert_eq!((block.to_csr(), block.n_rows(), block.nnz()), (wide(), 3, 3));
        assert_eq!(block.row(2), (vec![7], vec![2.0]));
    }

    #[test]
    fn rows_are_copied_in_any_order_and_between_types() {
        let from = Block::from(&wide());
        let mut to = Block::default();
        let types = BlockTypes { columns: NumberType::U16, values: NumberType::U16 };
        to.lay_out(300, types, [1, 2].into_iter());
        to.copy_row(0, &from, 2);
        to.copy_row(1, &from, 0);
        assert_eq!(to.columns, Numbers::U16(vec![7, 0, 299]));
        assert_eq!(to.row(1), (vec![0, 299], vec![1.0, 300.0]));
        assert!(to.validate().is_ok());
    }

    #[test]
    fn memory_is_kept_and_faults_are_named() {
        let mut block = Block::from(&wide());
        let bytes = block.capacity_bytes();
        block.assign(&Csr { indptr: vec![0], indices: vec![], values: vec![], ..wide() });
        assert_eq!((block.nnz(), block.capacity_bytes()), (0, bytes));
        let mut block = Block::from(&wide());
        block.n_cols = 299;
        assert!(block.validate().unwrap_err().contains("column 299"));
        block.n_cols = 300;
        block.starts[3] = 4;
        assert!(block.validate().is_err());
    }

    #[test]
    fn the_smallest_type_that_fits_is_chosen() {
        let types = [255, 256, 65_535, 65_536].map(NumberType::for_largest);
        assert_eq!(types, [NumberType::U8, NumberType::U16, NumberType::U16, NumberType::U32]);
    }
}
