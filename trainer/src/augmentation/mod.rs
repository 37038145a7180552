//! Augmentations: random views of a cell (D11).
//!
//! Guarantee: a view is a pure function of (seed, step, cell, number of the view), whichever rank or thread makes it and
//! wherever the cell lies in its batch.

mod gaussian;
mod poisson;

use std::fmt;

use syncyte_kernels::rows::Scale;
use syncyte_sharding::csr::Csr;
use syncyte_sharding::philox::{Philox, Purpose};
use toml::Table;

pub use gaussian::Gaussian;
pub use poisson::Poisson;

use crate::batch::cells::normalised;
use crate::component::{Member, Role};

/// Changes the values of a cell at random.
pub trait Augmentation: fmt::Debug + Send + Sync {
    /// Whether the values must be counts; the view is then normalised by its own total, and otherwise not at all.
    fn needs_counts(&self) -> bool;

    /// The value that a gene has in a view, from that which it has in the cell. Called for every stored gene in order.
    fn draw(&self, random: &mut Philox, value: f32) -> f32;
}

impl Role for dyn Augmentation {
    const SECTION: &'static str = "augmentation";
    type Build = fn(&Table) -> Result<Box<dyn Augmentation>, String>;

    fn table() -> &'static [Member<Self>] {
        static TABLE: &[Member<dyn Augmentation>] = &[
            Member::<dyn Augmentation>::new::<Poisson>("poisson", "D11", poisson::build),
            Member::<dyn Augmentation>::new::<Gaussian>("gaussian", "D11", gaussian::build),
        ];
        TABLE
    }
}

/// What makes the random numbers of a view.
#[derive(Clone, Copy, Debug)]
pub struct ViewKey {
    /// Seed of the run.
    pub seed: u64,
    /// Step of the run.
    pub step: u64,
    /// 0 for the student's view, 1 for the teacher's.
    pub view: u64,
}

/// One augmented view of every cell, log-normalised, row after row of all genes.
pub fn augmented(augmentation: &dyn Augmentation, rows: &[u64], cells: &Csr, key: ViewKey) -> Vec<f32> {
    let mut view = Csr { values: Vec::with_capacity(cells.nnz()), ..cells.clone() };
    let mut totals = Vec::with_capacity(rows.len());
    for (index, &row) in rows.iter().enumerate() {
        let mut random = Philox::new(key.seed, Purpose::Augment, row, key.step * 2 + key.view);
        let start = view.values.len();
        view.values.extend(cells.row(index).1.iter().map(|&value| augmentation.draw(&mut random, value)));
        totals.push(view.values[start..].iter().sum());
    }
    normalised(&view, if augmentation.needs_counts() { Scale::Library(&totals) } else { Scale::LogNormalised })
}

/// Refuses a probability of keeping a gene that is not in (0, 1].
fn check_keep(keep: f64) -> Result<(), String> {
    if keep > 0.0 && keep <= 1.0 { Ok(()) } else { Err(format!("keep = {keep} must lie in (0, 1]")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_depend_on_the_cell_and_not_on_its_place_in_the_batch() {
        let mut cells = Csr::empty(3);
        cells.push_row(&[0, 2], &[5.0, 7.0]);
        cells.push_row(&[1], &[9.0]);
        let mut swapped = Csr::empty(3);
        swapped.push_row(&[1], &[9.0]);
        swapped.push_row(&[0, 2], &[5.0, 7.0]);
        for member in <dyn Augmentation>::table() {
            let choice = crate::component::Choice::<dyn Augmentation>::of_kind(member.kind).unwrap();
            let augmentation = (choice.build())(choice.table()).unwrap();
            let key = ViewKey { seed: 3, step: 11, view: 0 };
            let one = augmented(&*augmentation, &[40, 41], &cells, key);
            let two = augmented(&*augmentation, &[41, 40], &swapped, key);
            assert_eq!(one, [&two[3..], &two[..3]].concat(), "{member:?}");
            assert_ne!(one, augmented(&*augmentation, &[40, 41], &cells, ViewKey { view: 1, ..key }), "{member:?}");
        }
    }
}
