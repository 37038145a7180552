"""Cells through annbatch, row by row, as checksums.

Needs the environment of `scripts/setup.sh --bench`. Prints one JSON object: SHA-256 of every cell's row (its length as
u64, its columns as u32, its values as f32, little-endian), by its place in the store.

    annbatch_cells.py read STORE.zarr       annbatch loads our store, shuffled
    annbatch_cells.py write FOLDER          500 cells in two files; annbatch makes the collection FOLDER/cells.zarr of
                                            them in several datasets; the checksums are those of the cells as made
"""

import hashlib
import json
import sys
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import zarr
from annbatch import DatasetCollection, Loader
from scipy import sparse

CELLS, GENES, SEED = 500, 120, 11


def checksum(columns, values):
    order = np.argsort(columns, kind="stable")
    row = np.uint64(len(columns)).tobytes() + columns[order].astype("<u4").tobytes() + values[order].astype("<f4").tobytes()
    return hashlib.sha256(row).hexdigest()


def checksums(x):
    spans = [slice(x.indptr[row], x.indptr[row + 1]) for row in range(x.shape[0])]
    return [checksum(x.indices[span], x.data[span]) for span in spans]


def read(path):
    group = zarr.open_group(path, mode="r")
    loader = Loader(
        batch_size=32, chunk_size=16, preload_nchunks=4, shuffle=True, preload_to_gpu=False, return_index=True,
        rng=np.random.default_rng(SEED),
    )
    obs = ad.io.read_elem(group["obs"])[["perturbation"]]
    loader = loader.add_adata(ad.AnnData(X=ad.io.sparse_dataset(group["X"]), obs=obs))
    rows, labels = {}, {}
    for batch in loader:
        x = sparse.csr_matrix(batch["X"])
        for place, row, label in zip(batch["index"], checksums(x), batch["obs"]["perturbation"], strict=True):
            if int(place) in rows:
                sys.exit(f"cell {place} came twice")
            rows[int(place)], labels[int(place)] = row, str(label)
    return {"rows": [rows[place] for place in sorted(rows)], "perturbation": [labels[place] for place in sorted(labels)]}


def write(folder):
    folder = Path(folder)
    random = np.random.default_rng(SEED)
    counts = random.poisson(random.gamma(0.5, 4.0, (CELLS, GENES))).astype(np.float32)
    counts[17] = 0
    names = np.array([f"cell{cell}" for cell in range(CELLS)])
    whole = sparse.csr_matrix(counts)
    files = []
    for part, cells in enumerate([slice(0, 230), slice(230, CELLS)]):
        files.append(str(folder / f"part{part}.h5ad"))
        var = pd.DataFrame(index=[f"G{gene}" for gene in range(GENES)])
        ad.AnnData(whole[cells], obs=pd.DataFrame(index=names[cells]), var=var).write_h5ad(files[-1])
    out = folder / "cells.zarr"
    DatasetCollection(str(out)).add_adatas(
        files, n_obs_per_chunk=16, shard_size=96, dataset_size=180, shuffle_chunk_size=20, shuffle=True, rng=np.random.default_rng(SEED)
    )
    group = zarr.open_group(out, mode="r")
    datasets = sorted((name for name in group.group_keys()), key=lambda name: int(name.removeprefix("dataset_")))
    order = [name for dataset in datasets for name in ad.io.read_elem(group[dataset]["obs"]).index]
    row_of = dict(zip(names, checksums(whole)))
    return {"rows": [row_of[name] for name in order], "datasets": len(datasets), "nnz": int(whole.nnz)}


def main():
    warnings.filterwarnings("ignore")
    mode, path = sys.argv[1:]
    print(json.dumps({"read": read, "write": write}[mode](path)))


if __name__ == "__main__":
    main()
