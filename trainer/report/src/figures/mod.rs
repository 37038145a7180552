//! The figures of a report, made from the files of a run.

mod benchmark;
mod embedding;
mod perturbation;
mod training;

pub(crate) use benchmark::metric_bars;
pub(crate) use embedding::embedding;
pub(crate) use perturbation::{LEAST_CELLS, PerMethod, perturbation_bars, value as condition_value};
pub(crate) use training::{loss_curves, pretraining};

/// A name that is safe as a file name: letters, digits, `-` and `_`.
pub(crate) fn file_name(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_ascii_alphanumeric() || "-_".contains(character) { character } else { '-' })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn file_names_stay_in_their_folder() {
        assert_eq!(super::file_name("../l2 (top)"), "---l2--top-");
    }
}
