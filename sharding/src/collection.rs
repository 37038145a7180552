//! The rows of X of any AnnData zarr, or of a collection of them, for the loader.
//!
//! Guarantee: the rows of a collection (`dataset_0`, `dataset_1`, … as annbatch writes it) come one dataset after the
//! other, by their numbers. What the values are is not known; they are taken for counts.

use std::ops::Range;
use std::path::Path;

use crate::anndata::AnnDataError;
use crate::anndata::matrix::Matrix;
use crate::anndata::zarr::{NodeKind, ZarrReader};
use crate::block::{Block, BlockTypes};
use crate::store::{RowReader, Scratch};

/// Rows of a block: chunks of others do not lie at our row borders, so a block reads one chunk in part.
const CHUNK_ROWS: usize = 128;
const COLLECTION: &str = "dataset_";

/// The rows of X of one AnnData zarr or of a collection.
pub struct AnnDataRows {
    name: String,
    parts: Vec<Part>,
    n_cells: usize,
    n_genes: usize,
    types: BlockTypes,
}

struct Part {
    first: usize,
    x: Matrix,
}

impl AnnDataRows {
    /// Opens a folder or a zip file.
    ///
    /// # Errors
    /// When there is no matrix X, or the parts of a collection differ in genes or types.
    pub fn open(path: &Path) -> Result<Self, AnnDataError> {
        let reader = ZarrReader::open(path)?;
        let nodes = if reader.kind("X")?.is_some() { vec!["X".to_owned()] } else { collection(&reader)? };
        let (mut parts, mut n_cells) = (Vec::new(), 0);
        for node in nodes {
            let x = Matrix::open(&reader, &node, false)?;
            let first = n_cells;
            n_cells += x.n_rows();
            parts.push(Part { first, x });
        }
        let fail = |problem: &str| AnnDataError::encoding(reader.name(), "/", problem);
        let first = parts.first().ok_or_else(|| fail("there is no X and no dataset_0 with one"))?;
        let (n_genes, types) = (first.x.n_cols(), first.x.block_types());
        if parts.iter().any(|part| part.x.n_cols() != n_genes || part.x.block_types() != types) {
            return Err(fail("its datasets differ in their number of genes or in the types they are stored in"));
        }
        Ok(Self { name: path.display().to_string(), parts, n_cells, n_genes, types })
    }

    fn part(&self, row: usize) -> &Part {
        &self.parts[self.parts.partition_point(|part| part.first <= row).max(1) - 1]
    }

    /// Reads rows that lie in several datasets.
    fn read_across(&self, rows: Range<usize>, scratch: &mut Scratch, block: &mut Block) -> Result<(), AnnDataError> {
        let (mut pieces, mut start) = (Vec::new(), rows.start);
        while start < rows.end {
            let part = self.part(start);
            let end = rows.end.min(part.first + part.x.n_rows());
            let mut piece = Block::default();
            part.x.read_block(start - part.first..end - part.first, &mut scratch.0, &mut piece)?;
            pieces.push(piece);
            start = end;
        }
        let lengths = pieces.iter().flat_map(|piece| (0..piece.n_rows()).map(|row| piece.span(row).len()));
        block.lay_out(self.n_genes, self.types, lengths);
        let rows = pieces.iter().flat_map(|piece| (0..piece.n_rows()).map(move |row| (piece, row)));
        for (at, (piece, row)) in rows.enumerate() {
            block.copy_row(at, piece, row);
        }
        Ok(())
    }
}

/// Nodes of the matrices of a collection, by number.
fn collection(reader: &ZarrReader) -> Result<Vec<String>, AnnDataError> {
    let children = reader.children("")?;
    let mut numbers: Vec<u64> =
        children.iter().filter_map(|name| name.strip_prefix(COLLECTION)?.parse().ok()).collect();
    numbers.sort_unstable();
    let mut nodes = Vec::new();
    for number in numbers {
        let node = format!("{COLLECTION}{number}/X");
        if reader.kind(&node)? == Some(NodeKind::Group) || reader.kind(&node)? == Some(NodeKind::Array) {
            nodes.push(node);
        }
    }
    Ok(nodes)
}

impl RowReader for AnnDataRows {
    type Error = AnnDataError;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn content_hash(&self) -> Option<&str> {
        None
    }

    fn n_cells(&self) -> usize {
        self.n_cells
    }

    fn n_genes(&self) -> usize {
        self.n_genes
    }

    fn nnz(&self) -> u64 {
        let last = |part: &Part| part.x.indptr().and_then(<[u64]>::last).copied();
        let dense = |part: &Part| (part.x.n_rows() * part.x.n_cols()) as u64;
        self.parts.iter().map(|part| last(part).unwrap_or_else(|| dense(part))).sum()
    }

    fn chunk_rows(&self) -> usize {
        CHUNK_ROWS
    }

    fn block_types(&self) -> BlockTypes {
        self.types
    }

    fn library_size(&self, _row: usize) -> Option<f32> {
        None
    }

    fn is_log_normalised(&self) -> bool {
        false
    }

    fn row_nnz(&self, row: usize) -> Option<usize> {
        let part = self.part(row);
        let (starts, row) = (part.x.indptr()?, row - part.first);
        Some((starts[row + 1] - starts[row]) as usize)
    }

    fn read_block(&self, rows: Range<usize>, scratch: &mut Scratch, block: &mut Block) -> Result<(), AnnDataError> {
        let part = self.part(rows.start);
        if rows.end <= part.first + part.x.n_rows() {
            return part.x.read_block(rows.start - part.first..rows.end - part.first, &mut scratch.0, block);
        }
        self.read_across(rows, scratch, block)
    }

    fn will_read(&self, rows: Range<usize>) {
        let part = self.part(rows.start);
        part.x.will_read(rows.start - part.first..rows.end.min(part.first + part.x.n_rows()) - part.first);
    }
}
