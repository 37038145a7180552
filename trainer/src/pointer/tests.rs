use tch::{Device, Kind};

use super::*;
use crate::batch::vocabulary::Vocabulary;
use crate::component::Choice;
use crate::params::{Group, Registry};

type Kinds = Choice<dyn Pointer>;

/// Pointer tokens, and what is read where each predicts itself.
fn pointed(kind: &str, cells: &[Vec<Vec<u32>>]) -> (Tensor, Tensor) {
    let choice = Kinds::of_kind(kind).unwrap();
    let mut registry = Registry::default();
    let vocabulary = Vocabulary { genes: vec![String::new(); 12], ..Vocabulary::default() };
    let group = Group::new("predictor");
    let mut declare = Declare { registry: &mut registry, group, vocabulary: &vocabulary };
    let pointer = (choice.build())(choice.table(), &mut declare, 6).unwrap();
    let params = ParamSet::initial(&registry.layout(), 4, Device::Cpu);
    let blocks = Blocks::of(cells);
    let (tokens, mask) = pointer.tokens(&params, &blocks);
    assert!(mask.is_none_or(|mask| mask.size() == tokens.size()[..2]), "{kind}");
    let read = pointer.read(&tokens, &blocks);
    (tokens, read)
}

#[test]
fn blocks_have_pointers_of_their_own_that_follow_from_their_genes_alone() {
    for member in <dyn Pointer>::table() {
        let cells = [vec![vec![1, 2, 3], vec![4, 5]], vec![vec![1, 2, 3], vec![]]];
        let (tokens, read) = pointed(member.kind, &cells);
        assert_eq!(read.size(), [2, 2, 6], "{member:?}");
        assert_eq!(tokens.isfinite().all().int64_value(&[]), 1, "{member:?}");
        assert_eq!(read.isfinite().all().int64_value(&[]), 1, "{member:?}: a block without genes too");
        let apart = |a: Tensor, b: Tensor| (a - b).abs().max().double_value(&[]);
        assert!(apart(read.get(0).get(0), read.get(0).get(1)) > 1e-2, "{member:?}: two blocks of a cell");
        assert!(apart(read.get(0).get(0), read.get(1).get(0)) < 1e-6, "{member:?}: one block in two cells");
        // The order of the genes and the padding do not matter.
        let (_, turned) = pointed(member.kind, &[vec![vec![3, 1, 2], vec![0, 4, 5, 6, 7]]]);
        assert!(apart(read.get(0).get(0), turned.get(0).get(0)) < 1e-6, "{member:?}");
        assert_eq!(tokens.kind(), Kind::Float);
    }
}
