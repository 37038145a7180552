//! What every world promises, seen in its cells.

use super::{Gates, Screen, mean};
use crate::synth::{Generator, Preset, SynthConfig, World};

/// A store of few conditions with many cells each, so that pseudobulk shows what is planted.
fn deep(world: World) -> SynthConfig {
    let demo = SynthConfig::preset(Preset::Demo, world, 11);
    let contexts = if world == World::W5 { 2 } else { 1 };
    let small = SynthConfig { cells: 16_000 * contexts, genes: 600, singles: 5, doubles: 2, modules: 10, ..demo };
    SynthConfig { control_share: 0.3, null_share: 0.0, counts_per_gene: 8.0, contexts, ..small }
}

/// Root mean squared difference of the effects seen in pseudobulk from the truth, and the slope of seen on true.
fn agreement(screen: &Screen) -> (f64, f64) {
    let genes: Vec<usize> = (0..screen.planted.genes.len()).collect();
    let (mut squares, mut product, mut power, mut n) = (0.0, 0.0, 0.0, 0.0);
    for condition in 1..screen.mean.len() {
        for (seen, &planted) in screen.delta(condition, &genes).iter().zip(&screen.effects[condition]) {
            let planted = f64::from(planted);
            squares += (seen - planted).powi(2);
            product += seen * planted;
            power += planted * planted;
            n += 1.0;
        }
    }
    ((squares / n).sqrt(), product / power)
}

#[test]
fn the_demo_looks_like_a_real_screen_and_can_be_learnt() {
    let of_seeds: Vec<Gates> =
        (0..4).map(|seed| Screen::generate(&SynthConfig::preset(Preset::Demo, World::W2, seed)).gates()).collect();
    for gates in &of_seeds {
        println!("{gates:?}");
        assert!((0.55..0.65).contains(&gates.zero_fraction), "{gates:?}");
        assert!((2_750.0..3_750.0).contains(&gates.mean_library), "{gates:?}");
        assert!((0.30..0.55).contains(&gates.train_mean_pearson), "{gates:?}");
        assert!(gates.module_mean_pearson > gates.train_mean_pearson + 0.15, "{gates:?}");
        assert!(gates.truth_rmse < 0.03, "{gates:?}");
    }
    // Twenty doubles of a seed are too few for these.
    let over_seeds = |of: fn(&Gates) -> f64| mean(&of_seeds.iter().map(of).collect::<Vec<f64>>());
    let (pearson, l2) = (over_seeds(|gates| gates.additive_pearson), over_seeds(|gates| gates.additive_l2_ratio));
    assert!((0.85..0.92).contains(&pearson) && (0.45..0.55).contains(&l2), "{pearson} {l2}");
}

#[test]
fn nothing_tells_of_an_unseen_effect_in_the_world_without_information() {
    let config = SynthConfig { cells: 10_000, genes: 1_000, ..SynthConfig::preset(Preset::Demo, World::W0, 0) };
    let gates = Screen::generate(&config).gates();
    println!("{gates:?}");
    assert!(gates.additive_pearson.abs() < 0.1 && gates.additive_l2_ratio > 1.0, "{gates:?}");
    assert!(gates.module_mean_pearson < 0.1 && gates.train_mean_pearson < 0.2, "{gates:?}");
}

#[test]
fn the_additive_baseline_is_exact_on_the_truth_of_the_linear_world() {
    let screen = Screen::generate(&SynthConfig::preset(Preset::Demo, World::W1, 2));
    let doubles = screen.doubles();
    assert_eq!(doubles.len(), 20);
    for [double, first, second] in doubles {
        let [both, a, b] = [double, first, second].map(|condition| &screen.effects[condition]);
        assert!((0..both.len()).all(|gene| both[gene].to_bits() == (a[gene] + b[gene]).to_bits()));
        assert!(both.iter().any(|&change| change != 0.0));
    }
    assert!(screen.gates().additive_pearson > 0.9);
}

#[test]
fn cells_tend_to_the_truth_in_every_world() {
    for world in World::ALL {
        let screen = Screen::generate(&deep(world));
        let (error, slope) = agreement(&screen);
        println!("{world}: error {error}, slope {slope}");
        assert!(error < 0.03, "{world}: error {error}");
        assert!((slope - 1.0).abs() < 0.03, "{world}: slope {slope}");
    }
}

#[test]
fn contexts_differ_in_baseline_and_every_context_has_its_truth() {
    let config = SynthConfig { contexts: 2, ..deep(World::W2) };
    let generator = Generator::new(&config).unwrap();
    let (oracle, planted) = (generator.oracle(), generator.planted());
    assert_eq!(planted.lines.iter().map(|line| line.name.as_str()).collect::<Vec<_>>(), ["line1", "line2"]);
    let [first, second] = [0, 1].map(|context| oracle.baseline(context));
    assert!(first.iter().zip(second).any(|(a, b)| (a - b).abs() > 0.1));
    assert!(oracle.effect(0, 1, 1).iter().any(|&change| change.abs() > 0.05));
    assert!(oracle.effect(0, 1, 0).iter().all(|&change| change == 0.0));
}

#[test]
fn any_block_of_cells_can_be_made_alone_on_any_number_of_threads() {
    for world in World::ALL {
        let mut config = SynthConfig { cells: 2_000, genes: 400, ..SynthConfig::preset(Preset::Demo, world, 7) };
        config.protein.count = 10;
        let whole = Generator::new(&config).unwrap().block(0..200);
        let again = Generator::new(&config).unwrap();
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(|| again.block(120..157));
        assert_eq!((alone.genes.n_rows(), alone.proteins.len()), (37, 370));
        for row in 0..37 {
            assert_eq!(alone.genes.row(row), whole.genes.row(120 + row), "{world}");
        }
        assert_eq!(alone.proteins, whole.proteins[1_200..1_570], "{world}");
        let other = Generator::new(&SynthConfig { seed: 8, ..config }).unwrap().block(0..200);
        assert_ne!(other, whole, "{world}");
    }
}
