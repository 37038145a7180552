//! Centred log-ratio of protein counts.

use std::ops::Range;

use super::ModalityError;
use crate::store::CellStore;

/// Centred log-ratios of the rows of a table of counts with `n_cols` columns: `ln(x + 1)` less its mean over the
/// row (Stoeckius et al. 2017, over the proteins of a cell). Every row sums to 0; a row of zeros stays one.
///
/// # Errors
/// When the values do not fill rows, or one is negative or no number: the first is named.
pub fn clr(n_cols: usize, values: &[f32]) -> Result<Vec<f32>, ModalityError> {
    if n_cols == 0 || !values.len().is_multiple_of(n_cols) {
        return Err(ModalityError::Shape { values: values.len(), columns: n_cols });
    }
    if let Some(at) = values.iter().position(|&value| !(value.is_finite() && value >= 0.0)) {
        return Err(ModalityError::NoCount { row: at / n_cols, column: at % n_cols, value: values[at] });
    }
    let mut ratios = Vec::with_capacity(values.len());
    for row in values.chunks_exact(n_cols) {
        let logs = row.iter().map(|&value| f64::from(value).ln_1p());
        let mean = logs.clone().sum::<f64>() / n_cols as f64;
        ratios.extend(logs.map(|log| (log - mean) as f32));
    }
    Ok(ratios)
}

/// Centred log-ratios of some cells of the table `name` of `obsm`, where import keeps proteins: its number of
/// columns, and the ratios row by row.
///
/// # Errors
/// When there is no such table (those there are are listed), it cannot be read, or it holds no counts.
pub fn protein(store: &CellStore, name: &str, rows: Range<usize>) -> Result<(usize, Vec<f32>), ModalityError> {
    let found = store.obsm_names()?;
    if !found.iter().any(|known| known == name) {
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        return Err(ModalityError::NoTable { store: store.path().display().to_string(), name: name.to_owned(), found });
    }
    let (n_cols, values) = store.read_obsm(name, rows)?;
    Ok((n_cols, clr(n_cols, &values)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{clr, protein};
    use crate::store::{StoreInfo, StoreWriter, ValueKind, WriteOptions};
    use crate::trial;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn rows_sum_to_zero_and_keep_the_order_of_their_proteins(
            (n_cols, values) in (1_usize..40).prop_flat_map(|n_cols| {
                (Just(n_cols), prop::collection::vec(0_u32..100_000, n_cols..=n_cols * 3))
            }),
        ) {
            let whole = values.len() / n_cols * n_cols;
            let values: Vec<f32> = values[..whole].iter().map(|&value| value as f32).collect();
            let ratios = clr(n_cols, &values).unwrap();
            for (row, counts) in ratios.chunks(n_cols).zip(values.chunks(n_cols)) {
                prop_assert!(row.iter().map(|&ratio| f64::from(ratio)).sum::<f64>().abs() < 1e-5);
                for (pair, counts) in row.windows(2).zip(counts.windows(2)) {
                    prop_assert_eq!(pair[0].partial_cmp(&pair[1]), counts[0].partial_cmp(&counts[1]));
                }
            }
        }
    }

    #[test]
    fn one_and_three_give_half_of_ln_two_to_both_sides() {
        let half = 0.5 * 2_f32.ln();
        let ratios = clr(2, &[1.0, 3.0, 0.0, 0.0]).unwrap();
        assert!((ratios[0] + half).abs() < 1e-6 && (ratios[1] - half).abs() < 1e-6);
        assert_eq!(ratios[2..], [0.0, 0.0]);
    }

    #[test]
    fn proteins_of_a_store_are_read_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let options = WriteOptions { chunk_rows: 4, shard_bytes: 1 << 12 };
        let mut writer = StoreWriter::create(&folder.path().join("a.zarr"), trial::names("g", 2), options).unwrap();
        writer.append(&trial::csr(&vec![vec![1.0, 0.0]; 6])).unwrap();
        let counts: Vec<f32> = (0..18_u8).map(f32::from).collect();
        writer.append_obsm("adt", 3, &counts).unwrap();
        let labels = trial::labels(&["g0"], vec![0, 1, 0, 1, 0, 1]);
        let store = writer.finish(trial::names("cell", 6), &labels, StoreInfo::new(ValueKind::Counts)).unwrap();
        assert_eq!(protein(&store, "adt", 1..3).unwrap(), (3, clr(3, &counts[3..9]).unwrap()));
        let error = protein(&store, "protein", 0..1).unwrap_err().to_string();
        assert!(error.contains("no table `protein` in obsm; there are: adt"), "{error}");
    }

    #[test]
    fn what_is_no_count_is_named() {
        let message = |n_cols, values: &[f32]| clr(n_cols, values).unwrap_err().to_string();
        assert!(message(2, &[1.0, 2.0, 3.0, -1.0]).contains("row 1, column 1: -1 is no count"));
        assert!(message(1, &[f32::NAN]).contains("NaN is no count"));
        assert!(message(3, &[1.0; 4]).contains("4 values do not make rows of 3"));
        assert!(message(0, &[]).contains("rows of 0 columns"));
    }
}
