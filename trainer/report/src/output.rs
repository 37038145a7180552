//! Files of a report: written beside their place and renamed into it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::ReportError;
use super::svg::SIGNATURE;

/// Writes a file whole or not at all.
pub(crate) fn write(path: &Path, text: &str) -> Result<PathBuf, ReportError> {
    let failed = |source| ReportError::Io { path: path.into(), source };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.prefix(".report-").tempfile_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(path.into())
}

/// Writes the figures and removes those of an earlier report that this one does not have. Other files stay.
pub(crate) fn replace_figures(folder: &Path, figures: &[(String, String)]) -> Result<Vec<PathBuf>, ReportError> {
    let failed = |source| ReportError::Io { path: folder.into(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut written = Vec::new();
    for (name, text) in figures {
        written.push(write(&folder.join(name), text)?);
    }
    let current: BTreeSet<&PathBuf> = written.iter().collect();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let figure = path.extension().is_some_and(|extension| extension == "svg") && !current.contains(&path);
        if figure && std::fs::read(&path).is_ok_and(|bytes| bytes.starts_with(SIGNATURE.as_bytes())) {
            std::fs::remove_file(&path).map_err(|source| ReportError::Io { path: path.clone(), source })?;
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_figures_go_and_foreign_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let figure = |name: &str| vec![(name.to_owned(), format!("{SIGNATURE}<svg/>"))];
        std::fs::write(folder.path().join("mine.svg"), "<svg/>").unwrap();
        replace_figures(folder.path(), &figure("old.svg")).unwrap();
        replace_figures(folder.path(), &figure("new.svg")).unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["mine.svg", "new.svg"]);
    }
}
