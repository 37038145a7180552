//! Rounds: how many packs every data set gets, and which.

use crate::philox::{Philox, Purpose};

/// Steps of a round.
pub const ROUND: u64 = 256;

/// The weights of the data sets, and how packs are drawn by them.
#[derive(Debug)]
pub(super) struct Quotas {
    seed: u64,
    /// Packs of a batch.
    packs: u64,
    weights: Vec<f64>,
    /// Sum of the weights up to and with each data set; the last is exactly 1.
    upto: Vec<f64>,
}

/// One round: the offset of its samples, the order of its batches, and the packs that came before.
#[derive(Debug)]
pub(super) struct Round {
    number: u64,
    offset: f64,
    /// Which sample each step of the round takes.
    column: Vec<u64>,
    /// Packs of every data set before the round, then before each of its steps.
    before: Vec<Vec<u64>>,
}

impl Quotas {
    pub(super) fn new(seed: u64, packs: usize, weights: &[f64]) -> Self {
        let total: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.iter().map(|weight| weight / total).collect();
        let mut sum = 0.0;
        let mut upto: Vec<f64> = weights
            .iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        if let Some(last) = upto.last_mut() {
            *last = 1.0;
        }
        Self { seed, packs: packs as u64, weights, upto }
    }

    pub(super) fn weights(&self) -> &[f64] {
        &self.weights
    }

    fn stream(&self, round: u64) -> Philox {
        Philox::new(self.seed, Purpose::Mixture, round, 0)
    }

    /// Index of the first of the round's samples, at `(i + offset)/samples`, that lies beyond each data set.
    fn ends(&self, offset: f64) -> Vec<u64> {
        let samples = (ROUND * self.packs) as f64;
        self.upto.iter().map(|upto| (upto * samples - offset).ceil().clamp(0.0, samples) as u64).collect()
    }

    /// Packs of every data set in a round.
    fn counts(&self, offset: f64) -> Vec<u64> {
        let mut start = 0;
        let count = |end: u64| end - std::mem::replace(&mut start, end);
        self.ends(offset).into_iter().map(count).collect()
    }
}

impl Round {
    pub(super) fn first(quotas: &Quotas) -> Self {
        Self::after(quotas, 0, vec![0; quotas.upto.len()])
    }

    /// Moves to a round.
    pub(super) fn seek(&mut self, quotas: &Quotas, number: u64) {
        if number == self.number {
            return;
        }
        let (mut at, mut before) = (0, vec![0; quotas.upto.len()]);
        if number > self.number {
            (at, before) = (self.number, self.before[0].clone());
        }
        while at < number {
            let counts = quotas.counts(quotas.stream(at).next_f64());
            before.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            at += 1;
        }
        *self = Self::after(quotas, number, before);
    }

    /// Data set and number of every pack of a step of the round.
    pub(super) fn packs(&self, quotas: &Quotas, step: u64) -> Vec<(usize, u64)> {
        let mut next = self.before[step as usize].clone();
        let ends = quotas.ends(self.offset);
        let number = |dataset: usize| {
            next[dataset] += 1;
            (dataset, next[dataset] - 1)
        };
        datasets(&ends, self.column[step as usize], quotas.packs).map(number).collect()
    }

    fn after(quotas: &Quotas, number: u64, first: Vec<u64>) -> Self {
        let mut random = quotas.stream(number);
        let offset = random.next_f64();
        let mut column: Vec<u64> = (0..ROUND).collect();
        random.shuffle(&mut column);
        let ends = quotas.ends(offset);
        let mut before = vec![first];
        for &column in &column[..column.len() - 1] {
            let mut next = before[before.len() - 1].clone();
            datasets(&ends, column, quotas.packs).for_each(|dataset| next[dataset] += 1);
            before.push(next);
        }
        Self { number, offset, column, before }
    }
}

/// The data sets of a batch: its samples lie a round apart, so they are spread over the data sets as evenly as the
/// samples of the round.
fn datasets(ends: &[u64], column: u64, packs: u64) -> impl Iterator<Item = usize> {
    (0..packs).map(move |pack| ends.partition_point(|&end| end <= pack * ROUND + column))
}
