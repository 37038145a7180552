use std::collections::BTreeSet;

use proptest::prelude::*;

use super::bags::count_batches;
use super::{Bag, BagReport, Bags, MATCHED_CELLS, SamplingError};
use crate::labels::{Labels, Perturbation};

/// Labels from (perturbation, context, batch) of every cell; perturbation 0 is the control.
fn labels(cells: &[(u32, u32, u32)]) -> Labels {
    let gene = |name: &str| Perturbation::of([name.to_owned()]);
    Labels {
        perturbations: vec![Perturbation::control(), gene("A"), gene("B"), gene("C")],
        perturbation: cells.iter().map(|cell| cell.0).collect(),
        contexts: vec!["line0".into(), "line1".into()],
        context: cells.iter().map(|cell| cell.1).collect(),
        batches: (0..5).map(|batch| format!("b{batch}")).collect(),
        batch: cells.iter().map(|cell| cell.2).collect(),
        kinds: vec!["CRISPRi".into()],
        kind: vec![0; cells.len()],
    }
}

fn bags(cells: &[(u32, u32, u32)], size: usize) -> Bags {
    let rows: Vec<u64> = (0..cells.len() as u64).collect();
    Bags::new(&labels(cells), &rows, 9, size).unwrap()
}

fn cells() -> impl Strategy<Value = Vec<(u32, u32, u32)>> {
    prop::collection::vec((0_u32..4, 0_u32..2, 0_u32..5), 1..300).prop_map(|mut cells| {
        cells.extend([(0, 0, 0), (0, 1, 0), (1, 0, 0)]);
        cells
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_two_bags_have_the_same_batches_and_no_cell_twice(cells in cells(), size in 1_usize..40, number in 0_u64..50) {
        let (bags, labels) = (bags(&cells, size), labels(&cells));
        let bag = bags.bag(0, number);
        let condition = &bags.conditions()[bag.condition];
        prop_assert_eq!(bag.perturbed.len(), bag.control.len());
        prop_assert!(bag.perturbed.len() <= size && !bag.perturbed.is_empty());
        for places in [&bag.perturbed, &bag.control] {
            prop_assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), places.len());
            prop_assert!(places.iter().all(|&place| labels.context[place] == condition.context));
        }
        prop_assert!(bag.control.iter().all(|&place| labels.is_control(place)));
        prop_assert!(bag.perturbed.iter().all(|place| condition.places.contains(place)));
        let histogram = |places: &[usize]| count_batches(places, &labels.batch);
        if condition.matched {
            prop_assert_eq!(histogram(&bag.perturbed), histogram(&bag.control));
            prop_assert!(bag.perturbed.len() >= MATCHED_CELLS.min(size).min(condition.places.len()));
        }
    }

    #[test]
    fn the_ranks_together_have_the_bags_of_the_step(cells in cells(), step in 0_u64..40) {
        let bags = bags(&cells, 8);
        let whole = bags.rank_bags(step, 4, 0, 1).unwrap();
        prop_assert_eq!(&whole, &(0..4).map(|at| bags.bag(0, step * 4 + at)).collect::<Vec<_>>());
        let conditions: Vec<usize> = whole.iter().map(|bag| bag.condition).collect();
        prop_assert_eq!(conditions, bags.step_conditions(step, 4));
        for world in [2, 4] {
            let ranks = (0..world).flat_map(|rank| bags.rank_bags(step, 4, rank, world).unwrap());
            prop_assert_eq!(&ranks.collect::<Vec<_>>(), &whole);
        }
    }
}

/// 40 cells of A in two batches, `controls` controls in the first and 30 in the third.
fn uneven(controls: usize) -> Vec<(u32, u32, u32)> {
    let mut cells: Vec<(u32, u32, u32)> = (0..40).map(|cell| (1, 0, cell % 2)).collect();
    cells.extend(vec![(0, 0, 0); controls]);
    cells.extend([(0, 0, 2); 30]);
    cells
}

#[test]
fn cells_of_batches_without_controls_stay_out_of_a_matched_bag() {
    let bags = bags(&uneven(18), 32);
    assert_eq!(bags.report(), &BagReport { matched: 1, unmatched: Vec::new() });
    let bag = bags.bag(3, 0);
    assert_eq!(bag.perturbed.len(), 18);
    assert!(bag.perturbed.iter().all(|place| place % 2 == 0));
    assert!(bag.control.iter().all(|place| (40..58).contains(place)));
}

#[test]
fn a_condition_that_cannot_be_matched_falls_back_to_its_context_and_is_named() {
    let bags = bags(&uneven(4), 32);
    assert_eq!(bags.report().unmatched, [("A".to_owned(), "line0".to_owned(), 40)]);
    let bag = bags.bag(0, 0);
    assert_eq!((bag.perturbed.len(), bag.control.len()), (32, 32));
    assert_eq!(bag.control.iter().filter(|place| (40..44).contains(*place)).count(), 4);
}

#[test]
fn an_epoch_visits_every_condition_once_in_a_new_order_with_new_cells() {
    let cells: Vec<(u32, u32, u32)> = (0..400).map(|cell| (cell % 4, cell / 4 % 2, 0)).collect();
    let bags = bags(&cells, 8);
    let epoch = |epoch| (0..6).map(|number| bags.bag(epoch, number)).collect::<Vec<_>>();
    let conditions = |bags: &[Bag]| bags.iter().map(|bag| bag.condition).collect::<Vec<_>>();
    for bags in [epoch(0), epoch(1)] {
        let mut seen = conditions(&bags);
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    }
    assert_ne!(conditions(&epoch(0)), conditions(&epoch(1)));
    assert_eq!(bags.bag(0, 9), bags.bag(1, 3));
    let of_condition = |bags: Vec<Bag>| bags.into_iter().find(|bag| bag.condition == 0).unwrap();
    assert_ne!(of_condition(epoch(0)).perturbed, of_condition(epoch(1)).perturbed);
}

#[test]
fn what_cannot_be_drawn_is_named() {
    let message = |cells: &[(u32, u32, u32)], rows: &[u64], size| {
        Bags::new(&labels(cells), rows, 0, size).unwrap_err().to_string()
    };
    assert!(message(&[(0, 0, 0)], &[0], 4).contains("none of the 1 cells is perturbed"));
    let lost = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 1, 0)];
    assert!(message(&lost, &[0, 1, 2, 3], 4).contains("`line1` has 2 perturbed cells but no control"));
    assert!(message(&lost, &[9], 4).contains("row 9 is not one of the 4"));
    assert!(message(&lost, &[0, 1], 0).contains("`size` is 0"));
    let error = bags(&uneven(4), 4).rank_bags(0, 6, 0, 4).unwrap_err();
    assert_eq!(error, SamplingError::Ranks { count: 6, rank: 0, world: 4 });
}
