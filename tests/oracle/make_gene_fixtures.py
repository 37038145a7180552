"""Writes the golden values of variable genes and Pearson residuals that Syncyte's store is compared with.

Every value comes from scanpy, never from Syncyte itself. The counts are stored beside the values, so the tests need
no Python. For `seurat_v3` scanpy interpolates its local regression between a few points; Syncyte computes it at
every gene, so the scores are those of scanpy with `surface="direct"`, and the list of genes is stored for both.

    python tests/oracle/make_gene_fixtures.py      # scanpy 1.11, scikit-misc 0.5, NumPy 2.4
"""

import json
from functools import partial
from pathlib import Path
from unittest import mock

import anndata
import numpy as np
import scanpy as sc
import skmisc.loess
from scipy import sparse

OUT = Path(__file__).parent / "fixtures"
CELLS, GENES, TOP = 90, 160, 40


def counts(rng):
    """Gamma-Poisson counts of very unequal means and dispersions; gene 3 is silent, gene 7 constant."""
    mean = np.exp(rng.normal(0.0, 1.4, size=GENES))
    shape = np.exp(rng.normal(0.5, 1.0, size=GENES))
    depth = np.exp(rng.normal(0.0, 0.3, size=(CELLS, 1)))
    x = rng.poisson(rng.gamma(shape, mean / shape, size=(CELLS, GENES)) * depth)
    x[:, 3], x[:, 7] = 0, 2
    x[:, 11] = rng.poisson(900.0, size=CELLS)  # alone in the highest bin of means
    return x.astype(float)


def annotated(x):
    return anndata.AnnData(sparse.csr_matrix(x))


def listed(frame):
    return np.flatnonzero(frame["highly_variable"].to_numpy())


def plain(values):
    return [None if np.isnan(value) else float(value) for value in values]


def write(name, values):
    (OUT / f"{name}.json").write_text(json.dumps(values) + "\n")


def main():
    OUT.mkdir(exist_ok=True)
    x = counts(np.random.default_rng(2025))

    logged = annotated(x)
    sc.pp.normalize_total(logged, target_sum=1e4)
    sc.pp.log1p(logged)
    seurat = sc.pp.highly_variable_genes(logged, flavor="seurat", n_top_genes=TOP, inplace=False)
    dense = logged.X.toarray()

    def v3():
        return sc.pp.highly_variable_genes(annotated(x), flavor="seurat_v3", n_top_genes=TOP, inplace=False)

    interpolated = v3()
    with mock.patch.object(skmisc.loess, "loess", partial(skmisc.loess.loess, surface="direct")):
        direct = v3()
    values = {
        "top": TOP,
        "counts": x.astype(int).tolist(),
        "seurat": plain(seurat["dispersions_norm"]),
        "seurat_top": listed(seurat).tolist(),
        "seurat_v3": plain(direct["variances_norm"]),
        "seurat_v3_top": listed(direct).tolist(),
        "seurat_v3_interpolated_top": listed(interpolated).tolist(),
        "log_variance": plain(dense.var(axis=0, ddof=1)),
    }
    write("variable_genes", values)

    few = annotated(x[:20, 12:24])
    sc.experimental.pp.normalize_pearson_residuals(few, theta=100)
    write("pearson_residuals", {"counts": x[:20, 12:24].astype(int).tolist(), "residuals": few.X.tolist()})


if __name__ == "__main__":
    main()
