//! Collapse monitors (O14) on a fixed set of validation cells.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

/// Smallest standard deviation of a dimension below which an alarm is raised.
pub const SD_MIN_ALARM: f64 = 0.1;
/// Mean standard deviation below which an alarm is raised.
pub const SD_MEAN_ALARM: f64 = 0.3;
/// Mean pairwise cosine above which cells are no longer told apart.
pub const COSINE_ALARM: f64 = 0.99;
/// Spread over perturbations at a fixed cell, as a share of the spread over cells, below which the predictor
/// ignores its condition.
pub const CONDITION_ALARM: f64 = 1e-4;

/// Values of all monitors by name, and the alarms they raise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Values.
    pub values: BTreeMap<String, f64>,
    /// Sentences, empty when all is well.
    pub alarms: Vec<String>,
}

/// Pooled states `[n, d]` on the same cells.
#[derive(Debug)]
pub struct Views<'a> {
    /// Student's embeddings.
    pub student: &'a Tensor,
    /// Teacher's embeddings.
    pub teacher: &'a Tensor,
    /// Predictions for the same cells under different perturbations `[n, k, d]`, where there are conditions.
    pub predictions: Option<&'a Tensor>,
}

/// Computes all monitors.
pub fn health(views: &Views<'_>) -> Health {
    let mut health = Health::default();
    for (name, z) in [("student", views.student), ("teacher", views.teacher)] {
        spectrum(&mut health, name, &z.to_kind(Kind::Double));
    }
    if let Some(predictions) = views.predictions {
        condition_use(&mut health, &predictions.to_kind(Kind::Double));
    }
    health
}

fn spectrum(health: &mut Health, name: &str, z: &Tensor) {
    let sd = z.std_dim([0_i64].as_slice(), true, false);
    let (sd_min, sd_mean) = (sd.min().double_value(&[]), sd.mean(Kind::Double).double_value(&[]));
    let norms = z.square().sum_dim_intlist([1_i64].as_slice(), true, Kind::Double).sqrt();
    let unit = z / norms.clamp_min(1e-12);
    let n = z.size()[0] as f64;
    let total = unit.sum_dim_intlist([0_i64].as_slice(), false, Kind::Double).square().sum(Kind::Double);
    let cosine = (total.double_value(&[]) - n) / (n * (n - 1.0)).max(1.0);
    let mut put = |key: &str, value: f64| health.values.insert(format!("{name}/{key}"), value);
    put("sd_min", sd_min);
    put("sd_mean", sd_mean);
    put("norm_mean", norms.mean(Kind::Double).double_value(&[]));
    put("mean_cosine", cosine);
    put("effective_rank", effective_rank(z));
    if !sd_mean.is_finite() && z.size()[0] > 1 {
        health.alarms.push(format!("{name}: embeddings are not finite numbers"));
    }
    if sd_min < SD_MIN_ALARM || sd_mean < SD_MEAN_ALARM {
        health.alarms.push(format!("{name}: dimensions collapse (smallest sd {sd_min:.3}, mean {sd_mean:.3})"));
    }
    if cosine > COSINE_ALARM {
        health.alarms.push(format!("{name}: all cells point one way (mean cosine {cosine:.4})"));
    }
}

/// `exp(−Σ p ln p)` of the normalised singular values of the centred rows; NaN where a number is not finite.
pub fn effective_rank(z: &Tensor) -> f64 {
    // Torch ends the program over eigenvalues of what is not finite.
    if z.isfinite().all().int64_value(&[]) == 0 {
        return f64::NAN;
    }
    let centred = z - z.mean_dim([0_i64].as_slice(), true, z.kind());
    // Singular values are the roots of the eigenvalues of the Gram matrix, which is d × d and cheap.
    let eigenvalues = Tensor::linalg_eigvalsh(&centred.tr().matmul(&centred), "L");
    entropy_rank(&eigenvalues.clamp_min(0.0).sqrt())
}

fn entropy_rank(singular: &Tensor) -> f64 {
    let p = singular / singular.sum(singular.kind()).clamp_min(1e-300);
    (-(&p * p.clamp_min(1e-300).log()).sum(singular.kind())).exp().double_value(&[])
}

/// Spread of predictions over cells at a fixed perturbation and over perturbations at a fixed cell.
fn condition_use(health: &mut Health, predictions: &Tensor) {
    let variance = |axis: i64| predictions.var_dim([axis].as_slice(), true, false).mean(Kind::Double).double_value(&[]);
    let (over_cells, over_conditions) = (variance(0), variance(1));
    health.values.insert("predictor/variance_over_cells".into(), over_cells);
    health.values.insert("predictor/variance_over_perturbations".into(), over_conditions);
    if over_conditions <= CONDITION_ALARM * over_cells {
        health.alarms.push(format!("predictor ignores the perturbation (spread {over_conditions:.2e})"));
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    const OPTIONS: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn alarms(z: &Tensor, predictions: Option<&Tensor>) -> Vec<String> {
        health(&Views { student: z, teacher: z, predictions }).alarms
    }

    #[test]
    fn effective_rank_matches_the_golden_value() {
        assert!((entropy_rank(&Tensor::from_slice(&[3.0_f64, 1.0])) - 1.754_765_350_6).abs() < 1e-9);
    }

    #[test]
    fn states_that_are_no_numbers_raise_an_alarm_and_end_nothing() {
        let broken = Tensor::full([8, 4], f64::NAN, OPTIONS);
        assert!(alarms(&broken, None).iter().any(|alarm| alarm.contains("not finite")));
        assert!(effective_rank(&Tensor::from_slice(&[f64::INFINITY, 1.0]).view([2, 1])).is_nan());
        // The spread of a single cell is no number either, and nothing is wrong with it.
        let one = alarms(&Tensor::ones([1, 4], OPTIONS), None);
        assert!(!one.iter().any(|alarm| alarm.contains("not finite")), "{one:?}");
    }

    #[test]
    fn planted_collapses_raise_their_alarm_and_healthy_states_none() {
        tch::manual_seed(0);
        let healthy = Tensor::randn([128, 16], OPTIONS);
        let predictions = Tensor::randn([128, 4, 16], OPTIONS);
        assert!(alarms(&healthy, Some(&predictions)).is_empty());
        let complete = Tensor::ones([128, 16], OPTIONS) + Tensor::randn([128, 16], OPTIONS) * 1e-3;
        assert!(alarms(&complete, None).iter().any(|a| a.contains("one way")));
        let dimensional = &healthy * Tensor::cat(&[Tensor::ones([8], OPTIONS), Tensor::zeros([8], OPTIONS)], 0);
        assert!(alarms(&dimensional, None).iter().any(|a| a.contains("dimensions collapse")));
        // Each side is looked at by itself.
        for (student, teacher, side) in [(&complete, &healthy, "student: "), (&healthy, &complete, "teacher: ")] {
            let raised = health(&Views { student, teacher, predictions: None }).alarms;
            assert!(!raised.is_empty() && raised.iter().all(|alarm| alarm.starts_with(side)), "{raised:?}");
        }
        // An encoder that gives every cell one grid of tokens, whatever the tokens differ by.
        let grid = Tensor::randn([1, 6, 16], OPTIONS).expand([128, 6, 16], false);
        let pooled = crate::batch::view::State::tokens(grid.contiguous()).pooled().to_kind(Kind::Double);
        let raised = alarms(&pooled, None);
        assert!(raised.iter().any(|a| a.contains("dimensions collapse")), "{raised:?}");
        let ignoring = predictions.narrow(1, 0, 1).expand([128, 4, 16], false).contiguous();
        assert!(alarms(&healthy, Some(&ignoring)).iter().any(|a| a.contains("ignores the perturbation")));
    }
}
