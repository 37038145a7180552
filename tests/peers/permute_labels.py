"""Copies an h5ad file with the values of one obs column dealt out to the cells anew: cells without any effect of it.

    permute_labels.py IN.h5ad COLUMN CELLS OUT.h5ad
"""

import sys

import anndata
import numpy as np

source, column, cells, target = sys.argv[1:]
draw = np.random.default_rng(11)
data = anndata.read_h5ad(source)
data = data[draw.permutation(data.n_obs)[: int(cells)]].copy()
data.obs[column] = np.asarray(data.obs[column])[draw.permutation(data.n_obs)]
data.write_h5ad(target)
