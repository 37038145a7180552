//! Joining two tables of cells by barcode.

use std::collections::HashMap;

use serde::Serialize;

use super::ModalityError;

/// The cells that two tables share, and those that only one has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Joined {
    /// Row in the left table and row in the right one of every shared cell, in the order of the left.
    pub pairs: Vec<(usize, usize)>,
    /// Barcodes that only the left table has, in its order.
    pub only_left: Vec<String>,
    /// Barcodes that only the right table has, in its order.
    pub only_right: Vec<String>,
}

/// Joins two tables, each given by its name and the barcodes of its rows. Barcodes are compared letter by letter:
/// prefixes and suffixes count.
///
/// # Errors
/// When a barcode occurs twice in a table, or the tables share none: both spellings are shown.
pub fn join(left: (&str, &[String]), right: (&str, &[String])) -> Result<Joined, ModalityError> {
    let (in_left, in_right) = (rows_of(left)?, rows_of(right)?);
    let found = |barcode: &String| in_right.get(barcode.as_str()).copied();
    let pairs = left.1.iter().enumerate().filter_map(|(row, barcode)| Some((row, found(barcode)?)));
    let pairs: Vec<(usize, usize)> = pairs.collect();
    if pairs.is_empty() {
        let example = |barcodes: &[String]| barcodes.first().cloned().unwrap_or_default();
        return Err(ModalityError::NothingJoined {
            left: left.0.to_owned(),
            right: right.0.to_owned(),
            left_example: example(left.1),
            right_example: example(right.1),
        });
    }
    let absent = |barcodes: &[String], other: &HashMap<&str, usize>| {
        barcodes.iter().filter(|barcode| !other.contains_key(barcode.as_str())).cloned().collect()
    };
    Ok(Joined { pairs, only_left: absent(left.1, &in_right), only_right: absent(right.1, &in_left) })
}

fn rows_of<'a>((table, barcodes): (&str, &'a [String])) -> Result<HashMap<&'a str, usize>, ModalityError> {
    let mut rows = HashMap::with_capacity(barcodes.len());
    for (second, barcode) in barcodes.iter().enumerate() {
        if let Some(first) = rows.insert(barcode.as_str(), second) {
            let (table, barcode) = (table.to_owned(), barcode.clone());
            return Err(ModalityError::Duplicate { table, barcode, first, second });
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::join;

    fn barcodes(text: &str) -> Vec<String> {
        text.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn shared_cells_are_paired_and_the_others_reported() {
        let (rna, adt) = (barcodes("AAC-1 GGT-1 TTA-1 CCC-1"), barcodes("TTA-1 AAC-2 AAC-1"));
        let joined = join(("rna", &rna), ("adt", &adt)).unwrap();
        assert_eq!(joined.pairs, [(0, 2), (2, 0)]);
        assert_eq!((joined.only_left, joined.only_right), (barcodes("GGT-1 CCC-1"), barcodes("AAC-2")));
    }

    #[test]
    fn twice_the_same_barcode_or_none_in_common_is_named() {
        let message = |left: &str, right: &str| {
            join(("rna", &barcodes(left)), ("adt", &barcodes(right))).unwrap_err().to_string()
        };
        assert!(message("A B", "B C B").contains("adt: barcode `B` stands for rows 0 and 2"));
        assert!(message("A-1 B-1", "A B").contains("no barcode in common: `A-1` against `A`"));
        assert!(message("", "A").contains("no barcode in common"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_barcode_is_joined_or_reported_once(
            left in prop::collection::hash_set(0_u32..60, 1..40),
            right in prop::collection::hash_set(0_u32..60, 1..40),
        ) {
            let names = |set: &std::collections::HashSet<u32>| set.iter().map(u32::to_string).collect::<Vec<_>>();
            let (a, b) = (names(&left), names(&right));
            let shared = left.intersection(&right).count();
            match join(("a", &a), ("b", &b)) {
                Err(_) => prop_assert_eq!(shared, 0),
                Ok(joined) => {
                    prop_assert_eq!(joined.pairs.len(), shared);
                    prop_assert!(joined.pairs.iter().all(|&(row, other)| a[row] == b[other]));
                    prop_assert_eq!(joined.only_left.len(), a.len() - shared);
                    prop_assert_eq!(joined.only_right.len(), b.len() - shared);
                }
            }
        }
    }
}
