//! Retrieval: does a prediction point at its own condition?
//!
//! The query is the predicted change of a condition (mean of the predicted cells minus the control mean); the candidates
//! are the measured changes of all held-out conditions of the same context, the right one among them. Candidates
//! are ranked by cosine similarity. Ties share their middle rank, and hits and reciprocal
//! ranks are those expected when ties are broken by lot, so that a query without direction (a prediction
//! of no change) scores at chance and no name or order helps.

use ndarray::{ArrayView1, ArrayView2};

use super::vector::direction;
use super::{MetricError, check};

/// Similarities closer than this are a tie.
const TIE: f64 = 1e-12;

/// Where the right candidate stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rank {
    /// Its rank from 1 (best); candidates in a tie share the middle of their ranks.
    pub rank: f64,
    /// Probability that it comes first when ties are broken by lot.
    pub top1: f64,
    /// Reciprocal rank, in expectation when ties are broken by lot.
    pub reciprocal: f64,
    /// Number of candidates.
    pub candidates: usize,
}

/// Ranks candidate `truth` among all (rows) by cosine similarity to the query.
///
/// # Errors
/// When there is no candidate, the lengths differ, an entry is not finite or `truth` is not a candidate.
pub fn rank(query: ArrayView1<'_, f64>, candidates: ArrayView2<'_, f64>, truth: usize) -> Result<Rank, MetricError> {
    check("query", query, query.len())?;
    candidates.rows().into_iter().try_for_each(|row| check("candidate", row, query.len()))?;
    if truth >= candidates.nrows() {
        return Err(MetricError::Length { what: "list of candidates", expected: truth + 1, found: candidates.nrows() });
    }
    let similarity: Vec<f64> =
        candidates.rows().into_iter().map(|row| direction(query, row, 0.0, 0.0).unwrap_or(0.0)).collect();
    Ok(rank_among(&similarity, truth))
}

/// The place of candidate `own` among all by their similarity to the query.
pub(crate) fn rank_among(similarity: &[f64], own: usize) -> Rank {
    let level = similarity[own];
    let better = similarity.iter().filter(|&&other| other > level + TIE).count();
    let tied = similarity.iter().filter(|&&other| (other - level).abs() <= TIE).count();
    let rank = better as f64 + 0.5 + tied as f64 / 2.0;
    let reciprocal = (better + 1..=better + tied).map(|place| 1.0 / place as f64).sum::<f64>() / tied as f64;
    let top1 = if better == 0 { 1.0 / tied as f64 } else { 0.0 };
    Rank { rank, top1, reciprocal, candidates: similarity.len() }
}

/// Expected top-1 and reciprocal rank of a ranking by lot among `candidates`.
pub fn chance(candidates: usize) -> (f64, f64) {
    let n = candidates.max(1) as f64;
    let harmonic: f64 = (1..=candidates.max(1)).map(|rank| 1.0 / rank as f64).sum();
    (1.0 / n, harmonic / n)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, array};
    use syncyte_sharding::philox::{Philox, Purpose};

    use super::{chance, rank};
    use crate::metric::MetricError;

    #[test]
    fn perfect_queries_rank_first() {
        let candidates = array![[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]];
        for truth in 0..3 {
            let found = rank(candidates.row(truth), candidates.view(), truth).unwrap();
            assert_eq!((found.rank, found.top1, found.reciprocal), (1.0, 1.0, 1.0));
        }
    }

    #[test]
    fn ties_share_the_middle_rank_wherever_they_stand() {
        let candidates = array![[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]];
        for truth in [0, 1] {
            let found = rank(array![1.0, 0.1].view(), candidates.view(), truth).unwrap();
            assert_eq!((found.rank, found.top1, found.reciprocal), (1.5, 0.5, 0.75));
        }
        let lost = rank(Array1::zeros(2).view(), candidates.view(), 3).unwrap();
        assert!((lost.rank - 2.5).abs() < 1e-12, "no direction: all four tie");
        assert_eq!((lost.top1, lost.reciprocal), chance(4));
    }

    #[test]
    fn queries_at_random_score_at_chance() {
        let n = 20;
        let draw = |seed: u64| {
            let mut random = Philox::new(seed, Purpose::Trial, 0, 0);
            Array2::from_shape_simple_fn((n, 8), || random.normal())
        };
        let (mut top1, mut reciprocal) = (0.0, 0.0);
        for seed in 0..50 {
            let (queries, candidates) = (draw(2 * seed), draw(2 * seed + 1));
            for truth in 0..n {
                let found = rank(queries.row(truth), candidates.view(), truth).unwrap();
                top1 += found.top1 / 1000.0;
                reciprocal += found.reciprocal / 1000.0;
            }
        }
        let (chance_top1, chance_reciprocal) = chance(n);
        assert!((top1 - chance_top1).abs() < 0.025 && (reciprocal - chance_reciprocal).abs() < 0.03);
    }

    #[test]
    fn a_right_answer_that_is_no_candidate_is_an_error() {
        assert!(matches!(rank(array![1.0].view(), array![[1.0]].view(), 1), Err(MetricError::Length { .. })));
    }
}
