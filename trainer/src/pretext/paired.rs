//! J3: from a control cell and a perturbation to a cell of that perturbation.

use syncyte_sharding::loader::RawBatch;
use toml::Table;

use super::{Cells, Pretext, Views};
use crate::component::NoSettings;
use crate::reader::CellReader;

/// Its settings: none.
pub type Paired = NoSettings;

#[derive(Debug)]
struct Task;

#[allow(clippy::unnecessary_wraps, reason = "the form that every kind is built in")]
pub(super) fn build(_table: &Table) -> Result<Box<dyn Pretext>, String> {
    Ok(Box::new(Task))
}

impl Pretext for Task {
    fn cells(&self) -> Cells {
        Cells::Perturbed
    }

    fn predicts(&self) -> &'static str {
        "a perturbed cell from a control cell and the perturbation"
    }

    fn is_conditioned(&self) -> bool {
        true
    }

    fn views(&self, batch: &RawBatch<'_>, reader: &CellReader) -> Result<Views, String> {
        let (rows, partners) = batch.partners.ok_or("it has no control partners")?;
        let source = reader.whole(rows, partners, batch.step);
        Ok(Views { source, target: reader.whole(batch.rows, batch.cells, batch.step), blocks: None })
    }
}
