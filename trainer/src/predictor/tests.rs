use tch::{Device, Kind, Tensor};

use super::*;
use crate::batch::vocabulary::Vocabulary;
use crate::component::{Choice, Settings};
use crate::params::{Group, Registry};

type Kinds = Choice<dyn Predictor>;

fn built(choice: &Kinds, widths: Widths, residual: bool) -> (Box<dyn Predictor>, Registry) {
    let (mut registry, vocabulary) = (Registry::default(), Vocabulary::default());
    let group = Group::new("predictor");
    let mut declare = Declare { registry: &mut registry, group, vocabulary: &vocabulary };
    let mut predictor = (choice.build())(choice.table(), &mut declare, widths).unwrap();
    if residual {
        predictor = Box::new(Residual::new(predictor, &mut declare, widths));
    }
    (predictor, registry)
}

fn of(kind: &str, settings: &impl Settings, condition: i64) -> (Box<dyn Predictor>, usize) {
    let (predictor, registry) = built(&Kinds::with(kind, settings).unwrap(), Widths { state: 256, condition }, false);
    (predictor, registry.layout().n_parameters())
}

#[test]
fn parameter_counts_are_the_specified_ones() {
    let layers = |depth| CrossAttention { depth, ..CrossAttention::default() };
    assert_eq!(of("cross_attention", &layers(4), 128).1, 6_354_176);
    assert_eq!(of("cross_attention", &layers(6), 256).1, 9_547_008);
    assert_eq!(of("mlp", &Mlp::default(), 128).1, 593_152);
}

#[test]
fn multiply_adds_are_those_worked_out_by_hand() {
    // Condition: 2·128·256 = 65 536. Cross block: q and out 2·64·256² = 8 388 608; kv 2·2·256² = 262 144;
    // MLP 33 554 432; scores and mixture 2·64·2·256 = 65 536; together 42 270 720. With a block, four times.
    let (attention, _) = of("cross_attention", &CrossAttention::default(), 128);
    assert_eq!(attention.macs(64, 2), 65_536 + 4 * (42_270_720 + 52_428_800));
    // One condition token more: 128·256, and in four layers 2·256² + 2·64·256.
    assert_eq!(attention.macs(64, 3) - attention.macs(64, 2), 32_768 + 4 * (131_072 + 32_768));
    // (256 + 128)·512 + 512·512 + 512·256: the 593 152 parameters less 3 328 of biases and norms.
    assert_eq!(of("mlp", &Mlp::default(), 128).0.macs(64, 2), 589_824);
    let widths = Widths { state: 256, condition: 128 };
    let residual = |kind: &str| built(&Kinds::of_kind(kind).unwrap(), widths, true).0.macs(64, 2);
    assert_eq!(residual("mlp"), 589_824 + 256 * 256);
    assert_eq!(residual("cross_attention"), attention.macs(64, 2) + 64 * 256 * 256);
}

#[test]
fn every_kind_predicts_as_many_tokens_as_it_says_and_a_residual_one_starts_at_no_change() {
    let options = (Kind::Float, Device::Cpu);
    let (widths, state) = (Widths { state: 8, condition: 6 }, Tensor::randn([3, 5, 8], options));
    let condition = Condition {
        tokens: Tensor::randn([3, 2, 6], options),
        mask: Tensor::ones([3, 2], (Kind::Bool, Device::Cpu)),
        vector: Tensor::randn([3, 6], options),
        perturbed: Tensor::from_slice(&[0.0_f32, 1.0, 1.0]),
    };
    for member in <dyn Predictor>::table() {
        let choice = Kinds::of_kind(member.kind).unwrap();
        for residual in [false, true] {
            let (predictor, registry) = built(&choice, widths, residual);
            let params = ParamSet::initial(&registry.layout(), 3, Device::Cpu);
            let given = State::tokens(state.shallow_clone());
            let predicted = predictor.forward(&params, &given, &condition);
            let tokens = if predicted.is_pooled() { 1 } else { predicted.values().size()[1] };
            assert_eq!(tokens as u64, predictor.tokens(5), "{member:?}");
            if residual {
                let before = if predicted.is_pooled() { given.pooled() } else { state.shallow_clone() };
                assert_eq!(*predicted.values(), before, "{member:?}");
                let noise = params.flat().randn_like();
                tch::no_grad(|| params.flat().shallow_clone().copy_(&noise));
                let moved = predictor.forward(&params, &given, &condition);
                assert_eq!(moved.values().get(0), before.get(0), "{member:?}: a control never moves");
                assert_ne!(moved.values().get(1), before.get(1), "{member:?}");
            }
        }
    }
}
