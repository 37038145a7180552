//! Whether the preset `medium` in W4 looks like Replogle's screen of essential genes in K562.

use super::differential::differential_genes;
use super::{Screen, mean};
use crate::synth::{Preset, SynthConfig, World};

#[test]
fn scan() {
    let spec = std::env::var("SCAN").unwrap_or_default();
    for spec in spec.split(';') { for seed in std::env::var("SEEDS").unwrap_or("0".into()).split(',') {
        let mut config = SynthConfig::preset(Preset::Medium, World::W4, seed.parse().unwrap());
        for s in spec.split_whitespace() {
            config = config.with_setting(s).unwrap();
        }
        let screen = Screen::generate(&config);
        let c = differential_genes(&screen);
        let q = |s: f64| c[((c.len() - 1) as f64 * s) as usize];
        let at = |k: usize| c.iter().filter(|&&n| n >= k).count() as f64 / c.len() as f64;
        let g = screen.gates();
        println!(
            "mean {:.2} q50 {} q75 {} q90 {} q95 {} q99 {} max {} none {:.2} >=3 {:.2} >=12 {:.2} >=24 {:.2} | zero {:.3} lib {:.0} tm {:.3} mm {:.3} add {:.3} l2 {:.3} pds {:.3}/{:.3}",
            mean(&c.iter().map(|&x| x as f64).collect::<Vec<_>>()),
            q(0.5),
            q(0.75),
            q(0.9),
            q(0.95),
            q(0.99),
            q(1.0),
            1.0 - at(1),
            at(3),
            at(12),
            at(24),
            g.zero_fraction,
            g.mean_library,
            g.train_mean_pearson,
            g.module_mean_pearson,
            g.additive_pearson,
            g.additive_l2_ratio,
            screen.replicate_discrimination(&screen.strong()),
            screen.replicate_discrimination(&screen.strong()[..screen.strong().len() / 2])
        );
    println!("   {spec}"); }}
}
