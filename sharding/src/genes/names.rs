//! Names of genes: which are mitochondrial, which look like Ensembl identifiers, which occur twice.
//!
//! Guarantee: after [`make_unique`] no name occurs twice, and names that were unique keep their spelling.

use std::collections::{HashMap, HashSet};

/// Whether a symbol names a mitochondrial gene (`MT-` in man, `mt-` in mouse).
pub fn is_mitochondrial(symbol: &str) -> bool {
    symbol.get(..3).is_some_and(|prefix| prefix.eq_ignore_ascii_case("mt-"))
}

/// Whether a name looks like an Ensembl gene identifier of any species (`ENSG00000210082.1`, `ENSMUSG…`).
pub fn is_ensembl(name: &str) -> bool {
    let name = name.split('.').next().unwrap_or_default();
    let Some(rest) = name.strip_prefix("ENS") else { return false };
    let Some((species, digits)) = rest.split_once('G') else { return false };
    species.bytes().all(|b| b.is_ascii_uppercase()) && digits.len() >= 6 && digits.bytes().all(|b| b.is_ascii_digit())
}

/// The form in which names are compared across data sets: upper case, Ensembl versions cut off.
pub fn vocabulary_key(name: &str) -> String {
    let name = name.trim();
    let bare = if is_ensembl(name) { name.split('.').next().unwrap_or(name) } else { name };
    bare.to_uppercase()
}

/// Names that occur more than once, in the order of their second occurrence.
pub fn duplicates(names: &[String]) -> Vec<String> {
    let (mut seen, mut told, mut found) = (HashSet::new(), HashSet::new(), Vec::new());
    for name in names {
        if !seen.insert(name.as_str()) && told.insert(name.as_str()) {
            found.push(name.clone());
        }
    }
    found
}

/// Appends `-1`, `-2` … to the second and later occurrences of a name, skipping names already taken.
pub fn make_unique(names: &mut [String]) {
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let mut next: HashMap<String, usize> = HashMap::new();
    let mut seen = HashSet::new();
    for name in names {
        if seen.insert(name.clone()) {
            continue;
        }
        let count = next.entry(name.clone()).or_insert(0);
        let fresh = loop {
            *count += 1;
            let candidate = format!("{name}-{count}");
            if taken.insert(candidate.clone()) {
                break candidate;
            }
        };
        seen.insert(fresh.clone());
        *name = fresh;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn mitochondrial_and_ensembl_names_are_told_apart_from_symbols() {
        assert!(is_mitochondrial("MT-ND1") && is_mitochondrial("mt-Co1"));
        assert!(!is_mitochondrial("MTOR") && !is_mitochondrial("MT") && !is_mitochondrial("é-x"));
        assert!(is_ensembl("ENSG00000210082.3") && is_ensembl("ENSMUSG00000064370"));
        assert!(!is_ensembl("ENSA") && !is_ensembl("GAPDH"));
        assert_eq!(vocabulary_key(" Ensg1 "), "ENSG1");
        assert_eq!(vocabulary_key("ENSG00000210082.3"), "ENSG00000210082");
        assert_eq!(vocabulary_key("AL627309.1"), "AL627309.1");
    }

    #[test]
    fn unique_names_stay_and_repeated_ones_are_numbered_without_collision() {
        let mut list = names("A B A A-1 A B");
        assert_eq!(duplicates(&list), names("A B"));
        make_unique(&mut list);
        assert_eq!(list, names("A B A-2 A-1 A-3 B-1"));
        assert!(duplicates(&list).is_empty());
    }
}
