//! Whether the preset `medium` in W4 looks like Replogle's screen of essential genes in K562.
//!
//! A screen has 320 singles, of which some twenty are strong, so a draw differs from the next by a fifth: the gates
//! hold over three draws. The preset has a quarter of the genes of the real screen, so numbers of genes are held
//! against a quarter of the real ones; the share of perturbations without any stands as it is.

use std::sync::LazyLock;

use super::differential::differential_genes;
use super::{Gates, Screen, mean};
use crate::synth::{Preset, SynthConfig, World};

/// Genes of the screen in K562 whose table of differential genes is the measure.
const REAL_GENES: f64 = 8_563.0;
const SEEDS: [u64; 3] = [0, 1, 2];

fn config(seed: u64) -> SynthConfig {
    SynthConfig::preset(Preset::Medium, World::W4, seed)
}

static SCREENS: LazyLock<Vec<Screen>> =
    LazyLock::new(|| SEEDS.into_iter().map(|seed| Screen::generate(&config(seed))).collect());
static GATES: LazyLock<Vec<Gates>> = LazyLock::new(|| SCREENS.iter().map(Screen::gates).collect());

fn over_draws(of: fn(&Gates) -> f64) -> f64 {
    mean(&GATES.iter().map(of).collect::<Vec<f64>>())
}

/// (planted strength, number of differential genes) of all singles of all draws.
fn table() -> Vec<(f32, usize)> {
    let of_screen = |screen: &'static Screen| {
        let strength = |at: usize| screen.planted.conditions[at].strength[0];
        screen.singles().into_iter().map(strength).zip(differential_genes(screen))
    };
    SCREENS.iter().flat_map(of_screen).collect()
}

#[test]
fn as_many_genes_differ_as_in_the_real_screen() {
    let counts: Vec<f64> = table().into_iter().map(|(_, count)| count as f64).collect();
    let quarter = config(0).genes as f64 / REAL_GENES;
    let reach = |real: f64| mean(&counts.iter().map(|&n| f64::from(u8::from(n >= real * quarter))).collect::<Vec<_>>());
    let rows = [
        ("mean", mean(&counts), 29.1 * quarter),
        ("none", 1.0 - reach(1.0), 0.39),
        ("at least 10", reach(10.0), 0.20),
        ("at least 50", reach(50.0), 0.11),
        ("at least 100", reach(100.0), 0.07),
    ];
    let draws: Vec<f64> = counts.chunks(counts.len() / SEEDS.len()).map(mean).collect();
    println!("{rows:.3?}; mean of every draw {draws:.2?}");
    for (name, found, real) in rows {
        assert!((found / real - 1.0).abs() < 0.3, "{name}: {found} instead of {real}, 30 % are allowed");
    }
}

#[test]
fn the_stronger_a_perturbation_the_more_genes_differ() {
    let mut table = table();
    table.sort_by(|a, b| a.0.total_cmp(&b.0));
    let of_strength = |least: f32, most: f32| {
        let within = table.iter().filter(|(strength, _)| (least..most).contains(strength));
        mean(&within.map(|&(_, count)| count as f64).collect::<Vec<_>>())
    };
    let none = of_strength(0.0, f32::MIN_POSITIVE);
    let steps = [(f32::MIN_POSITIVE, 0.3), (0.3, 0.5), (0.5, 0.8), (0.8, f32::INFINITY)];
    let found = steps.map(|(least, most)| of_strength(least, most));
    println!("{none:.2}, {found:.2?}");
    // Without strength only the target and its neighbours in the network are left.
    assert!(none < 2.0 && found[0] < 2.0, "{none} {found:?}");
    assert!(found.is_sorted() && found[2] > 10.0 * found[0], "{found:?}");
}

#[test]
fn as_many_values_are_zero_as_in_the_real_screen() {
    let zeros = over_draws(|gates| gates.zero_fraction);
    println!("{zeros:.4}");
    assert!((zeros - 0.578).abs() < 0.03, "{zeros}");
}

#[test]
fn the_mean_of_all_others_foretells_as_much_as_in_the_real_screen() {
    let (of_mean, of_module) =
        (over_draws(|gates| gates.train_mean_pearson), over_draws(|gates| gates.module_mean_pearson));
    println!("{of_mean:.4}, module {of_module:.4}");
    assert!((0.30..0.45).contains(&of_mean), "{of_mean}");
    assert!(of_module > of_mean, "kin must tell more than all: {of_module}");
}

#[test]
fn doubles_are_as_additive_as_real_ones() {
    let (pearson, l2) = (over_draws(|gates| gates.additive_pearson), over_draws(|gates| gates.additive_l2_ratio));
    println!("{pearson:.4}, L2 {l2:.4}");
    assert!((0.85..0.92).contains(&pearson) && (0.45..0.55).contains(&l2), "{pearson} {l2}");
}

#[test]
fn half_of_the_cells_of_a_strong_perturbation_finds_the_other_half() {
    // 400 cells a half, as the gate says; the same singles have a fifth of it in the preset.
    let (singles, control_share) = (48, 0.12);
    let cells = (800.0 * singles as f64 / (1.0 - control_share)) as usize;
    let deep = Screen::generate(&SynthConfig { cells, singles, doubles: 0, control_share, ..config(0) });
    let found = deep.replicate_discrimination(&deep.strong());
    let shallow: Vec<f64> = SCREENS.iter().map(|screen| screen.replicate_discrimination(&screen.strong())).collect();
    println!("{found:.4}; of the preset {shallow:.4?}");
    assert!(found > 0.9, "{found}");
    assert!(found > mean(&shallow), "{found} {shallow:?}");
}
