//! Golden values, and one pass in any pieces against two passes.

use proptest::prelude::*;

use super::*;

const GENES: usize = 12;

struct Cells {
    indptr: Vec<usize>,
    indices: Vec<u16>,
    values: Vec<f32>,
    totals: Vec<f32>,
}

impl Cells {
    fn new(rows: &[Vec<f32>]) -> Self {
        let mut cells = Self { indptr: vec![0], indices: Vec::new(), values: Vec::new(), totals: Vec::new() };
        for row in rows {
            for (gene, &value) in row.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                cells.indices.push(gene as u16);
                cells.values.push(value);
            }
            cells.indptr.push(cells.values.len());
            cells.totals.push(row.iter().sum());
        }
        cells
    }

    fn rows(&self) -> Rows<'_, f32, u16> {
        Rows { indptr: &self.indptr, indices: &self.indices, values: &self.values }
    }
}

fn near(found: &Summary, want: &Summary) -> bool {
    // The squares of nearly equal numbers are known to the last place of the numbers, no better.
    let floor = 1e-14 * want.count as f64 * want.mean().powi(2);
    let near = |a: f64, b: f64, floor: f64| (a - b).abs() <= 1e-9 * b.abs() + floor;
    found.count == want.count && near(found.sum, want.sum, 0.0) && near(found.m2, want.m2, floor)
}

#[test]
fn a_column_of_one_three_and_two_zeros_matches_the_golden_values() {
    let cells = Cells::new(&[vec![1.0, 0.0], vec![3.0, 0.0], vec![0.0, 0.0], vec![0.0, 0.0]]);
    let mut moments = Moments::new(2);
    moments.push_rows(cells.rows(), Space::Stored, None).unwrap();
    assert_eq!(moments.non_zeros()[0], Summary { count: 2, sum: 4.0, m2: 2.0 });
    assert_eq!(moments.column(0), Summary { count: 4, sum: 4.0, m2: 6.0 });
    assert_eq!(
        [moments.column(0).mean(), moments.column(0).variance(1), moments.column(0).variance(0)],
        [1.0, 2.0, 1.5]
    );
    assert_eq!(moments.column(1), Summary { count: 4, sum: 0.0, m2: 0.0 });
    assert_eq!(moments.pooled(), moments.non_zeros()[0]);
    assert!(Summary { count: 1, sum: 3.0, m2: 0.0 }.variance(1).is_nan());

    // Clipped at 2: 1, 2, 0, 0, whose squared distances from 1 are 0, 1, 1, 1.
    let mut clipped = Moments::new(2);
    clipped.push_rows(cells.rows(), Space::Stored, Some(&[2.0, 0.0])).unwrap();
    assert_eq!(clipped.column(0), Summary { count: 4, sum: 3.0, m2: 2.75 });
    assert_eq!(clipped.column(0).squares_about(1.0), 3.0);
}

#[test]
fn logs_and_normalised_counts_match_the_golden_values() {
    let cells = Cells::new(&[vec![1.0, 3.0]]);
    let pushed = |space| {
        let mut moments = Moments::new(2);
        moments.push_rows(cells.rows(), space, None).unwrap();
        moments.pooled().sum
    };
    let library = Scale::Library(&cells.totals);
    assert!((pushed(Space::Log(library)) - 2501_f64.ln() - 7501_f64.ln()).abs() < 2e-6);
    assert_eq!(pushed(Space::Normalised(library)), 1e4);
    assert_eq!(pushed(Space::Log(Scale::LogNormalised)), 4.0);
    assert!((pushed(Space::Normalised(Scale::LogNormalised)) - (1_f64.exp() + 3_f64.exp() - 2.0)).abs() < 1e-12);
}

#[test]
fn values_far_from_zero_keep_their_variance() {
    let rows: Vec<Vec<f32>> = (0..1000).map(|row| vec![4e6 + (row % 2) as f32]).collect();
    let cells = Cells::new(&rows);
    let mut moments = Moments::new(1);
    for start in (0..1000).step_by(100) {
        moments.push_rows(cells.rows().range(start..start + 100), Space::Stored, None).unwrap();
    }
    assert!((moments.column(0).variance(0) - 0.25).abs() < 1e-9, "{:?}", moments.column(0));
}

#[test]
fn a_call_that_fails_says_why_and_changes_nothing() {
    let cells = Cells::new(&[vec![1.0, 2.0], vec![0.0, 3.0, 4.0]]);
    let mut moments = Moments::new(2);
    let error = moments.push_rows(cells.rows(), Space::Stored, None).unwrap_err();
    assert_eq!(error.to_string(), "row 1 names column 2 of 2");
    let error = moments.push_rows(cells.rows(), Space::Stored, Some(&[1.0])).unwrap_err();
    assert_eq!(error.to_string(), "1 ceilings for 2 columns");
    let library = Space::Log(Scale::Library(&[1.0]));
    assert_eq!(moments.push_rows(cells.rows(), library, None).unwrap_err().to_string(), "1 library sizes for 2 rows");
    assert!(moments.merge(&Moments::new(3)).unwrap_err().to_string().contains("2 columns cannot take in moments of 3"));
    assert_eq!(moments, Moments::new(2));
}

/// Rows of counts; about half are zero, one gene is everywhere and one nowhere.
fn counts() -> impl Strategy<Value = Vec<Vec<f32>>> {
    let count = prop_oneof![5 => Just(0_u16), 4 => 1..8_u16, 1 => 8..3000_u16];
    let row = proptest::collection::vec(count, GENES).prop_map(|mut row| {
        row[0] += 1;
        row[1] = 0;
        row.into_iter().map(f32::from).collect()
    });
    proptest::collection::vec(row, 1..40)
}

/// Pushes the rows piece by piece into parts, and merges the parts two at a time in the order that `picks` says.
fn in_pieces(cells: &Cells, cuts: &[usize], picks: &[usize], space: Space, ceiling: Option<&[f64]>) -> Moments {
    let n = cells.totals.len();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (n + 1)).chain([n]).collect();
    ends.sort_unstable();
    let mut parts = vec![Moments::new(GENES)];
    let mut start = 0;
    for (piece, end) in ends.into_iter().enumerate() {
        let scale = |scale| match scale {
            Scale::Library(totals) => Scale::Library(&totals[start..end]),
            Scale::LogNormalised => Scale::LogNormalised,
        };
        let space = match space {
            Space::Stored => Space::Stored,
            Space::Log(of) => Space::Log(scale(of)),
            Space::Normalised(of) => Space::Normalised(scale(of)),
        };
        // Every third piece begins a part of its own.
        if piece % 3 == 2 {
            parts.push(Moments::new(GENES));
        }
        let part = parts.last_mut().unwrap();
        part.push_rows(cells.rows().range(start..end), space, ceiling).unwrap();
        start = end;
    }
    let mut picks = picks.iter().cycle();
    while parts.len() > 1 {
        let other = parts.remove(picks.next().unwrap() % parts.len());
        let into = picks.next().unwrap() % parts.len();
        parts[into].merge(&other).unwrap();
    }
    parts.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_pieces_and_any_merge_tree_equal_two_passes(
        rows in counts(),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
        picks in proptest::collection::vec(any::<usize>(), 1..8),
        lowest in 1_u16..20,
    ) {
        let cells = Cells::new(&rows);
        let logs = Cells::new(&rows.iter().map(|row| row.iter().map(|x| x.ln_1p()).collect()).collect::<Vec<_>>());
        let ceiling: Vec<f64> = (0..GENES).map(|gene| f64::from(lowest) * (gene as f64 + 0.3)).collect();
        let library = Scale::Library(&cells.totals);
        for (cells, space, ceiling) in [
            (&cells, Space::Stored, None),
            (&cells, Space::Stored, Some(&ceiling[..])),
            (&cells, Space::Log(library), None),
            (&cells, Space::Normalised(library), None),
            (&logs, Space::Log(Scale::LogNormalised), None),
            (&logs, Space::Normalised(Scale::LogNormalised), Some(&ceiling[..])),
        ] {
            let found = in_pieces(cells, &cuts, &picks, space, ceiling);
            let want = moments_reference(GENES, cells.rows(), space, ceiling).unwrap();
            prop_assert_eq!(found.rows(), want.rows());
            for gene in 0..GENES {
                let (found, want) = (found.column(gene), want.column(gene));
                prop_assert!(near(&found, &want), "{:?} gene {}: {:?} {:?}", space, gene, found, want);
            }
            prop_assert!(near(&found.pooled(), &want.pooled()), "{:?}", space);
            if matches!(space, Space::Stored) && ceiling.is_none() {
                let sums = |moments: &Moments| moments.non_zeros().iter().map(|s| s.sum).collect::<Vec<_>>();
                prop_assert_eq!(sums(&found), sums(&want));
            }
        }
    }

    #[test]
    fn all_columns_pooled_equal_two_passes_over_every_value(rows in counts()) {
        let cells = Cells::new(&rows);
        let mut moments = Moments::new(GENES);
        moments.push_rows(cells.rows(), Space::Log(Scale::Library(&cells.totals)), None).unwrap();
        let mut dense = vec![0.0_f32; rows.len() * GENES];
        let genes = crate::expression::Genes::All(GENES);
        crate::expression::log_normalise(cells.rows(), Scale::Library(&cells.totals), genes, &mut dense).unwrap();
        let values: Vec<f64> = dense.iter().filter(|value| **value != 0.0).map(|&value| f64::from(value)).collect();
        prop_assert!(near(&moments.pooled(), &Summary::of(&values)));
    }

    #[test]
    fn every_level_and_type_gives_the_same_bits(rows in counts()) {
        let cells = Cells::new(&rows);
        let short: Vec<u16> = cells.values.iter().map(|&value| value as u16).collect();
        let long: Vec<u32> = cells.indices.iter().map(|&column| u32::from(column)).collect();
        let (library, rows) = (Scale::Library(&cells.totals), cells.rows());
        for space in [Space::Stored, Space::Log(library), Space::Normalised(library)] {
            let mut found = Vec::new();
            for level in Level::all() {
                let mut moments = Moments::new(GENES);
                moments.push_rows_at(level, rows, space, None).unwrap();
                found.push(moments);
                let mut moments = Moments::new(GENES);
                let counts = Rows { indptr: rows.indptr, indices: &long, values: &short };
                moments.push_rows_at(level, counts, space, None).unwrap();
                found.push(moments);
            }
            prop_assert!(found.iter().all(|moments| *moments == found[0]));
        }
    }
}
