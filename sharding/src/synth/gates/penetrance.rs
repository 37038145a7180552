//! Whether cells of a guide are of two kinds: how many escaped, and what is left of the target in the others, is
//! found back from the counts alone.

use super::mean;
use crate::synth::{Generator, Preset, SynthConfig, World};

/// A few strong perturbations with many cells each.
fn config(world: World) -> SynthConfig {
    let demo = SynthConfig::preset(Preset::Demo, world, 3);
    let strong = SynthConfig { null_share: 0.0, strength_log_mean: 0.0, strength_log_sd: 0.0, ..demo };
    SynthConfig {
        cells: 12_000,
        genes: 600,
        singles: 4,
        doubles: 0,
        control_share: 0.3,
        counts_per_gene: 8.0,
        ..strong
    }
}

/// The cells of one guide, or of the control.
#[derive(Default)]
struct Cells {
    /// Log-normalised expression along the effect of the condition.
    score: Vec<f64>,
    /// Counts of the target, and of all genes that nothing was planted on.
    target: f64,
    others: f64,
    escaped: usize,
}

/// Place of the target of a single perturbation.
fn target(generator: &Generator, condition: usize) -> usize {
    let planted = generator.planted();
    planted.genes.binary_search(&planted.conditions[condition].perturbation.targets[0]).unwrap()
}

/// Cells of the guides of a condition, those of the control last.
fn cells_of(generator: &Generator, config: &SynthConfig, condition: usize, log_fold: &[f32]) -> [Cells; 3] {
    let target = target(generator, condition);
    let escaped = generator.escaped();
    let mut found = [(); 3].map(|()| Cells::default());
    for cell in 0..config.cells {
        let place = generator.place(cell);
        let cells = match place.condition {
            0 => &mut found[2],
            at if at == condition => &mut found[place.guide],
            _ => continue,
        };
        let block = generator.rows(cell..cell + 1);
        let (genes, values) = block.row(0);
        let others: f64 = genes
            .iter()
            .zip(values)
            .filter(|(gene, _)| log_fold[**gene as usize] == 0.0)
            .map(|(_, value)| f64::from(*value))
            .sum();
        let mut score = 0.0;
        for (&gene, &value) in genes.iter().zip(values) {
            // The target is left to the efficiency, so that one does not answer for the other.
            if gene as usize == target {
                cells.target += f64::from(value);
            } else {
                score += f64::from(log_fold[gene as usize]) * (1e4 * f64::from(value) / others).ln_1p();
            }
        }
        cells.score.push(score);
        cells.others += others;
        cells.escaped += usize::from(escaped.get(cell).is_some_and(|&escaped| escaped));
    }
    found
}

/// Share of the scores that belong with the controls', by expectation and maximisation of two normals, of which the
/// controls' is known.
fn share_of_controls(scores: &[f64], controls: &[f64]) -> f64 {
    let spread =
        |values: &[f64], centre: f64| mean(&values.iter().map(|x| (x - centre).powi(2)).collect::<Vec<_>>()).sqrt();
    let rest = (mean(controls), spread(controls, mean(controls)));
    let (mut moved, mut share) = ((mean(scores) + 0.5 * spread(scores, mean(scores)), rest.1), 0.5);
    let density = |x: f64, (centre, sd): (f64, f64)| (-0.5 * ((x - centre) / sd).powi(2)).exp() / sd;
    for _ in 0..200 {
        let of_rest: Vec<f64> = scores
            .iter()
            .map(|&x| {
                let (stayed, gone) = (share * density(x, rest), (1.0 - share) * density(x, moved));
                stayed / (stayed + gone).max(f64::MIN_POSITIVE)
            })
            .collect();
        let gone: f64 = of_rest.iter().map(|rest| 1.0 - rest).sum();
        let centre = scores.iter().zip(&of_rest).map(|(x, rest)| (1.0 - rest) * x).sum::<f64>() / gone;
        let squares = scores.iter().zip(&of_rest).map(|(x, rest)| (1.0 - rest) * (x - centre).powi(2)).sum::<f64>();
        moved = (centre, (squares / gone).sqrt());
        share = mean(&of_rest);
    }
    share
}

#[test]
fn penetrance_and_efficiency_of_every_guide_are_found_back_in_its_cells() {
    let config = config(World::W3);
    let generator = Generator::new(&config).unwrap();
    let (conditions, oracle) = (generator.planted().conditions, generator.oracle());
    for (at, condition) in conditions.iter().enumerate().skip(1) {
        let log_fold = oracle.log_fold(0, at);
        let fold = log_fold[target(&generator, at)];
        let direct = (1.0 - condition.knockdown[0]).ln();
        let [first, second, controls] = cells_of(&generator, &config, at, &log_fold);
        assert_eq!(controls.escaped, 0, "nothing escapes a guide without a target");
        for (cells, guide) in [first, second].iter().zip(&condition.guides) {
            let escape = share_of_controls(&cells.score, &controls.score);
            let seen = (cells.target / cells.others) / (controls.target / controls.others);
            let left = (seen - escape) / (1.0 - escape);
            // The target follows its module like any other gene; what the guide did is the rest.
            let lost = 1.0 - left * f64::from(guide.factor * (direct - fold)).exp();
            let flagged = cells.escaped as f64 / cells.score.len() as f64;
            let name = &guide.name;
            println!(
                "{name}: escape {escape:.3} of {:.3}, flagged {flagged:.3}; knock-down {lost:.3} of {:.3}",
                guide.escape, guide.knockdown[0]
            );
            assert!((escape - f64::from(guide.escape)).abs() < 0.05, "{name}: {escape} for {}", guide.escape);
            assert!((escape - flagged).abs() < 0.03, "{name}: {escape} found, {flagged} flagged in the truth");
            assert!((lost - f64::from(guide.knockdown[0])).abs() < 0.06, "{name}: {lost} for {:?}", guide.knockdown);
        }
    }
}

#[test]
fn below_w3_every_cell_shows_its_perturbation() {
    let config = config(World::W2);
    let generator = Generator::new(&config).unwrap();
    let oracle = generator.oracle();
    for condition in 1..=config.singles {
        let [first, second, controls] = cells_of(&generator, &config, condition, &oracle.log_fold(0, condition));
        let escape = share_of_controls(&[first.score, second.score].concat(), &controls.score);
        assert!(escape < 0.02, "{condition}: {escape}");
    }
}
