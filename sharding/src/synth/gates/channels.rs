//! Whether the side channels tell as much as was planted.

use super::mean;
use crate::synth::{Generator, Preset, SynthConfig, World};

/// Standardised log-normalised expression of the control cells: gene × cell.
fn control_expression(generator: &Generator, config: &SynthConfig) -> Vec<Vec<f64>> {
    let mut expression = vec![Vec::new(); config.genes];
    for cell in (0..config.cells).filter(|&cell| generator.place(cell).condition == 0) {
        let block = generator.rows(cell..cell + 1);
        let (genes, values) = block.row(0);
        let library: f64 = values.iter().map(|&value| f64::from(value)).sum();
        for row in &mut expression {
            row.push(0.0);
        }
        for (&gene, &value) in genes.iter().zip(values) {
            if let Some(last) = expression[gene as usize].last_mut() {
                *last = (1e4 * f64::from(value) / library).ln_1p();
            }
        }
    }
    for row in &mut expression {
        let centre = mean(row);
        for value in row.iter_mut() {
            *value -= centre;
        }
        let length = row.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-12);
        for value in row.iter_mut() {
            *value /= length;
        }
    }
    expression
}

/// Number of the targets whose module is that of the genes that vary with them in control cells.
fn modules_found(config: &SynthConfig) -> usize {
    let generator = Generator::new(config).unwrap();
    let truth = generator.planted();
    let expression = control_expression(&generator, config);
    let singles = truth.conditions.iter().filter(|condition| condition.perturbation.targets.len() == 1);
    singles
        .filter(|condition| {
            let target = truth.genes.binary_search(&condition.perturbation.targets[0]).unwrap();
            let mut score = vec![0.0; config.modules];
            for gene in (0..config.genes).filter(|&gene| gene != target) {
                let correlation: f64 = expression[target].iter().zip(&expression[gene]).map(|(a, b)| a * b).sum();
                score[truth.modules[gene] as usize] += correlation * correlation;
            }
            let best = (0..config.modules).max_by(|a, b| score[*a].total_cmp(&score[*b])).unwrap();
            best as u32 == condition.module[0]
        })
        .count()
}

#[test]
fn the_module_of_a_target_shows_in_control_cells_as_far_as_co_expression_is_planted() {
    let found = |coexpression: f64| {
        modules_found(&SynthConfig { coexpression, ..SynthConfig::preset(Preset::Demo, World::W2, 0) })
    };
    let (told, untold) = (found(0.3), found(0.0));
    println!("{told}, {untold} of 100 targets");
    // One in twenty by chance.
    assert!(told >= 75 && untold < 15, "{told}, {untold} of 100 targets");
}
