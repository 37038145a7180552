//! Streams of rows into a sparse or a dense matrix of a new store.

use serde_json::{Map, json};

use crate::anndata::ZarrError;
use crate::anndata::frame::{array_encoding, encoding};
use crate::anndata::zarr::{ArrayStream, Item, ShardLayout, ZarrWriter};
use crate::csr::Csr;

/// Bounds of the values of an inner chunk: 4 KiB to 256 KiB of one array.
const CHUNK_VALUES: (usize, usize) = (1 << 10, 1 << 16);
/// Inner chunks to a block of rows: few enough to read quickly, many enough that little is decoded in vain
/// at the ends of a block.
const CHUNKS_PER_BLOCK: usize = 4;
/// Row starts of an inner chunk.
const INDPTR_CHUNK: usize = 1 << 13;

/// A CSR matrix being written.
pub(crate) struct CsrStream {
    writer: ZarrWriter,
    path: String,
    n_cols: usize,
    data: ArrayStream<f32>,
    indices: ArrayStream<i32>,
    /// Values of every row: kept, since their sum decides the type of the row starts.
    lengths: Vec<u32>,
    starts: ShardLayout,
}

impl CsrStream {
    /// Begins a matrix; `first` tells how dense the rows are.
    pub(crate) fn new(writer: &ZarrWriter, path: &str, first: &Csr, chunk_rows: usize, shard_bytes: usize) -> Self {
        let per_row = first.nnz().div_ceil(first.n_rows().max(1));
        let chunk = (per_row * chunk_rows / CHUNKS_PER_BLOCK).next_power_of_two();
        let chunk = chunk.clamp(CHUNK_VALUES.0, CHUNK_VALUES.1);
        let layout = |chunk: usize, bytes: usize| ShardLayout {
            chunk,
            shard: (shard_bytes / bytes).next_multiple_of(chunk).max(chunk),
        };
        let stream = |name: &str| format!("{path}/{name}");
        Self {
            data: writer.stream(&stream("data"), None, layout(chunk, 4), Map::new()),
            indices: writer.stream(&stream("indices"), None, layout(chunk, 4), Map::new()),
            lengths: Vec::new(),
            starts: layout(INDPTR_CHUNK, 8),
            writer: writer.clone(),
            path: path.into(),
            n_cols: first.n_cols,
        }
    }

    /// Rows so far.
    pub(crate) fn n_rows(&self) -> u64 {
        self.lengths.len() as u64
    }

    /// Stored values so far.
    pub(crate) fn nnz(&self) -> u64 {
        self.data.rows()
    }

    pub(crate) fn append(&mut self, rows: &Csr) -> Result<(), ZarrError> {
        let indices: Vec<i32> = rows.indices.iter().map(|&index| index as i32).collect();
        self.lengths.extend(rows.indptr.windows(2).map(|pair| (pair[1] - pair[0]) as u32));
        self.indices.push(&indices)?;
        self.data.push(&rows.values)
    }

    pub(crate) fn finish(self) -> Result<(), ZarrError> {
        let shape = json!({"shape": [self.n_rows(), self.n_cols]});
        let (nnz, path) = (self.nnz(), format!("{}/indptr", self.path));
        self.data.finish()?;
        self.indices.finish()?;
        // scipy slices a matrix only if row starts and columns have one type; columns are i32.
        if i32::try_from(nnz).is_ok() {
            write_starts(&self.writer, &path, self.starts, &self.lengths, |start| start as i32)?;
        } else {
            write_starts(&self.writer, &path, self.starts, &self.lengths, |start| start)?;
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
