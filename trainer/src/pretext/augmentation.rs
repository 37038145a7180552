//! J2: from one random view of a cell to another one of the same cell.

use syncyte_sharding::loader::RawBatch;
use toml::Table;

use super::{Cells, Pretext, Views};
use crate::component::NoSettings;
use crate::reader::CellReader;

/// Its settings: none; the views are those of `augmentation`.
pub type TwoViews = NoSettings;

#[derive(Debug)]
struct Task;

#[allow(clippy::unnecessary_wraps, reason = "the form that every kind is built in")]
pub(super) fn build(_table: &Table) -> Result<Box<dyn Pretext>, String> {
    Ok(Box::new(Task))
}

impl Pretext for Task {
    fn cells(&self) -> Cells {
        Cells::All
    }

    fn predicts(&self) -> &'static str {
        "one random view of a cell from another"
    }

    fn is_conditioned(&self) -> bool {
        false
    }

    fn augments(&self) -> bool {
        true
    }

    fn views(&self, batch: &RawBatch<'_>, reader: &CellReader) -> Result<Views, String> {
        let [source, target] = [0, 1].map(|view| reader.augmented(batch.rows, batch.cells, batch.step, view));
        Ok(Views { source, target, blocks: None })
    }
}
