//! Any number of ranks computes the same run.

use std::path::Path;

use syncyte_tests::{Lab, Turn, losses, metrics, turn};

/// Trains on 1, 2 and 4 ranks and compares the loss of every step. Ranks whose parameters differ refuse to write a
/// checkpoint, so the success of each run says that they do not.
fn assert_same_losses(_turn: &Turn, steps: u64, settings: &[&str]) -> Lab {
    let lab = Lab::new();
    let step_setting = format!("engine.steps={steps}");
    let settings: Vec<_> = settings.iter().copied().chain([step_setting.as_str()]).collect();
    let curves = [1, 2, 4].map(|ranks| {
        let name = format!("on-{ranks}");
        let answer = lab.train(ranks, "pretrain", &name, &settings).json();
        let hash = answer["parameter_hash"].as_str().unwrap_or_default();
        assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "parameter_hash: {hash}");
        assert_eq!(answer["step"], steps);
        losses(&lab.path(&name), steps)
    });
    for (curve, ranks) in curves[1..].iter().zip([2, 4]) {
        assert_close(&curves[0], curve, &format!("1 and {ranks} ranks"));
    }
    lab
}

/// Asserts that two curves agree to 1e-5 relative.
pub(crate) fn assert_close(one: &[f64], two: &[f64], what: &str) {
    assert_eq!(one.len(), two.len(), "{what}");
    for (index, (a, b)) in one.iter().zip(two).enumerate() {
        assert!((a - b).abs() <= 1e-5 * a.abs(), "{what}: step {} has loss {a} and {b}", index + 1);
    }
}

fn phases(run: &Path) -> Vec<String> {
    let mut phases: Vec<_> = metrics(run).iter().map(|line| line["phase"].as_str().unwrap_or("").to_owned()).collect();
    phases.dedup();
    phases
}

#[test]
fn losses_of_both_phases_are_the_same_on_one_two_and_four_ranks() {
    let turn = turn("losses_of_both_phases_are_the_same_on_one_two_and_four_ranks");
    let lab = assert_same_losses(&turn, 50, &["objective.shares=[0.5, 0.5]"]);
    assert_eq!(phases(&lab.path("on-4")), ["augmentation", "paired"]);
}

#[test]
fn losses_of_other_losses_and_networks_are_the_same_on_one_two_and_four_ranks() {
    let turn = turn("losses_of_other_losses_and_networks_are_the_same_on_one_two_and_four_ranks");
    let losses = "objective.losses=[{ kind = \"mse\", weight = 25 }, { kind = \"vicreg\", branches = [\"prediction\", \"target\"], \
                  rows = \"tokens\", mean = false }]";
    let networks = [
        losses,
        "model.predictor={ kind = \"mlp\", hidden = 32 }",
        "model.perturbation={ kind = \"one_hot_mlp\", width = 16 }",
    ];
    assert_same_losses(&turn, 20, &networks);
}

#[test]
fn a_world_that_does_not_divide_the_streams_is_refused_with_those_that_do() {
    let _turn = turn("a_world_that_does_not_divide_the_streams_is_refused_with_those_that_do");
    let lab = Lab::new();
    let outcome = lab.train(3, "pretrain", "run", &["engine.steps=5"]);
    outcome.assert_refused(2, &["3 ranks", "8 streams", "1, 2, 4, 8"]);
    lab.assert_nothing_in("run");
}
