//! Where the writing of a store stands, kept beside its files so that it can be gone on with after a kill.
//!
//! Guarantee: a journal is whole or the one before it; what it speaks of was synced to the disk before it. What goes on
//! from it ends in the same store as if nothing had happened.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::digest::HashedSoFar;
use super::matrix::CsrSoFar;
use crate::anndata::zarr::StreamSoFar;
use crate::whole_file;

/// Name of the file in the folder of the store.
const JOURNAL: &str = ".journal";
const HEAD: &str = "syncyte";

/// Everything that a writer knows of the rows so far.
#[derive(Debug, PartialEq)]
pub(crate) struct Journal {
    /// What is written, in words: nothing goes on with other inputs or options.
    pub(crate) plan: String,
    pub(crate) library_size: Vec<f32>,
    pub(crate) n_genes: Vec<u32>,
    pub(crate) no_count: Option<String>,
    pub(crate) hashed: HashedSoFar,
    pub(crate) x: CsrSoFar,
}

#[derive(Serialize, Deserialize)]
struct Head {
    plan: String,
    no_count: Option<String>,
    open_rows: usize,
    values: StreamSoFar,
    columns: StreamSoFar,
}

impl Journal {
    pub(crate) fn save(&self, folder: &Path) -> Result<(), String> {
        let (values, columns) = (&self.x.values, &self.x.columns);
        let blobs: [(&str, &[u8]); 10] = [
            ("library_size", bytemuck::cast_slice(&self.library_size)),
            ("n_genes", bytemuck::cast_slice(&self.n_genes)),
            ("lengths", bytemuck::cast_slice(&self.x.lengths)),
            ("digests", self.hashed.digests.as_flattened()),
            ("open", &self.hashed.open),
            ("values.pending", &values.pending),
            ("values.index", &values.index),
            ("columns.pending", &columns.pending),
            ("columns.index", &columns.index),
            ("end", &[]),
        ];
        let view = |bytes| TensorView::new(Dtype::U8, vec![<[u8]>::len(bytes)], bytes);
        let views = blobs.iter().map(|(name, bytes)| Ok((*name, view(bytes)?))).collect::<Result<Vec<_>, _>>();
        let head = Head {
            plan: self.plan.clone(),
            no_count: self.no_count.clone(),
            open_rows: self.hashed.open_rows,
            values: values.clone(),
            columns: columns.clone(),
        };
        let head = serde_json::to_string(&head).map_err(|error| error.to_string())?;
        let bytes = views
            .and_then(|views| safetensors::serialize(views, Some(HashMap::from([(HEAD.to_owned(), head)]))))
            .map_err(|error| error.to_string())?;
        whole_file::write(&folder.join(JOURNAL), &bytes).map_err(|error| error.to_string())
    }

    /// The journal in a folder, if there is one.
    pub(crate) fn load(folder: &Path) -> Result<Option<Self>, String> {
        let path = folder.join(JOURNAL);
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        let said = |error: safetensors::SafeTensorError| error.to_string();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(said)?;
        let head = metadata.metadata().as_ref().and_then(|metadata| metadata.get(HEAD)).ok_or("it has no head")?;
        let head: Head = serde_json::from_str(head).map_err(|error| error.to_string())?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(said)?;
        let blob = |name: &str| tensors.tensor(name).map(|view| view.data().to_vec()).map_err(said);
        let words = |name: &str| -> Result<Vec<[u8; 4]>, String> {
            Ok(blob(name)?.chunks_exact(4).map(|word| [word[0], word[1], word[2], word[3]]).collect())
        };
        let numbers = |name: &str| Ok::<_, String>(words(name)?.into_iter().map(u32::from_le_bytes).collect());
        let mut digests = Vec::new();
        for digest in blob("digests")?.chunks_exact(32) {
            digests.push(digest.try_into().map_err(|_| "a digest is cut")?);
        }
        let stream = |of: &str, so_far: StreamSoFar| -> Result<StreamSoFar, String> {
            Ok(StreamSoFar { pending: blob(&format!("{of}.pending"))?, index: blob(&format!("{of}.index"))?, ..so_far })
        };
        Ok(Some(Self {
            plan: head.plan,
            library_size: words("library_size")?.into_iter().map(f32::from_le_bytes).collect(),
            n_genes: numbers("n_genes")?,
            no_count: head.no_count,
            hashed: HashedSoFar { digests, open: blob("open")?, open_rows: head.open_rows },
            x: CsrSoFar {
                lengths: numbers("lengths")?,
                values: stream("values", head.values)?,
                columns: stream("columns", head.columns)?,
            },
        }))
    }
}

/// Removes the journal of a folder, if there is one.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(JOURNAL)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
