//! The text tables beside a Matrix Market file: genes, barcodes, metadata; CSV or TSV, gzipped or not.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::frame::{Column, ColumnData, Frame};
use crate::ingest::error::IngestError;
use crate::ingest::tables::categorical;

/// Opens a file, unpacking it when its name ends in `.gz`.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>, IngestError> {
    let file = std::fs::File::open(path).map_err(|e| IngestError::io(path, e))?;
    if is_gzipped(path) { Ok(Box::new(flate2::read::MultiGzDecoder::new(file))) } else { Ok(Box::new(file)) }
}

/// Whether a file is packed, by its name.
pub(super) fn is_gzipped(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

/// The extension of a file once unpacked, in lower case.
pub(super) fn format(path: &Path) -> String {
    let bare = if is_gzipped(path) { path.with_extension("") } else { path.into() };
    bare.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// The first file in `folder` with one of the names, plain or gzipped.
pub(super) fn find(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().flat_map(|name| [folder.join(name), folder.join(format!("{name}.gz"))]).find(|path| path.is_file())
}

/// Rows of a text table. All have the same number of fields.
pub(super) struct Text {
    path: PathBuf,
    rows: Vec<Vec<String>>,
}

impl Text {
    pub(super) fn read(path: &Path) -> Result<Self, IngestError> {
        let delimiter = if format(path) == "csv" { b',' } else { b'\t' };
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).from_reader(open(path)?);
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|e| IngestError::item(path, "table", e.to_string()))?;
            rows.push(record.iter().map(Into::into).collect());
        }
        Ok(Self { path: path.into(), rows })
    }

    /// Number of rows, with the heading if there is one.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Names in a list of `n` genes or barcodes, and the columns beside them.
    pub(super) fn names(mut self, n: usize) -> Result<Frame, IngestError> {
        let heading = match self.rows.len() {
            rows if rows == n => None,
            rows if rows == n + 1 => Some(self.rows.remove(0)),
            rows => {
                return Err(IngestError::item(&self.path, "table", format!("has {rows} rows for {n} matrix entries")));
            }
        };
        // R's write.csv puts row numbers in a nameless first column.
        let numbered = self.rows.iter().enumerate().all(|(at, row)| row.len() > 1 && row[0] == (at + 1).to_string());
        let skip = usize::from(numbered && heading.as_ref().is_some_and(|h| h[0].is_empty()));
        let width = self.rows.first().map_or(0, Vec::len).saturating_sub(skip);
        if width == 0 {
            return Ok(Frame::default());
        }
        // Cell Ranger lists identifiers first and symbols second, without a heading; elsewhere a column may say that
        // it holds symbols, or the first one is the name.
        let (titles, at): (Vec<String>, usize) = match heading {
            None => (["gene_ids", "symbol", "feature_types"].map(Into::into).into(), usize::from(width > 1)),
            Some(heading) => {
                let titles: Vec<String> = heading.into_iter().skip(skip).collect();
                let symbols = ["symbol", "gene_symbol", "gene_name"];
                let at = titles.iter().position(|title| symbols.contains(&title.as_str())).unwrap_or(0);
                (titles, at)
            }
        };
        let columns = (0..width)
            .filter(|&c| c != at)
            .map(|c| Column {
                name: titles.get(c).filter(|t| !t.is_empty()).cloned().unwrap_or_else(|| format!("column_{c}")),
                data: ColumnData::Text(self.rows.iter().map(|row| row[skip + c].clone()).collect()),
            })
            .collect();
        Ok(Frame { index: self.rows.iter().map(|row| row[skip + at].clone()).collect(), columns })
    }

    /// Columns of a metadata table, its rows brought into the order of `barcodes`.
    pub(super) fn metadata(self, barcodes: &[String]) -> Result<Vec<Column>, IngestError> {
        let Some((heading, rows)) = self.rows.split_first() else {
            return Err(IngestError::item(&self.path, "table", "is empty; it needs a heading and a row per barcode"));
        };
        let position: HashMap<&str, usize> = rows.iter().enumerate().map(|(at, row)| (row[0].as_str(), at)).collect();
        let found: Vec<Option<usize>> = barcodes.iter().map(|b| position.get(b.as_str()).copied()).collect();
        if let Some(absent) = found.iter().position(Option::is_none) {
            let count = found.iter().filter(|f| f.is_none()).count();
            return Err(IngestError::item(
                &self.path,
                "table",
                format!(
                    "{count} of {} barcodes have no row (the first is '{}'); the first column must hold the barcodes",
                    barcodes.len(),
                    barcodes[absent]
                ),
            ));
        }
        let order: Vec<usize> = found.into_iter().flatten().collect();
        let named = |c: &usize| !heading[*c].is_empty();
        Ok((1..heading.len())
            .filter(named)
            .map(|c| Column {
                name: heading[c].clone(),
                data: infer(&order.iter().map(|&r| rows[r][c].as_str()).collect::<Vec<_>>()),
            })
            .collect())
    }
}

/// The narrowest column type that holds all values.
fn infer(values: &[&str]) -> ColumnData {
    let missing = |v: &str| matches!(v, "" | "NA" | "NaN" | "nan");
    let each = |v: &&str| (!missing(v)).then(|| (*v).to_owned());
    if values.iter().all(|v| missing(v)) {
        return ColumnData::NullableText(vec![None; values.len()]);
    }
    if let Some(ints) = parse_all(values, missing, |v| v.parse::<i64>().ok()) {
        return match ints.iter().copied().collect() {
            Some(whole) => ColumnData::Int(whole),
            None => ColumnData::NullableInt(ints),
        };
    }
    if let Some(floats) = parse_all(values, missing, |v| v.parse::<f64>().ok()) {
        return ColumnData::Float(floats.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect());
    }
    if let Some(flags) = parse_all(values, missing, truth) {
        return match flags.iter().copied().collect() {
            Some(whole) => ColumnData::Bool(whole),
            None => ColumnData::NullableBool(flags),
        };
    }
    let text: Vec<Option<String>> = values.iter().map(each).collect();
    let column = categorical(&text);
    match &column {
        ColumnData::Categorical { categories, .. } if categories.len() < values.len() => column,
        _ => ColumnData::NullableText(text),
    }
}

fn truth(value: &str) -> Option<bool> {
    match value {
        "TRUE" | "True" | "true" => Some(true),
        "FALSE" | "False" | "false" => Some(false),
        _ => None,
    }
}

fn parse_all<T>(
    values: &[&str],
    missing: impl Fn(&str) -> bool,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<Vec<Option<T>>> {
    values.iter().map(|v| if missing(v) { Some(None) } else { parse(v).map(Some) }).collect()
}
