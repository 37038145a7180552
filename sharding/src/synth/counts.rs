//! Cells of all worlds but W1: negative-binomial counts on a drawn library, with lane, batch and cell state.
//!
//! Guarantee: a cell is a pure function of (configuration, cell number): whoever draws it, in whatever order.

use crate::philox::Philox;

use super::config::SynthConfig;
use super::elementary::exp;
use super::negbin::{NegativeBinomial, Scratch};
use super::panel::Panel;
use super::state::State;

/// Mean of the log library size around the log of its mean: keeps the mean near one.
pub(super) fn library_log_mean(config: &SynthConfig) -> f64 {
    -0.5 * config.library_sd * config.library_sd
}

/// Sparse rows under construction.
#[derive(Default)]
pub(super) struct Rows {
    /// Where every closed row ends.
    pub(super) ends: Vec<usize>,
    pub(super) genes: Vec<u32>,
    pub(super) counts: Vec<f32>,
}

impl Rows {
    /// Appends a count to the row that is open.
    pub(super) fn push(&mut self, gene: u32, count: f32) {
        if count > 0.0 {
            self.genes.push(gene);
            self.counts.push(count);
        }
    }

    /// Ends the open row.
    pub(super) fn close(&mut self) {
        self.ends.push(self.genes.len());
    }
}

/// Buffers of one thread.
#[derive(Default)]
pub(super) struct CountBuffers {
    rates: Vec<f64>,
    words: Vec<u32>,
    scratch: Scratch,
}

/// Negative-binomial counts.
pub(super) struct CountModel {
    mean_library: f64,
    library_sd: f64,
    library_log_mean: f64,
    sampler: NegativeBinomial,
}

impl CountModel {
    pub(super) fn new(config: &SynthConfig, panel: &Panel) -> Self {
        Self {
            mean_library: config.mean_library(),
            library_sd: config.library_sd,
            library_log_mean: library_log_mean(config),
            sampler: NegativeBinomial::new(panel.dispersion.iter().copied()),
        }
    }

    /// Draws the counts of a cell of the given log expression (up to a common factor) and log lane factor.
    pub(super) fn draw(
        &self,
        log_rate: &[f32],
        (state, lane): (&State, f64),
        random: &mut Philox,
        buffers: &mut CountBuffers,
        rows: &mut Rows,
    ) {
        let CountBuffers { rates, words, scratch } = buffers;
        rates.clear();
        rates.extend(log_rate.iter().map(|&log| exp(f64::from(log))));
        let log_library = self.library_log_mean + self.library_sd * state.library + lane;
        let per_rate = self.mean_library * exp(log_library) / sum(rates);
        for rate in rates.iter_mut() {
            *rate *= per_rate;
        }
        words.resize(log_rate.len(), 0);
        random.fill(words);
        self.sampler.sample(rates, words, scratch, |gene, count| rows.push(gene, count as f32));
        rows.close();
    }
}

/// A sum in four lanes, for speed; the order is fixed.
fn sum(values: &[f64]) -> f64 {
    let (blocks, rest) = values.as_chunks::<4>();
    let mut lanes = [0.0; 4];
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane += value;
        }
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]) + rest.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::{Rows, sum};

    #[test]
    fn sums_lose_nothing() {
        for length in [0, 1, 4, 7, 100] {
            let values: Vec<f64> = (0..length).map(f64::from).collect();
            assert_eq!(sum(&values), values.iter().sum::<f64>());
        }
    }

    #[test]
    fn zeros_are_not_stored_and_rows_end_where_they_are_closed() {
        let mut rows = Rows::default();
        rows.push(1, 2.0);
        rows.push(2, 0.0);
        rows.close();
        rows.close();
        rows.push(0, 1.0);
        rows.close();
        assert_eq!((rows.ends, rows.genes, rows.counts), (vec![1, 1, 2], vec![1, 0], vec![2.0, 1.0]));
    }
}
