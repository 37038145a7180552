//! Differential expression as scPerturb's tables count it: Welch's t-test of half of a condition's cells against the
//! same half of all others, whose variance is overestimated by taking their number to be the condition's
//! (`t-test_overestim_var` of scanpy), Benjamini–Hochberg at 0.05.

use super::{Screen, Tally};

const LEVEL: f64 = 0.05;

/// Number of differentially expressed genes of every single perturbation, in the order of [`Screen::singles`].
pub(super) fn differential_genes(screen: &Screen) -> Vec<usize> {
    let genes = screen.planted.genes.len();
    let mut all = Tally::new(genes);
    for [half, _] in &screen.halves {
        all.cells += half.cells;
        for gene in 0..genes {
            all.sum[gene] += half.sum[gene];
            all.squares[gene] += half.squares[gene];
        }
    }
    let count = |&condition: &usize| {
        let own = &screen.halves[condition][0];
        discoveries((0..genes).map(|gene| p_value(own, &all, gene)).collect())
    };
    screen.singles().iter().map(count).collect()
}

fn p_value(own: &Tally, all: &Tally, gene: usize) -> f64 {
    let moments = |cells: f64, sum: f64, squares: f64| {
        let mean = sum / cells;
        (mean, (squares / cells - mean * mean).max(0.0) * cells / (cells - 1.0))
    };
    let (mean, variance) = moments(own.cells, own.sum[gene], own.squares[gene]);
    let rest = (all.cells - own.cells, all.sum[gene] - own.sum[gene], all.squares[gene] - own.squares[gene]);
    let (rest_mean, rest_variance) = moments(rest.0, rest.1, rest.2);
    let (a, b) = (variance / own.cells, rest_variance / own.cells);
    if a + b == 0.0 {
        return 1.0;
    }
    let freedom = (a + b).powi(2) * (own.cells - 1.0) / (a * a + b * b);
    student((mean - rest_mean) / (a + b).sqrt(), freedom)
}

/// Two-sided tail of Student's t by Wallace's normal approximation (1959), good to a few per mille from twenty
/// degrees of freedom on.
fn student(t: f64, freedom: f64) -> f64 {
    let z = (freedom * (t * t / freedom).ln_1p()).sqrt() * (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0);
    // Abramowitz and Stegun 26.2.17.
    let k = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_53];
    let polynomial = series.iter().fold(0.0, |sum, coefficient| (sum + coefficient) * k);
    2.0 * polynomial * (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Number of discoveries of Benjamini and Hochberg's procedure.
fn discoveries(mut p_values: Vec<f64>) -> usize {
    p_values.sort_by(f64::total_cmp);
    let n = p_values.len() as f64;
    let found = p_values.iter().enumerate().rposition(|(rank, &p)| p <= LEVEL * (rank + 1) as f64 / n);
    found.map_or(0, |last| last + 1)
}

#[test]
fn the_test_has_the_p_values_and_discoveries_of_scipy() {
    // 2 * scipy.stats.t.sf(t, df)
    for (t, freedom, p) in
        [(0.0, 100.0, 1.0), (2.0, 30.0, 5.462_506e-2), (4.5, 120.0, 1.582_56e-5), (-1.5, 60.0, 0.138_85)]
    {
        assert!((student(t, freedom) / p - 1.0).abs() < 0.02, "t {t}: {}", student(t, freedom));
    }
    // scipy.stats.false_discovery_control([...]) <= 0.05
    assert_eq!(discoveries(vec![0.9, 0.001, 0.012, 0.02, 0.3, 0.035, 0.8, 0.7]), 2);
    assert_eq!(discoveries(vec![0.04, 0.045, 0.05]), 3);
    assert_eq!(discoveries(vec![0.2, 0.3]), 0);
}
