//! Writes a planted-truth store.
//!
//! Guarantee: cells and truth appear at the path together or not at all. Cells are drawn while others are written;
//! memory holds a few blocks of them, and the truth is written condition by condition.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::sync_channel;

use rayon::prelude::*;
use serde_json::json;

use super::SynthError;
use super::config::SynthConfig;
use super::generator::{Block, Generator};
use super::truth::{DESCRIPTION, GROUP, attributes};
use crate::anndata::AnnDataError;
use crate::anndata::frame::array_encoding;
use crate::anndata::zarr::{Item, ShardLayout, ZarrWriter};
use crate::frame::Frame;
use crate::store::{CellStore, StoreError, StoreInfo, StoreWriter, ValueKind, WriteOptions};

/// Name of the proteins in `obsm`.
const PROTEIN: &str = "protein";
/// Expression values drawn at a time, zeros included. Cells do not depend on it.
const BLOCK_VALUES: usize = 1 << 24;
/// Rows of the truth that are worked out at a time, and that are read at once.
const TRUTH_ROWS: usize = 256;
const TRUTH_CHUNK: usize = 4;
/// Bytes of a file of the truth before compression.
const TRUTH_SHARD: usize = 32 << 20;

/// Generates the store of a configuration at `path` and reports the number of cells written after every block.
///
/// # Errors
/// When the configuration cannot be generated, the path is taken, or writing fails.
pub fn write_store(path: &Path, config: &SynthConfig, progress: impl FnMut(usize)) -> Result<CellStore, SynthError> {
    let generator = Generator::new(config)?;
    if path.symlink_metadata().is_ok() {
        return Err(StoreError::Exists { path: path.into() }.into());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Inside a folder of its own, so that the truth can join the cells before the store is visible.
    let staging = tempfile::Builder::new()
        .prefix(".synth.partial-")
        .permissions(Permissions::from_mode(0o777))
        .tempdir_in(parent)
        .map_err(|source| io(path, "making a folder beside it", source))?;
    let (truth, cells) = (staging.path().join("truth"), staging.path().join("store"));
    fs::create_dir(&truth).map_err(|source| io(path, "making a folder beside it", source))?;
    write_truth(&truth, &generator)?;
    write_cells(&cells, path, generator, progress)?;
    fs::rename(truth.join(GROUP), cells.join(GROUP)).map_err(|source| io(path, "adding the truth", source))?;
    fs::rename(&cells, path).map_err(|source| io(path, "renaming the finished folder", source))?;
    Ok(CellStore::open(path)?)
}

fn write_cells(
    staged: &Path,
    path: &Path,
    generator: Generator,
    mut progress: impl FnMut(usize),
) -> Result<(), SynthError> {
    let named = |error: StoreError| error.about(path);
    let config = generator.config.clone();
    let genes = Frame { index: generator.genes().to_vec(), columns: Vec::new() };
    let mut writer = StoreWriter::create(staged, genes, WriteOptions::default()).map_err(named)?;
    let n_proteins = generator.n_proteins();
    let mut append = |block: &Block| {
        writer.append(&block.genes)?;
        if n_proteins > 0 { writer.append_obsm(PROTEIN, n_proteins, &block.proteins) } else { Ok(()) }
    };
    let block_rows = (BLOCK_VALUES / config.genes).max(1);
    std::thread::scope(|scope| {
        let (sender, blocks) = sync_channel(1);
        let (generator, cells) = (&generator, config.cells);
        scope.spawn(move || {
            for start in (0..cells).step_by(block_rows) {
                // The writer has hung up when it failed.
                if sender.send(generator.block(start..(start + block_rows).min(cells))).is_err() {
                    return;
                }
            }
        });
        let mut written = 0;
        for block in blocks {
            append(&block)?;
            written += block.genes.n_rows();
            progress(written);
        }
        Ok(())
    })
    .map_err(named)?;
    let width = config.cells.to_string().len();
    let index = (1..=config.cells).map(|cell| format!("cell{cell:0width$}")).collect();
    let obs = Frame { index, columns: generator.obs() };
    writer.finish(obs, &generator.labels(), info(&config)).map_err(named)?;
    Ok(())
}

/// Writes the truth as [`Truth`](super::Truth) reads it.
fn write_truth(folder: &Path, generator: &Generator) -> Result<(), AnnDataError> {
    let name = folder.display().to_string();
    let writer = ZarrWriter::new(folder, &name)?;
    let planted = generator.planted();
    let (contexts, conditions) = (planted.lines.len(), planted.conditions.len());
    let oracle = generator.oracle();
    writer.group(GROUP, attributes("dict"))?;
    let table = Table { writer: &writer, genes: planted.genes.len() };
    table.write("baseline", contexts, |context| oracle.baseline(context).to_vec())?;
    table.write("effects", planted.settings.len() * contexts * conditions, |row| {
        let stratum = row / conditions;
        oracle.effect(stratum / contexts, stratum % contexts, row % conditions)
    })?;
    table.write("log_fold", contexts * conditions, |row| oracle.log_fold(row / conditions, row % conditions))?;
    let covered = &planted.second_screen;
    table.write("second_screen", covered.len(), |row| oracle.second_screen(covered[row] as usize))?;
    whole(&writer, "network", &[generator.graph.truth.len() as u64, 2], generator.graph.truth.as_flattened())?;
    whole(&writer, "graph", &[generator.graph.told.len() as u64, 2], generator.graph.told.as_flattened())?;
    let escaped = generator.escaped();
    whole(&writer, "escaped", &[escaped.len() as u64], &escaped)?;
    let text = serde_json::to_string(&planted)
        .map_err(|error| AnnDataError::encoding(&name, DESCRIPTION, error.to_string()))?;
    Ok(writer.scalar(DESCRIPTION, &text, attributes("string"))?)
}

/// Tables of the truth, as wide as the panel.
struct Table<'a> {
    writer: &'a ZarrWriter,
    genes: usize,
}

impl Table<'_> {
    fn write(&self, name: &str, rows: usize, row: impl Fn(usize) -> Vec<f32> + Sync) -> Result<(), AnnDataError> {
        let shard = (TRUTH_SHARD / (4 * self.genes)).next_multiple_of(TRUTH_CHUNK);
        let layout = ShardLayout { chunk: TRUTH_CHUNK, shard };
        let path = format!("{GROUP}/{name}");
        let mut stream = self.writer.stream::<f32>(&path, Some(self.genes), layout, array_encoding());
        for start in (0..rows).step_by(TRUTH_ROWS) {
            let block: Vec<Vec<f32>> = (start..(start + TRUTH_ROWS).min(rows)).into_par_iter().map(&row).collect();
            stream.push(&block.concat())?;
        }
        Ok(stream.finish()?)
    }
}

fn whole<T: Item>(writer: &ZarrWriter, name: &str, shape: &[u64], values: &[T]) -> Result<(), AnnDataError> {
    Ok(writer.array(&format!("{GROUP}/{name}"), shape, values, array_encoding())?)
}

fn info(config: &SynthConfig) -> StoreInfo {
    let synthetic = json!({ "generator": "planted-truth", "world": config.world, "config": config });
    StoreInfo { synthetic: Some(synthetic), ..StoreInfo::new(ValueKind::Counts) }
}

fn io(path: &Path, doing: &'static str, source: std::io::Error) -> StoreError {
    StoreError::Io { path: path.into(), doing, source }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::write_store;
    use crate::frame::ColumnData;
    use crate::synth::{Generator, Preset, SynthConfig, SynthError, Truth, World};

    fn small(world: World) -> SynthConfig {
        let demo = SynthConfig::preset(Preset::Demo, world, 4);
        SynthConfig { cells: 600, genes: 200, singles: 12, doubles: 4, modules: 8, contexts: 2, ..demo }
    }

    #[test]
    fn the_store_holds_the_cells_the_labels_and_the_truth() {
        let folder = TempDir::new().unwrap();
        for world in World::ALL {
            let path = folder.path().join(format!("{world}.zarr"));
            let mut seen = 0;
            let store = write_store(&path, &small(world), |cells| seen = cells).unwrap();
            assert_eq!((store.n_cells(), store.n_genes(), seen), (600, 200, 600));
            let generator = Generator::new(&small(world)).unwrap();
            assert_eq!(store.read_rows(100..164).unwrap(), generator.rows(100..164));
            let (truth, oracle) = (Truth::load(&path).unwrap(), generator.oracle());
            assert_eq!(truth.planted, generator.planted());
            for context in 0..2 {
                assert_eq!(truth.baseline(context).unwrap(), oracle.baseline(context));
                for condition in [0, 3, 16] {
                    assert_eq!(truth.effect(context, condition).unwrap(), oracle.effect(0, context, condition));
                    assert_eq!(truth.log_fold(context, condition).unwrap(), oracle.log_fold(context, condition));
                }
            }
            let covered = truth.planted.second_screen[2] as usize;
            assert_eq!(truth.second_screen(covered).unwrap(), Some(oracle.second_screen(covered)));
            assert_eq!(truth.second_screen(0).unwrap(), None);
            let (graph, network) = (truth.graph().unwrap(), truth.network().unwrap());
            let right = graph.iter().filter(|edge| network.binary_search(edge).is_ok()).count() as f64;
            assert!(
                (right / graph.len() as f64 - 0.3).abs() < 0.01 && (right / network.len() as f64 - 0.3).abs() < 0.01
            );
            assert_eq!(truth.escaped().unwrap().len(), if world >= World::W3 { 600 } else { 0 });
            let planted = truth.planted.conditions.iter().map(|condition| &condition.perturbation);
            assert!(planted.eq(&store.labels().perturbations));
            assert_eq!(*store.labels(), generator.labels());
            assert_eq!(store.info().synthetic.as_ref().unwrap()["world"], world.to_string());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 6, "nothing else is left behind");
    }

    #[test]
    fn guides_phases_doses_times_and_proteins_are_written_beside_the_counts() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store.zarr");
        let mut config = SynthConfig { cells: 900, ..small(World::W3) };
        (config.course.doses, config.course.times) = (vec![1.0, 10.0], vec![6.0, 24.0, 72.0]);
        config.protein.count = 20;
        let store = write_store(&path, &config, |_| ()).unwrap();
        let generator = Generator::new(&config).unwrap();
        let (width, proteins) = store.read_obsm("protein", 30..50).unwrap();
        assert_eq!((width, proteins), (20, generator.block(30..50).proteins));
        let truth = Truth::load(&path).unwrap();
        assert_eq!((truth.planted.proteins.len(), truth.planted.settings.len()), (20, 6));
        assert_eq!(truth.planted.curves.len(), 4 + 8);
        let obs = store.obs().unwrap();
        let Some(ColumnData::Categorical { codes, categories, .. }) = obs.column("guide") else { panic!("no guides") };
        assert_eq!(categories.len(), 2 * 17);
        let labels = store.labels();
        for (cell, &code) in codes.iter().enumerate() {
            let perturbation = &labels.perturbations[labels.perturbation[cell] as usize].name;
            assert_eq!(categories[code as usize].rsplit_once('_').unwrap().0, perturbation);
        }
        let Some(ColumnData::Categorical { categories, .. }) = obs.column("phase") else { panic!("no phases") };
        assert_eq!(categories[..], ["G1", "S", "G2M"]);
        let (Some(ColumnData::Float(dose)), Some(ColumnData::Float(time))) = (obs.column("dose"), obs.column("time"))
        else {
            panic!("no doses or times")
        };
        for cell in 0..900 {
            assert_eq!(dose[cell] == 0.0, labels.is_control(cell));
            assert!([0.0, 1.0, 10.0].contains(&dose[cell]) && [6.0, 24.0, 72.0].contains(&time[cell]));
        }
        let (early, late) = (truth.effect_at(0, 0, 3).unwrap(), truth.effect_at(5, 0, 3).unwrap());
        let power = |effect: &[f32]| effect.iter().map(|change| change * change).sum::<f32>();
        assert!(power(&late) > 2.0 * power(&early), "an effect grows with dose and time");
    }

    #[test]
    fn the_same_configuration_gives_the_same_data_and_another_seed_does_not() {
        let folder = TempDir::new().unwrap();
        let hash = |name: &str, seed: u64| {
            let config = SynthConfig { seed, ..small(World::W2) };
            write_store(&folder.path().join(name), &config, |_| ()).unwrap().data_hash().to_owned()
        };
        assert_eq!(hash("first", 1), hash("second", 1));
        assert_ne!(hash("third", 2), hash("fourth", 3));
    }

    #[test]
    fn a_store_without_truth_and_a_taken_path_are_named() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store.zarr");
        write_store(&path, &small(World::W2), |_| ()).unwrap();
        let taken = write_store(&path, &small(World::W2), |_| ()).err().unwrap();
        assert!(taken.to_string().contains("taken"), "{taken}");
        std::fs::remove_dir_all(path.join("uns/syncyte_truth")).unwrap();
        assert!(matches!(Truth::load(&path), Err(SynthError::NoTruth { .. })));
    }
}
