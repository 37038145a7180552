//! Writes a planted-truth store.
//!
//! Guarantee: cells and truth appear at the path together or not at all, and memory holds one block of cells.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use super::SynthError;
use super::config::SynthConfig;
use super::generator::Generator;
use crate::frame::Frame;
use crate::store::{CellStore, StoreError, StoreInfo, StoreWriter, ValueKind, WriteOptions};

/// Cells drawn and written at a time. Cells do not depend on it.
const BLOCK_ROWS: usize = 4_096;

/// Generates the store of a configuration at `path` and reports the number of cells written after every block.
///
/// # Errors
/// When the configuration cannot be generated, the path is taken, or writing fails.
pub fn write_store(
    path: &Path,
    config: &SynthConfig,
    mut progress: impl FnMut(usize),
) -> Result<CellStore, SynthError> {
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
    let staged = staging.path().join("store");
    let named = |error: StoreError| error.about(path);
    let genes = Frame { index: generator.genes().to_vec(), columns: Vec::new() };
    let mut writer = StoreWriter::create(&staged, genes, WriteOptions::default()).map_err(named)?;
    for start in (0..config.cells).step_by(BLOCK_ROWS) {
        let end = (start + BLOCK_ROWS).min(config.cells);
        writer.append(&generator.rows(start..end)).map_err(named)?;
        progress(end);
    }
    let truth = generator.truth();
    let width = config.cells.to_string().len();
    let cells = (1..=config.cells).map(|cell| format!("cell{cell:0width$}")).collect();
    let obs = Frame { index: cells, columns: Vec::new() };
    writer.finish(obs, &generator.labels(), info(config)).map_err(named)?;
    truth.save(&staged)?;
    fs::rename(&staged, path).map_err(|source| io(path, "renaming the finished folder", source))?;
    Ok(CellStore::open(path)?)
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
    use crate::synth::{Generator, Preset, SynthConfig, SynthError, Truth, World};

    fn small(world: World) -> SynthConfig {
        let demo = SynthConfig::preset(Preset::Demo, world, 4);
        SynthConfig { cells: 600, genes: 200, singles: 12, doubles: 4, modules: 8, contexts: 2, ..demo }
    }

    #[test]
    fn the_store_holds_the_cells_the_labels_and_the_truth() {
        let folder = TempDir::new().unwrap();
        for world in [World::W0, World::W1, World::W2] {
            let path = folder.path().join(format!("{world}.zarr"));
            let mut seen = 0;
            let store = write_store(&path, &small(world), |cells| seen = cells).unwrap();
            assert_eq!((store.n_cells(), store.n_genes(), seen), (600, 200, 600));
            let generator = Generator::new(&small(world)).unwrap();
            assert_eq!(store.read_rows(100..164).unwrap(), generator.rows(100..164));
            let truth = Truth::load(&path).unwrap();
            assert_eq!(truth, generator.truth());
            assert_eq!(*store.labels(), generator.labels());
            let planted = truth.conditions.iter().map(|condition| &condition.perturbation);
            assert!(planted.eq(&store.labels().perturbations));
            assert_eq!(store.info().synthetic.as_ref().unwrap()["world"], world.to_string());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left behind");
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
