//! Matrix Market folders as Cell Ranger and Seurat users leave them.
//!
//! Guarantee: the folder must say which axis is cells (by the lengths of its gene and barcode lists; genes × cells
//! where both fit), every barcode finds its metadata row by name, and the entries are counted against the heading.

mod matrix;
mod table;

use std::ops::Range;
use std::path::{Path, PathBuf};

use self::matrix::Header;
use self::table::{Text, find};
use super::error::IngestError;
use super::source::{MatrixPath, Source};
use super::spill::Spill;
use crate::csr::Csr;
use crate::frame::{Frame, Table};

const MATRIX: &[&str] = &["matrix.mtx", "counts.mtx"];
const GENES: &[&str] = &["features.tsv", "genes.tsv", "genes.csv", "features.csv", "genes.txt"];
const BARCODES: &[&str] = &["barcodes.tsv", "barcodes.csv", "barcodes.txt", "cells.csv", "cells.tsv"];

/// A Matrix Market folder, its entries turned into rows in a temporary file.
pub struct MtxFolder {
    path: PathBuf,
    obs: Frame,
    var: Frame,
    rows: Spill,
}

impl MtxFolder {
    /// Whether a folder looks like one.
    pub fn is_at(folder: &Path) -> bool {
        find(folder, MATRIX).is_some()
    }

    /// Reads the tables and turns the matrix.
    ///
    /// # Errors
    /// When a file is missing, cut off or does not fit the others.
    pub fn open(folder: &Path) -> Result<Self, IngestError> {
        let file = |names: &[&str]| {
            find(folder, names).ok_or_else(|| IngestError::Unrecognised {
                path: folder.into(),
                what: format!("a Matrix Market folder without {}", names.join(" or ")),
                fix: "put the list beside matrix.mtx, plain or gzipped".into(),
            })
        };
        let (matrix, genes, barcodes) = (file(MATRIX)?, file(GENES)?, file(BARCODES)?);
        let (genes, barcodes) = (Text::read(&genes)?, Text::read(&barcodes)?);
        let header = Header::read(&matrix)?;
        // A list may have a heading, so its length is n or n + 1.
        let fits = |list: &Text, n: usize| list.len() == n || list.len() == n + 1;
        let genes_first = fits(&genes, header.n_rows) && fits(&barcodes, header.n_cols);
        let cells_first = fits(&genes, header.n_cols) && fits(&barcodes, header.n_rows);
        if !genes_first && !cells_first {
            let what = format!(
                "is {} × {}, but there are {} genes and {} barcodes",
                header.n_rows,
                header.n_cols,
                genes.len(),
                barcodes.len()
            );
            return Err(IngestError::item(&matrix, "matrix", what));
        }
        let (n_genes, n_cells) =
            if genes_first { (header.n_rows, header.n_cols) } else { (header.n_cols, header.n_rows) };
        let var = genes.names(n_genes)?;
        let mut obs = barcodes.names(n_cells)?;
        obs.columns.clear();
        for path in metadata_files(folder)? {
            obs.columns.extend(Text::read(&path)?.metadata(&obs.index)?);
        }
        let rows = header.spill(&matrix, genes_first)?;
        Ok(Self { path: folder.into(), obs, var, rows })
    }
}

fn metadata_files(folder: &Path) -> Result<Vec<PathBuf>, IngestError> {
    let entries = std::fs::read_dir(folder).map_err(|e| IngestError::io(folder, e))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            name.contains("metadata") && matches!(table::format(path).as_str(), "csv" | "tsv")
        })
        .collect();
    found.sort();
    Ok(found)
}

impl Source for MtxFolder {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn obs(&self) -> Result<Table, IngestError> {
        Ok(self.obs.clone().into())
    }

    fn var(&self, _matrix: &MatrixPath) -> Result<Table, IngestError> {
        Ok(self.var.clone().into())
    }

    fn matrices(&self) -> Result<Vec<MatrixPath>, IngestError> {
        Ok(vec![MatrixPath::X])
    }

    fn n_rows(&self) -> usize {
        self.obs.index.len()
    }

    fn read_into(&self, matrix: &MatrixPath, rows: Range<usize>, block: &mut Csr) -> Result<(), IngestError> {
        if *matrix != MatrixPath::X {
            return Err(IngestError::NotFound {
                option: "--matrix",
                wanted: matrix.to_string(),
                owner: self.name(),
                found: vec!["X".into()],
            });
        }
        if rows.start > rows.end || rows.end > self.n_rows() {
            let what = format!("rows {rows:?} were asked for, there are {}", self.n_rows());
            return Err(IngestError::item(&self.path, "matrix", what));
        }
        *block = self.rows.read_rows(rows)?;
        Ok(())
    }

    fn dense_names(&self) -> Result<Vec<String>, IngestError> {
        Ok(Vec::new())
    }

    fn read_dense(&self, name: &str) -> Result<(usize, Vec<f32>), IngestError> {
        Err(IngestError::NotFound { option: "obsm", wanted: name.into(), owner: self.name(), found: Vec::new() })
    }

    fn dense_columns(&self, _name: &str) -> Result<Option<Vec<String>>, IngestError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::frame::ColumnData;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            if table::is_gzipped(Path::new(name)) {
                let mut zip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
                zip.write_all(text.as_bytes()).unwrap();
                zip.finish().unwrap();
            } else {
                let mut file = file;
                file.write_all(text.as_bytes()).unwrap();
            }
        }
        dir
    }

    const BANNER: &str = "%%MatrixMarket matrix coordinate integer general\n% a comment\n";

    fn refusal(files: &[(&str, &str)]) -> String {
        MtxFolder::open(folder(files).path()).err().unwrap().to_string()
    }

    #[test]
    fn a_seurat_folder_reads_by_cells_with_its_metadata_matched_by_barcode() {
        let dir = folder(&[
            ("matrix.mtx.gz", &format!("{BANNER}2 3 3\n2 1 5\n1 1 1\n1 3 7\n")),
            ("genes.csv", "\"\",\"x\"\n\"1\",\"GA\"\n\"2\",\"GB\"\n"),
            ("barcodes.csv", "\"\",\"x\"\n\"1\",\"c1\"\n\"2\",\"c2\"\n\"3\",\"c3\"\n"),
            (
                "seurat_metadata.csv",
                "\"\",\"n\",\"p\",\"ok\"\n\"c3\",3,\"A\",TRUE\n\"c1\",1,\"B\",FALSE\n\"c2\",NA,\"A\",TRUE\n",
            ),
        ]);
        let source = super::super::open::open(dir.path()).unwrap();
        assert_eq!(source.obs().unwrap().frame.index, ["c1", "c2", "c3"]);
        assert_eq!(source.var(&MatrixPath::X).unwrap().frame.index, ["GA", "GB"]);
        let block = source.read_rows(&MatrixPath::X, 0..3).unwrap();
        assert_eq!((block.row(0), block.row(1).0.len()), ((&[0, 1][..], &[1.0, 5.0][..]), 0));
        assert_eq!(block.row(2), (&[0][..], &[7.0][..]));
        let obs = source.obs().unwrap().frame;
        assert_eq!(obs.column("n"), Some(&ColumnData::NullableInt(vec![Some(1), None, Some(3)])));
        assert_eq!(obs.column("ok"), Some(&ColumnData::Bool(vec![false, true, true])));
    }

    #[test]
    fn cell_ranger_features_are_named_by_symbol_and_cells_by_genes_is_recognised() {
        let dir = folder(&[
            ("matrix.mtx", &format!("{BANNER}1 2 1\n1 2 4\n")),
            ("features.tsv.gz", "ENSG1\tGA\tGene Expression\nENSG2\tGB\tGene Expression\n"),
            ("barcodes.tsv", "c1\n"),
        ]);
        let source = MtxFolder::open(dir.path()).unwrap();
        assert_eq!(source.var.index, ["GA", "GB"]);
        assert_eq!(source.var.columns[0].name, "gene_ids");
        assert_eq!(source.read_rows(&MatrixPath::X, 0..1).unwrap().row(0), (&[1][..], &[4.0][..]));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let lists = [("genes.tsv", "GA\nGB\n"), ("barcodes.tsv", "c1\nc2\nc3\n")];
        let with = |matrix: &str| refusal(&[("matrix.mtx", matrix), lists[0], lists[1]]);
        let message = with(&format!("{BANNER}2 3 3\n2 1 5\n"));
        assert!(message.contains("truncated") && message.contains("1 entries of the 3"), "{message}");
        let message = with(&format!("{BANNER}2 3 1\n9 1 5\n"));
        assert!(message.contains("line 4") && message.contains("'9 1 5'"), "{message}");
        let message = with(&format!("{BANNER}7 9 0\n"));
        assert!(message.contains("7 × 9") && message.contains("2 genes and 3 barcodes"), "{message}");
        assert!(with("hello\n").contains("not a Matrix Market file"));
        let matrix = format!("{BANNER}2 3 0\n");
        assert!(refusal(&[("matrix.mtx", &matrix), lists[0]]).contains("barcodes.tsv"));
        let message = refusal(&[("matrix.mtx", &matrix), lists[0], lists[1], ("metadata.csv", ",a\nc1,1\nc2,1\n")]);
        assert!(message.contains("1 of 3 barcodes") && message.contains("'c3'"), "{message}");
    }
}
