"""Reads a cell store with Python's anndata and says what is in it.

    read_store.py STORE [EXPECTED.json [STORE EXPECTED.json …]]

Prints one JSON object a store: shape, sums, labels and SHA-256 of X's rows as anndata sees them. With EXPECTED.json,
every key there must have an equal value here (numbers to 1e-9 relative), or the exit status is 1.
"""

import hashlib
import json
import math
import sys
import warnings

import numpy as np
import pandas as pd
import scipy.sparse as sp

warnings.filterwarnings("ignore")
import anndata


def column(values):
    """A column as JSON: strings of a categorical, numbers, None where missing."""
    return [None if pd.isna(value) else getattr(value, "item", lambda value=value: value)() for value in values]


def describe(path):
    data = anndata.read_zarr(path)
    x = sp.csr_matrix(data.X)
    record = json.loads(str(data.uns["syncyte"]))
    # Rows as they are stored: length, columns and values of each, as in the store's own digests.
    content = hashlib.sha256()
    for row in range(x.shape[0]):
        span = slice(x.indptr[row], x.indptr[row + 1])
        content.update(np.uint64(x.indptr[row + 1] - x.indptr[row]).tobytes())
        content.update(x.indices[span].astype("<u4").tobytes())
        content.update(x.data[span].astype("<f4").tobytes())
    return {
        "cells": data.n_obs,
        "genes": data.n_vars,
        "nnz": int(x.nnz),
        "sum": float(x.sum(dtype=np.float64)),
        "x_sha256": content.hexdigest(),
        "x_format": data.X.format,
        "x_dtype": str(data.X.dtype),
        "indices_dtype": str(x.indices.dtype),
        "indptr_dtype": str(x.indptr.dtype),
        "sorted_indices": bool(x.has_sorted_indices),
        "canonical": bool(x.has_canonical_format),
        "gene_names": list(map(str, data.var_names)),
        "cell_names": list(map(str, data.obs_names)),
        "var": {name: column(data.var[name]) for name in data.var.columns},
        "obs": {name: column(data.obs[name]) for name in data.obs.columns},
        "obs_dtypes": {name: str(data.obs[name].dtype) for name in data.obs.columns},
        "row_sums": np.asarray(x.sum(axis=1, dtype=np.float64)).ravel().tolist(),
        "layers": {name: float(sp.csr_matrix(layer).sum(dtype=np.float64)) for name, layer in data.layers.items()},
        "obsm": {name: list(matrix.shape) for name, matrix in data.obsm.items()},
        "data_hash": record["data_hash"],
        "value_kind": record["value_kind"],
    }


def differences(found, wanted, at=""):
    if isinstance(wanted, dict) and isinstance(found, dict):
        for key in wanted:
            yield from differences(found.get(key), wanted[key], f"{at}/{key}")
    elif isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, pair in enumerate(zip(found, wanted)):
            yield from differences(*pair, f"{at}/{index}")
    elif isinstance(wanted, float) and isinstance(found, (int, float)):
        if not math.isclose(found, wanted, rel_tol=1e-9):
            yield f"{at}: {found} is not {wanted}"
    elif found != wanted:
        yield f"{at}: {found!r} is not {wanted!r}"


def main():
    problems = []
    for store, expected in zip(sys.argv[1::2], [*sys.argv[2::2], None]):
        found = describe(store)
        print(json.dumps(found))
        if expected is not None:
            with open(expected) as file:
                problems += [f"{expected}{problem}" for problem in differences(found, json.load(file))][:20]
    for problem in problems:
        print(problem, file=sys.stderr)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
