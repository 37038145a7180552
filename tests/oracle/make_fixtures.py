"""Writes the golden vectors that the metrics and linear baselines of Syncyte are compared with.

Every value comes from an independent implementation (SciPy, scikit-learn, NumPy), never from Syncyte itself.
Inputs are stored beside the values, so the tests need no Python. Names state the convention.

    python tests/oracle/make_fixtures.py      # NumPy 2.4, SciPy 1.17, scikit-learn 1.9
"""

import json
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cdist, cosine, pdist
from scipy.stats import energy_distance, pearsonr, rankdata
from sklearn.decomposition import PCA
from sklearn.metrics import mean_absolute_error, mean_squared_error

OUT = Path(__file__).parent / "fixtures"


def write(name, **values):
    def plain(value):
        return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value

    text = json.dumps({key: plain(value) for key, value in values.items()}, indent=None)
    (OUT / f"{name}.json").write_text(text + "\n")


def energies(x, y):
    def form(metric, unbiased):
        def within(group):
            n = len(group)
            return 2 * pdist(group, metric).sum() / (n * (n - 1) if unbiased else n * n)

        return 2 * cdist(x, y, metric).mean() - within(x) - within(y)

    return {
        "euclid_v": form("euclidean", False),
        "euclid_u": form("euclidean", True),
        "sqeuclid_v": form("sqeuclidean", False),
        "sqeuclid_u": form("sqeuclidean", True),
    }


def main():
    OUT.mkdir(exist_ok=True)
    rng = np.random.default_rng(2025)

    x, y = rng.normal(size=(7, 4)), rng.normal(0.5, 2.0, size=(5, 4))
    tied = np.repeat(x[:2], 3, axis=0)
    line_x, line_y = rng.normal(size=9), rng.normal(1.0, 2.0, size=6)
    write("energy", x=x, y=y, values=energies(x, y), tied=tied, tied_values=energies(tied, y),
          line_x=line_x, line_y=line_y, line_euclid_v=energy_distance(line_x, line_y) ** 2)

    reference = rng.uniform(0, 3, size=40)
    truth = reference + rng.normal(0, 0.4, size=40)
    prediction = reference + 0.5 * (truth - reference) + rng.normal(0, 0.2, size=40)
    top = np.sort(np.argsort(-reference, kind="stable")[:10])
    write("vector", truth=truth, prediction=prediction, reference=reference, top=10, top_genes=top,
          l2=np.linalg.norm(truth - prediction), mse=mean_squared_error(truth, prediction),
          mae=mean_absolute_error(truth, prediction), pearson=pearsonr(truth, prediction).statistic,
          pearson_delta=pearsonr(truth - reference, prediction - reference).statistic,
          pearson_delta_top=pearsonr((truth - reference)[top], (prediction - reference)[top]).statistic,
          l2_top=np.linalg.norm((truth - prediction)[top]),
          cosine=1 - cosine(truth, prediction), cosine_delta=1 - cosine(truth - reference, prediction - reference))

    candidates = rng.normal(size=(6, 3))
    candidates[4] = 2 * candidates[1]  # a tie under cosine
    queries = candidates + rng.normal(0, 0.8, size=candidates.shape)
    distances = np.round(cdist(queries, candidates, "cosine"), 12)
    ranks = [rankdata(row, method="average")[own] for own, row in enumerate(distances)]
    write("retrieval_cosine_midrank", queries=queries, candidates=candidates, ranks=ranks)

    cells = rng.normal(size=(12, 5)) @ rng.normal(size=(5, 5))
    pca = PCA(n_components=3, svd_solver="full").fit(cells)
    write("pca_full", cells=cells, components=pca.components_, variance=pca.explained_variance_, mean=pca.mean_)

    # Bilinear model: the normal equations in one piece, by the Kronecker product, against the two-sided closed form.
    genes, conditions, k, ridge = 15, 8, 3, 0.1
    y, g, p = rng.normal(size=(genes, conditions)), rng.normal(size=(genes, k)), rng.normal(size=(conditions, k))
    centre = y.mean(axis=1)
    left = g.T @ g + ridge * np.eye(k)
    right = p.T @ p + ridge * np.eye(k)
    vec = np.linalg.solve(np.kron(right.T, left), (g.T @ (y - centre[:, None]) @ p).flatten("F"))
    write("bilinear_ridge", y=y, g=g, p=p, penalty=ridge, w=vec.reshape((k, k), order="F"), centre=centre)

    # Gene scores as prcomp gives them: genes are observations, columns (conditions) are centred, not scaled.
    profiles = rng.uniform(0, 3, size=(genes, conditions))
    scores = PCA(n_components=k, svd_solver="full").fit_transform(profiles)
    write("gene_scores", profiles=profiles, scores=scores)


if __name__ == "__main__":
    main()
