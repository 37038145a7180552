//! A reader of our stores with nothing of our code: the `zarrs` crate alone, one row at a time.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use zarrs::array::{Array, ArraySubset, ElementOwned};
use zarrs::filesystem::FilesystemStore;

use crate::cells::checksum;

pub(crate) struct Naive {
    storage: Arc<FilesystemStore>,
    starts: Vec<f64>,
}

impl Naive {
    pub(crate) fn open(path: &Path) -> Self {
        let storage = Arc::new(FilesystemStore::new(path).unwrap());
        let mut naive = Self { storage, starts: Vec::new() };
        naive.starts = naive.numbers("/X/indptr", None);
        naive
    }

    fn array(&self, node: &str) -> Array<FilesystemStore> {
        Array::open(Arc::clone(&self.storage), node).unwrap()
    }

    fn fetch<T: ElementOwned>(array: &Array<FilesystemStore>, range: Option<Range<u64>>) -> Vec<T> {
        let range = range.unwrap_or(0..array.shape()[0]);
        array.retrieve_array_subset(&ArraySubset::new_with_ranges(&[range])).unwrap()
    }

    /// Numbers of any type; all of the types here fit.
    fn numbers(&self, node: &str, range: Option<Range<u64>>) -> Vec<f64> {
        let array = self.array(node);
        let metadata: Value = serde_json::from_str(&array.metadata().to_string()).unwrap();
        macro_rules! wide {
            ($stored:ty) => {
                Self::fetch::<$stored>(&array, range).into_iter().map(f64::from).collect()
            };
        }
        match metadata["data_type"].as_str().unwrap() {
            "uint8" => wide!(u8),
            "uint16" => wide!(u16),
            "uint32" => wide!(u32),
            "int8" => wide!(i8),
            "int16" => wide!(i16),
            "int32" => wide!(i32),
            "float32" => wide!(f32),
            other => panic!("{node} is of type {other}"),
        }
    }

    pub(crate) fn n_rows(&self) -> usize {
        self.starts.len() - 1
    }

    pub(crate) fn row(&self, row: usize) -> (Vec<u32>, Vec<f32>) {
        let span = self.starts[row] as u64..self.starts[row + 1] as u64;
        let columns = self.numbers("/X/indices", Some(span.clone()));
        let values = self.numbers("/X/data", Some(span));
        (
            columns.into_iter().map(|column| column as u32).collect(),
            values.into_iter().map(|value| value as f32).collect(),
        )
    }

    /// Checksums of all rows.
    pub(crate) fn checksums(&self) -> Vec<u32> {
        let sum = |row| {
            let (columns, values) = self.row(row);
            checksum(&columns, &values)
        };
        (0..self.n_rows()).map(sum).collect()
    }

    /// The category of every cell in a column of labels.
    pub(crate) fn labels(&self, column: &str) -> Vec<String> {
        let categories: Vec<String> = Self::fetch(&self.array(&format!("/obs/{column}/categories")), None);
        let codes = self.numbers(&format!("/obs/{column}/codes"), None);
        codes.into_iter().map(|code| categories[code as usize].clone()).collect()
    }
}
