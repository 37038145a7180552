//! Libraries and services: libtorch, MPI, SLURM, HDF5.

use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::library;
use crate::process::program;

/// libtorch, and the folder it was loaded from.
pub(crate) struct Torch {
    pub(crate) finding: Finding,
    pub(crate) folder: Option<PathBuf>,
}

/// The libtorch that this process runs on.
pub(crate) fn torch() -> Torch {
    let Some(file) = library::loaded("libtorch_cpu.so") else {
        let remedy = "run scripts/setup.sh and build again";
        return Torch { finding: Finding::missing("libtorch", "not loaded by this binary", remedy), folder: None };
    };
    let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
    let version = torch_version(&folder).unwrap_or_else(|| "of unknown version".to_owned());
    let finding = Finding::found("libtorch", format!("{version}, {}", file.display()))
        .with("version", version)
        .with("path", file.display().to_string())
        .with("cuda_build", folder.join("libtorch_cuda.so").is_file());
    Torch { finding, folder: Some(folder) }
}

/// The wheel keeps its version in `version.py` above the libraries, libtorch archives in `build-version`.
fn torch_version(folder: &Path) -> Option<String> {
    let root = folder.parent()?;
    let quoted = |text: String| {
        let line = text.lines().find(|line| line.starts_with("__version__"))?;
        line.split('\'').nth(1).map(str::to_owned)
    };
    let wheel = std::fs::read_to_string(root.join("version.py")).ok().and_then(quoted);
    wheel.or_else(|| std::fs::read_to_string(root.join("build-version")).ok().map(|text| text.trim().to_owned()))
}

/// The program that starts ranks.
pub(crate) fn mpi() -> Finding {
    match program::version("mpirun") {
        Some(version) => Finding::found("mpi", version.clone()).with("version", version),
        None => Finding::missing("mpi", "no mpirun", "needed for more than one rank: apt-get install openmpi-bin"),
    }
}

/// The scheduler's client programs.
pub(crate) fn slurm() -> Finding {
    let remedy = "only needed on a cluster, on its login node: apt-get install slurm-client";
    let (Some(version), Some(_)) = (program::version("sinfo"), program::find("srun")) else {
        return Finding::missing("slurm", "no sinfo and srun", remedy);
    };
    Finding::found("slurm", version.clone()).with("version", version)
}

/// The library that reads h5ad files.
pub(crate) fn hdf5() -> Finding {
    let Some(file) = library::loaded("libhdf5") else {
        let remedy = "apt-get install libhdf5-dev, then build again";
        return Finding::missing("hdf5", "not loaded by this binary", remedy);
    };
    let path = file.display().to_string();
    Finding::found("hdf5", path.clone()).with("path", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_a_wheel_or_an_archive() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("lib");
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(torch_version(&folder), None);
        std::fs::write(root.path().join("build-version"), "2.11.0\n").unwrap();
        assert_eq!(torch_version(&folder).as_deref(), Some("2.11.0"));
        std::fs::write(root.path().join("version.py"), "from x import y\n__version__ = '2.11.0+cu130'\n").unwrap();
        assert_eq!(torch_version(&folder).as_deref(), Some("2.11.0+cu130"));
    }
}
