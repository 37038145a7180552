use tch::{Device, Kind, Reduction, Tensor};

use super::moments::global_moments;
use super::vicreg::{EPSILON, GAMMA, gradient, statistics};
use super::*;
use crate::component::Choice;
use syncyte_fabric::collective::Solo;

type Kinds = Choice<dyn Loss>;

const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

fn golden() -> Tensor {
    Tensor::from_slice(&[0.1_f32, 0.5, 0.3, 0.5, -0.1, 0.9, -0.3, 0.1]).view([4, 2])
}

fn noise(seed: i64, shape: &[i64]) -> Tensor {
    let n: i64 = shape.iter().product();
    let at = Tensor::arange(n, (Kind::Double, Device::Cpu)) * 12.9898 + seed as f64 * 78.233;
    let fine = at.sin() * 43_758.545_3;
    ((&fine - fine.floor()) * 4.0 - 2.0).to_kind(Kind::Float).view(shape)
}

/// Context, prediction and target of six cells of three tokens.
fn outputs() -> Outputs {
    let [context, prediction, target] = [1, 2, 3].map(|seed| State::tokens(noise(seed, &[6, 3, 4])));
    Outputs { context, prediction, target }
}

fn measure(losses: &[Kinds], outputs: &Outputs, batch: usize) -> Measured {
    let objective = Objective::of(losses).unwrap();
    objective.measure(&[objective.parts(outputs, batch)], &mut [], &Solo).unwrap()
}

#[test]
fn statistics_match_the_golden_values() {
    let moments = global_moments(&Solo, &[vec![golden()]], &mut []).unwrap();
    let c = &moments[0].covariance;
    assert!((c.double_value(&[0, 0]).sqrt() - 0.258_198_889_7).abs() < 1e-6, "{c:?}");
    assert!(((c.double_value(&[0, 0]) + EPSILON).sqrt() - 0.258_392_466_4).abs() < 1e-6);
    assert!((c.double_value(&[0, 1]) - 0.026_666_666_7).abs() < 1e-7);
    let (variance, covariance) = statistics(c);
    assert!((variance - 0.707_427_922_0).abs() < 1e-6, "{variance}");
    assert!((covariance - 7.1111e-4).abs() < 1e-7, "{covariance}");
}

/// Distances of single numbers in closed form, through the whole loss: a target of two entries is normalised to ±1.
#[test]
fn distances_match_their_closed_forms() {
    let pooled = |values: &[f32]| State::Pooled(Tensor::from_slice(values).view([1, -1]));
    let at = |prediction: &[f32], target: &[f32]| Outputs {
        context: pooled(prediction),
        prediction: pooled(prediction),
        target: pooled(target),
    };
    // The target [-5, 5] becomes [-1, 1]: differences 0.5 and 2 give 0.125 and 1.5.
    let smooth = measure(&[Kinds::of_kind("smooth_l1").unwrap()], &at(&[-0.5, 3.0], &[-5.0, 5.0]), 1);
    assert!((smooth.loss - f64::midpoint(0.125, 1.5)).abs() < 1e-5, "{}", smooth.loss);
    let squared = measure(&[Kinds::with("mse", &Mse { weight: 3.0 }).unwrap()], &at(&[1.0, 4.0], &[2.0, 1.0]), 2);
    assert!((squared.terms[0].1 - 10.0 / 4.0).abs() < 1e-6, "one of two cells of the batch: {squared:?}");
    assert!((squared.loss - 3.0 * squared.terms[0].1).abs() < 1e-9);
}

#[test]
fn collapsed_rows_have_variance_term_point_99() {
    let moments = global_moments(&Solo, &[vec![Tensor::ones([8, 3], OPTIONS)]], &mut []).unwrap();
    assert!((statistics(&moments[0].covariance).0 - 0.99).abs() < 1e-6);
}

/// The same loss written with autograd through the whole batch.
fn direct(z: &Tensor) -> Tensor {
    let n = z.size()[0] as f64;
    let d = z.size()[1] as f64;
    let zc = z - z.mean_dim([0_i64].as_slice(), true, Kind::Float);
    let c = zc.tr().matmul(&zc) / (n - 1.0);
    let sd = (c.diagonal(0, 0, 1) + EPSILON).sqrt();
    let v = (sd * -1.0 + GAMMA).clamp_min(0.0).mean(Kind::Float);
    let off = &c - Tensor::diag_embed(&c.diagonal(0, 0, 1), 0, 0, 1);
    v * 25.0 + off.square().sum(Kind::Float) / d
}

#[test]
fn surrogate_gradients_are_those_of_the_loss_itself() {
    let z = (golden() * 2.0).set_requires_grad(true);
    let moments = global_moments(&Solo, &[vec![z.detach()]], &mut []).unwrap();
    moments[0].surrogate(&z, &gradient(&moments[0], 25.0, 1.0)).backward();
    let reference = (golden() * 2.0).set_requires_grad(true);
    direct(&reference).backward();
    assert!((z.grad() - reference.grad()).abs().max().double_value(&[]) < 1e-5);
}

/// Every loss of the table: what it logs adds up to what it minimises, and its surrogate's gradient with respect to the
/// prediction is that of its value.
#[test]
fn every_loss_is_the_weighted_sum_of_its_terms_and_its_surrogate_has_its_gradient() {
    for member in <dyn Loss>::table() {
        let choice = Kinds::of_kind(member.kind).unwrap();
        let objective = Objective::of(std::slice::from_ref(&choice)).unwrap();
        let at = |prediction: Tensor| Outputs { prediction: State::tokens(prediction), ..outputs() };
        let value = |prediction: Tensor| measure(std::slice::from_ref(&choice), &at(prediction), 6).loss;

        let prediction = noise(2, &[6, 3, 4]).set_requires_grad(true);
        let parts = objective.parts(&at(prediction.shallow_clone()), 6);
        let measured = objective.measure(&[parts], &mut [], &Solo).unwrap();
        let built = (choice.build())(choice.table()).unwrap();
        assert_eq!(measured.terms.iter().map(|term| term.0).collect::<Vec<_>>(), built.terms(), "{member:?}");
        measured.surrogate(&objective.parts(&at(prediction.shallow_clone()), 6)).backward();
        let gradient = prediction.grad();
        for entry in [0, 17, 40, 71] {
            let step = 1e-2;
            let moved = |by: f64| {
                let moved = noise(2, &[6, 3, 4]);
                let _ = moved.view([-1]).get(entry).f_add_scalar_(by).unwrap();
                value(moved)
            };
            let numeric = (moved(step) - moved(-step)) / (2.0 * step);
            let exact = gradient.view([-1]).double_value(&[entry]);
            assert!((numeric - exact).abs() < 2e-3 * (1.0 + exact.abs()), "{member:?}: {exact} and {numeric}");
        }
    }
}

/// Several losses are exchanged together: each has the value that it has alone.
#[test]
fn losses_together_have_the_values_that_they_have_alone() {
    let all: Vec<Kinds> = <dyn Loss>::table().iter().map(|member| Kinds::of_kind(member.kind).unwrap()).collect();
    let together = measure(&all, &outputs(), 6);
    let alone: Vec<Measured> = all.iter().map(|one| measure(std::slice::from_ref(one), &outputs(), 6)).collect();
    let sum: f64 = alone.iter().map(|one| one.loss).sum();
    assert!((together.loss - sum).abs() < 1e-9 * sum.abs());
    let terms: Vec<_> = alone.iter().flat_map(|one| one.terms.clone()).collect();
    assert_eq!(together.terms, terms);
}

#[test]
fn an_encoder_that_maps_every_cell_to_one_token_grid_is_seen_as_collapsed() {
    let grid = noise(7, &[1, 16, 8]) * 3.0;
    let cells = grid.expand([32, 16, 8], false).contiguous();
    let [context, prediction, target] = [(); 3].map(|()| State::tokens(cells.shallow_clone()));
    let outputs = Outputs { context, prediction, target };
    let variance = |settings: &Vicreg| {
        measure(&[Kinds::with("vicreg", settings).unwrap()], &outputs, 32).term("variance").unwrap()
    };
    let pooled = variance(&Vicreg::default());
    let flattened = variance(&Vicreg { rows: Rows::Tokens, ..Vicreg::default() });
    assert!((pooled - 0.99).abs() < 1e-3, "{pooled}");
    assert!(flattened < 0.1, "the trap that the default avoids: {flattened}");
}

#[test]
fn smooth_l1_is_torchs_on_the_normalised_target() {
    let outputs = outputs();
    let target = outputs.target.values().layer_norm([4], None::<&Tensor>, None::<&Tensor>, 1e-5, false);
    let wanted = outputs.prediction.values().smooth_l1_loss(&target, Reduction::Mean, 1.0).double_value(&[]);
    assert!((measure(&[Kinds::of_kind("smooth_l1").unwrap()], &outputs, 6).loss - wanted).abs() < 1e-6);
}
