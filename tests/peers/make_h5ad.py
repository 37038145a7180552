"""Writes small h5ad files to import: one that is right, with what a reader must find in it, and some that are not.

    make_h5ad.py FOLDER

FOLDER/right.h5ad        counts with categorical, string, nullable and plain columns
FOLDER/right.json        what read_store.py must say about a store made from it without quality control
FOLDER/negative.h5ad     a count of -1 in cell `cell7`, gene `G3`
FOLDER/fractional.h5ad   a count of 2.5 there
FOLDER/duplicate.h5ad    the gene `G3` twice
FOLDER/unknown.h5ad      no control label among `A`, `B` and `C`
"""

import hashlib
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

warnings.filterwarnings("ignore")
import anndata

CELLS, GENES = 240, 30
LABELS = ["control", "G1", "G2", "G1+G2"]


def counts():
    draw = np.random.default_rng(7)
    x = draw.poisson(0.8, (CELLS, GENES)).astype(np.float32)
    x[7, 3] = 5
    return x


def cells():
    number = np.arange(CELLS)
    obs = pd.DataFrame(index=[f"cell{i}" for i in number])
    obs["guide"] = pd.Categorical([LABELS[i % 4] for i in number], categories=LABELS)
    obs["note"] = [f"note {i}: µ, ß" for i in number]
    obs["day"] = pd.array([None if i % 5 == 0 else int(i) for i in number], dtype="Int64")
    obs["passed"] = pd.array([None if i % 7 == 0 else bool(i % 2) for i in number], dtype="boolean")
    obs["score"] = np.where(number % 3 == 0, np.nan, number / 8)
    obs["batch"] = pd.Categorical([None if i % 11 == 0 else f"lane{i % 2}" for i in number])
    return obs


def genes():
    var = pd.DataFrame(index=[f"G{i}" for i in range(GENES)])
    var["length"] = np.arange(GENES, dtype=np.int64) * 100 + 7
    var["strand"] = pd.Categorical(["+" if i % 2 else "-" for i in range(GENES)])
    return var


def plain(values):
    return [None if pd.isna(value) else getattr(value, "item", lambda value=value: value)() for value in values]


def expected(x, obs, var):
    content = hashlib.sha256()
    for row in x:
        places = np.flatnonzero(row)
        content.update(np.uint64(len(places)).tobytes())
        content.update(places.astype("<u4").tobytes())
        content.update(row[places].astype("<f4").tobytes())
    return {
        "cells": CELLS,
        "genes": GENES,
        "nnz": int(np.count_nonzero(x)),
        "x_sha256": content.hexdigest(),
        "sorted_indices": True,
        "gene_names": list(var.index),
        "cell_names": list(obs.index),
        "obs": {name: plain(obs[name]) for name in ["guide", "note", "day", "passed", "score"]}
        | {"perturbation": plain(obs["guide"]), "is_control": [label == "control" for label in obs["guide"]]},
        "var": {name: plain(var[name]) for name in var.columns},
        "row_sums": x.sum(axis=1, dtype=np.float64).tolist(),
        "value_kind": "counts",
    }


def main():
    folder = Path(sys.argv[1])
    x, obs, var = counts(), cells(), genes()

    def write(name, x=x, obs=obs, var=var):
        anndata.AnnData(sp.csr_matrix(x), obs=obs, var=var).write_h5ad(folder / f"{name}.h5ad")

    write("right")
    (folder / "right.json").write_text(json.dumps(expected(x, obs, var)))
    for name, value in [("negative", -1), ("fractional", 2.5)]:
        changed = x.copy()
        changed[7, 3] = value
        write(name, x=changed)
    twice = var.copy()
    twice.index = ["G3" if name == "G4" else name for name in var.index]
    write("duplicate", var=twice)
    unknown = obs.copy()
    unknown["guide"] = pd.Categorical(["ABC"[i % 3] for i in range(CELLS)])
    write("unknown", obs=unknown)


if __name__ == "__main__":
    main()
