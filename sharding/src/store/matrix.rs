//! Streams of rows into a sparse or a dense matrix of a new store.

use rayon::prelude::*;
use serde_json::{Map, json};
use syncyte_kernels::blosc::Shuffle;

use crate::anndata::ZarrError;
use crate::anndata::frame::{array_encoding, encoding};
use crate::anndata::zarr::{ArrayStream, Item, NumberStream, Scratch, ShardLayout, StreamSoFar, ZarrWriter};
use crate::block::{NumberType, Numbers};
use crate::csr::{Csr, are_counts};

/// Values of an inner chunk: 16 KiB of small counts, which the first-level cache holds together with what they are
/// decoded from, and of which few are decoded in vain at the ends of a block of rows.
const CHUNK_VALUES: usize = 1 << 13;
/// Row starts of an inner chunk.
const INDPTR_CHUNK: usize = 1 << 13;
/// Values moved at a time to another type.
const WIDEN: u64 = 1 << 20;

/// A CSR matrix being written, in the smallest types that hold it.
pub(crate) struct CsrStream {
    writer: ZarrWriter,
    path: String,
    n_cols: usize,
    values: NumberStream,
    columns: NumberStream,
    shard_bytes: usize,
    /// Values of every row: kept, since their sum decides the type of the row starts.
    lengths: Vec<u32>,
    numbers: Numbers,
}

/// How far a matrix has been written.
#[derive(Debug, PartialEq)]
pub(crate) struct CsrSoFar {
    pub(crate) lengths: Vec<u32>,
    pub(crate) values: StreamSoFar,
    pub(crate) columns: StreamSoFar,
}

fn layout(chunk: usize, shard_bytes: usize, item: usize) -> ShardLayout {
    ShardLayout { chunk, shard: (shard_bytes / item).next_multiple_of(chunk).max(chunk) }
}

/// The smallest type that holds all of `values`, which may be of the type `least` already.
fn type_of(values: &[f32], least: NumberType) -> NumberType {
    let parts = || values.par_chunks(1 << 14);
    let negative_zero = |part: &[f32]| part.iter().any(|value| value.to_bits() == (-0.0_f32).to_bits());
    if least == NumberType::F32 || !parts().all(|part| are_counts(part) && !negative_zero(part)) {
        return NumberType::F32;
    }
    let largest = parts().map(|part| part.iter().fold(0, |largest, &value| largest.max(value as i32))).max();
    NumberType::for_largest(u64::from(largest.unwrap_or(0).unsigned_abs())).max(least)
}

impl CsrStream {
    /// Begins a matrix of `n_cols` columns in shards of about `shard_bytes`.
    pub(crate) fn new(writer: &ZarrWriter, path: &str, n_cols: usize, shard_bytes: usize) -> Self {
        let column_type = NumberType::for_largest(n_cols.saturating_sub(1) as u64).max(NumberType::U16);
        let columns = layout(CHUNK_VALUES, shard_bytes, column_type.bytes());
        Self {
            values: Self::values(writer, path, NumberType::U8, shard_bytes),
            columns: NumberStream::new(writer, format!("{path}/indices"), column_type, columns, Shuffle::Byte),
            lengths: Vec::new(),
            shard_bytes,
            writer: writer.clone(),
            path: path.into(),
            n_cols,
            numbers: Numbers::empty(column_type),
        }
    }

    /// Goes on where an earlier process stood.
    pub(crate) fn resume(self, so_far: CsrSoFar) -> Result<Self, ZarrError> {
        let CsrSoFar { lengths, values, columns } = so_far;
        let stream = Self::values(&self.writer, &self.path, values.number_type, self.shard_bytes);
        Ok(Self { values: stream.resume(values)?, columns: self.columns.resume(columns)?, lengths, ..self })
    }

    /// Where the writing stands.
    pub(crate) fn so_far(&mut self) -> Result<CsrSoFar, ZarrError> {
        let (values, columns) = (self.values.so_far()?, self.columns.so_far()?);
        Ok(CsrSoFar { lengths: self.lengths.clone(), values, columns })
    }

    /// Whether rows need a wider type than what is written, which is then written anew.
    pub(crate) fn will_widen(&self, rows: &Csr) -> bool {
        self.nnz() > 0 && type_of(&rows.values, self.values.number_type()) != self.values.number_type()
    }

    fn values(writer: &ZarrWriter, path: &str, number_type: NumberType, shard_bytes: usize) -> NumberStream {
        let layout = layout(CHUNK_VALUES, shard_bytes, number_type.bytes());
        NumberStream::new(writer, format!("{path}/data"), number_type, layout, Shuffle::Bit)
    }

    /// Rows so far.
    pub(crate) fn n_rows(&self) -> u64 {
        self.lengths.len() as u64
    }

    /// Stored values so far.
    pub(crate) fn nnz(&self) -> u64 {
        self.values.len()
    }

    pub(crate) fn append(&mut self, rows: &Csr) -> Result<(), ZarrError> {
        let needed = type_of(&rows.values, self.values.number_type());
        if needed != self.values.number_type() {
            self.widen(needed)?;
        }
        self.lengths.extend(rows.indptr.windows(2).map(|pair| (pair[1] - pair[0]) as u32));
        self.numbers.assign(self.columns.number_type(), &rows.indices);
        self.columns.push(&mut self.numbers)?;
        self.numbers.assign(needed, &rows.values);
        self.values.push(&mut self.numbers)
    }

    /// Begins the values anew in a wider type, with those written so far.
    fn widen(&mut self, needed: NumberType) -> Result<(), ZarrError> {
        let wider = Self::values(&self.writer, &self.path, needed, self.shard_bytes);
        let narrow = std::mem::replace(&mut self.values, wider);
        let length = narrow.len();
        if length == 0 {
            return Ok(());
        }
        let aside = narrow.finish_aside()?;
        let (mut scratch, mut part) = (Scratch::default(), Numbers::empty(needed));
        let mut start = 0;
        while start < length {
            let end = length.min(start + WIDEN);
            aside.read_as(needed, start..end, &mut scratch, &mut part)?;
            self.values.push(&mut part)?;
            start = end;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<(), ZarrError> {
        let shape = json!({"shape": [self.n_rows(), self.n_cols]});
        let (nnz, path) = (self.nnz(), format!("{}/indptr", self.path));
        self.values.finish()?;
        self.columns.finish()?;
        let starts = layout(INDPTR_CHUNK, self.shard_bytes, 8);
        // SciPy takes row starts of the type of the columns, so of 32 bits where they fit.
        if i32::try_from(nnz).is_ok() {
            write_starts(&self.writer, &path, starts, &self.lengths, |start| start as i32)?;
        } else {
            write_starts(&self.writer, &path, starts, &self.lengths, |start| start)?;
        }
        self.writer.group(&self.path, encoding("csr_matrix", "0.1.0", shape))
    }
}

fn write_starts<T: Item>(
    writer: &ZarrWriter,
    path: &str,
    layout: ShardLayout,
    lengths: &[u32],
    narrow: impl Fn(i64) -> T,
) -> Result<(), ZarrError> {
    let mut stream = writer.stream(path, None, layout, Map::new());
    let mut start: i64 = 0;
    stream.push(&[narrow(start)])?;
    for lengths in lengths.chunks(layout.chunk) {
        let starts: Vec<T> = lengths
            .iter()
            .map(|&length| {
                start += i64::from(length);
                narrow(start)
            })
            .collect();
        stream.push(&starts)?;
    }
    stream.finish()
}

/// A dense matrix being written.
pub(crate) struct DenseStream {
    pub(crate) n_cols: usize,
    values: ArrayStream<f32>,
}

impl DenseStream {
    pub(crate) fn new(writer: &ZarrWriter, path: &str, n_cols: usize, chunk_rows: usize, shard_bytes: usize) -> Self {
        let shard = (shard_bytes / (4 * n_cols.max(1))).next_multiple_of(chunk_rows).max(chunk_rows);
        let layout = ShardLayout { chunk: chunk_rows, shard };
        Self { n_cols, values: writer.stream(path, Some(n_cols), layout, array_encoding()) }
    }

    pub(crate) fn n_rows(&self) -> u64 {
        self.values.rows()
    }

    pub(crate) fn append(&mut self, values: &[f32]) -> Result<(), ZarrError> {
        self.values.push(values)
    }

    pub(crate) fn finish(self) -> Result<(), ZarrError> {
        self.values.finish()
    }
}
