"""annbatch on the same cells: makes h5ad files, has annbatch write and load them, and compares with `syncyte bench loader`.

Needs Python 3.12 or later with `annbatch[zarrs]` and h5py; `scripts/setup.sh --bench` makes such an environment where it
finds one. Every mode prints one JSON object.

    annbatch_loader.py cells DIR [--cells 100000 --genes 8248 --nonzeros 2640 --files 4]
    annbatch_loader.py write DIR OUT.zarr                  annbatch's writer on DIR/*.h5ad
    annbatch_loader.py load STORE [--output csr|dense]     annbatch's loader, shuffled, on its collection or our store
    annbatch_loader.py compare --ours S --theirs T ...     both loaders in turn, with the ratios of the medians
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path


def peak_rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def folder_bytes(path):
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


def drop_cache(path):
    """Asks the kernel to forget the files of a store, so that the next read comes from the disk."""
    for file in Path(path).rglob("*"):
        if file.is_file():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def make_cells(args):
    """Negative-binomial counts with the marginals of Replogle's genome-wide K562 screen, cells sorted by perturbation."""
    import anndata as ad
    import numpy as np
    import pandas as pd
    from scipy import sparse

    out = Path(args.folder)
    out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(args.seed)
    share = np.exp(random.normal(0, 1.6, args.genes))
    share /= share.sum()
    dispersion = np.exp(random.normal(np.log(0.2), 0.4, args.genes))

    def nonzeros(depth):
        return args.genes - np.sum((1 + dispersion * depth * share) ** (-1 / dispersion))

    low, high = 10.0, 1e6
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if nonzeros(middle) < args.nonzeros else (low, middle)
    depth = (low * high) ** 0.5
    per_file, nnz = args.cells // args.files, 0
    perturbation = np.arange(args.cells) * args.perturbations // args.cells
    var = pd.DataFrame(index=[f"G{gene:05}" for gene in range(args.genes)])
    for file in range(args.files):
        blocks = []
        for start in range(0, per_file, 1000):
            rows = min(1000, per_file - start)
            library = depth * np.exp(random.normal(-0.06, 0.35, rows))
            mean = library[:, None] * share[None, :]
            counts = random.poisson(mean * random.gamma(1 / dispersion, dispersion, mean.shape))
            blocks.append(sparse.csr_matrix(counts.astype(np.float32)))
        x = sparse.vstack(blocks, format="csr")
        first = file * per_file
        codes = perturbation[first : first + per_file]
        names = np.where(codes == 0, "control", np.char.add("G", np.char.zfill(codes.astype(str), 5)))
        obs = pd.DataFrame({"perturbation": pd.Categorical(names)}, index=[f"cell{first + i}" for i in range(per_file)])
        ad.AnnData(x, obs=obs, var=var).write_h5ad(out / f"cells{file}.h5ad")
        nnz += x.nnz
    return {"cells": per_file * args.files, "genes": args.genes, "nnz": nnz, "bytes": folder_bytes(out)}


def use_zarrs():
    import zarr

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})


def write(args):
    import anndata as ad
    from annbatch import DatasetCollection

    use_zarrs()
    start = time.perf_counter()
    files = sorted(str(file) for file in Path(args.folder).glob("*.h5ad"))
    DatasetCollection(args.out).add_adatas(
        files,
        load_adata=lambda path: ad.AnnData(X=(read := ad.experimental.read_lazy(path)).X, obs=read.obs.to_memory(), var=read.var.to_memory()),
        shuffle=args.shuffle,
    )
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "bytes": folder_bytes(args.out), "rss_peak_bytes": peak_rss()}


def open_loader(path, batch_size, seed):
    """annbatch's loader over its own collection or over any AnnData zarr store."""
    import anndata as ad
    import numpy as np
    import zarr
    from annbatch import DatasetCollection, Loader

    loader = Loader(
        batch_size=batch_size, chunk_size=256, preload_nchunks=32, shuffle=True, preload_to_gpu=False, rng=np.random.default_rng(seed)
    )
    group = zarr.open_group(path, mode="r")
    if "X" in group:
        data = ad.AnnData(X=ad.io.sparse_dataset(group["X"]), obs=ad.io.read_elem(group["obs"])[["perturbation"]])
        return loader.add_adata(data)

    def load(group):
        return ad.AnnData(X=ad.io.sparse_dataset(group["X"]), obs=ad.io.read_elem(group["obs"])[["perturbation"]])

    return loader.use_collection(DatasetCollection(group, mode="r"), load_adata=load)


def dense_rows(batch, genes, numpy):
    """Library-size normalise, log1p, take `genes`: what a training loop does with a CSR batch."""
    totals = numpy.asarray(batch.sum(axis=1)).ravel().astype(numpy.float32)
    scale = numpy.divide(1e4, totals, out=numpy.zeros_like(totals), where=totals > 0)
    dense = batch[:, genes].toarray().astype(numpy.float32)
    dense *= scale[:, None]
    return numpy.log1p(dense, out=dense)


def load(args):
    import numpy as np

    use_zarrs()
    if args.cold:
        drop_cache(args.store)
    start = time.perf_counter()
    loader = open_loader(args.store, args.batch_size, args.seed)
    opened, cells, genes, first = time.perf_counter(), 0, None, None
    begin = time.perf_counter()
    while True:
        for batch in loader:
            x = batch["X"]
            first = first or time.perf_counter() - start
            if args.output == "dense":
                if genes is None:
                    genes = np.arange(0, x.shape[1], max(1, x.shape[1] // args.genes))[: args.genes]
                    genes = np.unique(np.concatenate([genes, np.arange(args.genes)]))[: args.genes]
                x = dense_rows(x, genes, np)
            cells += x.shape[0]
        # Whole epochs only: the first batches of a buffer are the dear ones.
        seconds = time.perf_counter() - begin
        if args.epochs and cells >= args.epochs * loader.n_obs or not args.epochs and seconds >= args.seconds:
            break
    return {
        "peer": "annbatch", "output": args.output, "cells": cells, "seconds": seconds, "cells_per_s": cells / seconds,
        "open_seconds": opened - start, "first_batch_seconds": first, "rss_peak_bytes": peak_rss(),
    }


def run_json(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(args):
    """Both loaders in turn, so that the state of the machine is the same for both."""
    rounds = {}
    for _ in range(args.rounds):
        for output in args.outputs.split(","):
            common = ["--output", output, "--batch-size", str(args.batch_size), "--epochs", str(args.epochs)]
            cold = ["--cold"] if args.cold else []
            # The same number of genes for both, spread evenly.
            common += ["--genes", str(args.genes)] if output == "dense" else []
            for name, store in (("ours", args.ours), ("theirs", args.theirs)):
                syncyte = [args.syncyte, "bench", "loader", "--store", store, "--json", *common, *cold]
                peer = [sys.executable, __file__, "load", store, *common, *cold]
                rounds.setdefault((output, name, "syncyte"), []).append(run_json(syncyte))
                if name == "theirs" or args.peer_reads_ours:
                    rounds.setdefault((output, name, "annbatch"), []).append(run_json(peer))
    rows, rate = [], {}
    for (output, store, loader), results in rounds.items():
        rates = sorted(result["cells_per_s"] for result in results)
        rate[output, store, loader] = statistics.median(rates)
        rows.append({
            "output": output, "store": store, "loader": loader, "cells_per_s_median": statistics.median(rates),
            "cells_per_s": rates, "rss_peak_bytes": max(result["rss_peak_bytes"] for result in results),
        })
    ratios = {
        f"{output}: syncyte on {store} store over annbatch on its own": rate[output, store, "syncyte"] / rate[output, "theirs", "annbatch"]
        for output in args.outputs.split(",")
        for store in ("ours", "theirs")
    }
    return {"cold": args.cold, "results": rows, "ratios": ratios}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(required=True)

    mode = modes.add_parser("cells")
    mode.add_argument("folder")
    mode.add_argument("--cells", type=int, default=100_000)
    mode.add_argument("--genes", type=int, default=8248)
    mode.add_argument("--nonzeros", type=int, default=2640)
    mode.add_argument("--perturbations", type=int, default=500)
    mode.add_argument("--files", type=int, default=4)
    mode.add_argument("--seed", type=int, default=0)
    mode.set_defaults(run=make_cells)

    mode = modes.add_parser("write")
    mode.add_argument("folder")
    mode.add_argument("out")
    mode.add_argument("--shuffle", action="store_true")
    mode.set_defaults(run=write)

    mode = modes.add_parser("load")
    mode.add_argument("store")
    mode.add_argument("--output", choices=["csr", "dense"], default="csr")
    mode.add_argument("--genes", type=int, default=5000)
    mode.add_argument("--batch-size", type=int, default=256)
    mode.add_argument("--seconds", type=float, default=5.0)
    mode.add_argument("--epochs", type=int, default=0)
    mode.add_argument("--cold", action="store_true")
    mode.add_argument("--seed", type=int, default=0)
    mode.set_defaults(run=load)

    mode = modes.add_parser("compare")
    mode.add_argument("--ours", required=True)
    mode.add_argument("--theirs", required=True)
    mode.add_argument("--syncyte", default="syncyte")
    mode.add_argument("--outputs", default="csr,dense")
    mode.add_argument("--genes", type=int, default=5000)
    mode.add_argument("--batch-size", type=int, default=256)
    mode.add_argument("--epochs", type=int, default=5)
    mode.add_argument("--rounds", type=int, default=3)
    mode.add_argument("--cold", action="store_true")
    mode.add_argument("--peer-reads-ours", action="store_true")
    mode.set_defaults(run=compare)

    args = parser.parse_args()
    print(json.dumps(args.run(args)))


if __name__ == "__main__":
    main()
