"""Writes small AnnData files with what public files have and readers trip over, and what each must become.

    make_odd_files.py FOLDER [GIVEN]

FOLDER/cases.json lists them: kind, path, options of the import, parts of its notes, and either parts of the refusal or
FOLDER/NAME.json, which read_store.py compares with the store. GIVEN is a folder of files made elsewhere; those of them
that are there become cases too. Filters are applied by numcodecs and written past h5py, which does not have them.
"""

import hashlib
import json
import struct
import sys
import warnings
from pathlib import Path

import h5py
import numcodecs
import numpy as np
import pandas as pd
import scipy.sparse as sp

warnings.filterwarnings("ignore")
import anndata
import zarr

CELLS, GENES = 240, 30
LABELS = ["control", "G1", "G2"]
NUMBER = np.arange(CELLS)
FOLDER = Path(sys.argv[1])
KEEP_ALL = "--min-genes 0 --max-pct-mt 101 --min-cells-per-gene 0 --min-cells-per-perturbation 0"
CASES = []


def counts():
    return np.random.default_rng(7).poisson(0.8, (CELLS, GENES)).astype(np.float32)


def data(**columns):
    obs = pd.DataFrame(index=[f"cell{i}" for i in NUMBER])
    obs["perturbation"] = pd.Categorical([LABELS[i % 3] for i in NUMBER], categories=LABELS)
    for name, values in columns.items():
        obs[name] = values
    return anndata.AnnData(sp.csr_matrix(counts()), obs=obs, var=pd.DataFrame(index=[f"G{i}" for i in range(GENES)]))


def plain(values):
    return [None if pd.isna(value) else getattr(value, "item", lambda value=value: value)() for value in values]


def expected(x=None, **obs):
    x = counts() if x is None else x
    content = hashlib.sha256()
    for row in x:
        places = np.flatnonzero(row)
        content.update(np.uint64(len(places)).tobytes())
        content.update(places.astype("<u4").tobytes())
        content.update(row[places].astype("<f4").tobytes())
    wanted = {"cells": len(x), "genes": x.shape[1], "x_sha256": content.hexdigest(), "obs": obs}
    if "perturbation" not in obs:
        obs["perturbation"] = [LABELS[i % 3] for i in range(len(x))]
    return wanted


def dump(path, content):
    Path(path).write_text(json.dumps(content, default=lambda number: number.item()))


def case(kind, name, *, wanted=None, notes=(), refused=(), options="", suffix=".h5ad", absent=()):
    entry = {
        "kind": kind,
        "path": str(name if isinstance(name, Path) else FOLDER / f"{name}{suffix}"),
        "options": f"{KEEP_ALL} {options}".strip(),
        "notes": list(notes),
        "refused": list(refused),
        "absent": list(absent),
    }
    if wanted is not None:
        entry["wanted"] = str(FOLDER / f"{Path(entry['path']).name}.{len(CASES)}.json")
        dump(entry["wanted"], wanted)
    CASES.append(entry)


def written(name, **columns):
    """An h5ad to be changed."""
    data(**columns).write_h5ad(FOLDER / f"{name}.h5ad")
    return h5py.File(FOLDER / f"{name}.h5ad", "r+")


# Filters


def lz4_chunk(raw, block):
    """A chunk of HDF5's LZ4 filter; numcodecs puts the size (little-endian) before each block."""
    chunk = struct.pack(">QI", len(raw), block)
    for start in range(0, len(raw), block):
        part = raw[start : start + block]
        packed = bytes(numcodecs.LZ4().encode(part))[4:]
        packed = packed if len(packed) < len(part) else part
        chunk += struct.pack(">I", len(packed)) + packed
    return chunk


def shuffled(raw, item):
    return np.frombuffer(raw, np.uint8).reshape(-1, item).T.tobytes()


def compress(file, number, parameters, encode, shuffle=False):
    """Writes every dataset of numbers anew, each chunk encoded here."""
    names = []
    file.visititems(lambda name, node: names.append(name) if isinstance(node, h5py.Dataset) else None)
    for name in names:
        node = file[name]
        if node.dtype.kind == "O" or node.shape in (None, ()) or node.size == 0:
            continue
        values, attributes = node[()], dict(node.attrs)
        del file[name]
        chunk = tuple(max(1, -(-extent // 3)) for extent in values.shape)
        create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        create.set_chunk(chunk)
        if shuffle:
            create.set_shuffle()
        # Optional: HDF5 would refuse a filter that it does not have.
        create.set_filter(number, h5py.h5z.FLAG_OPTIONAL, parameters)
        space = h5py.h5s.create_simple(values.shape)
        made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(values.dtype), space, create)
        for start in np.ndindex(*(-(-extent // size) for extent, size in zip(values.shape, chunk))):
            offset = tuple(at * size for at, size in zip(start, chunk))
            part = np.zeros(chunk, values.dtype)
            here = values[tuple(slice(at, at + size) for at, size in zip(offset, chunk))]
            part[tuple(slice(0, extent) for extent in here.shape)] = here
            raw = part.tobytes()
            raw = shuffled(raw, part.dtype.itemsize) if shuffle else raw
            made.write_direct_chunk(offset, bytes(encode(raw)))
        for key, value in attributes.items():
            file[name].attrs[key] = value


def filters():
    blosc = numcodecs.Blosc
    table = {
        "zstd_1": (32015, (1,), numcodecs.Zstd(1).encode, False),
        "zstd_22_shuffle": (32015, (22,), numcodecs.Zstd(22).encode, True),
        "blosc_lz4": (32001, (2, 2, 4, 0, 5, 1, 1), blosc("lz4", 5, blosc.SHUFFLE).encode, False),
        "blosc_zstd_bits": (32001, (2, 2, 4, 0, 5, 2, 5), blosc("zstd", 5, blosc.BITSHUFFLE).encode, False),
        "blosclz": (32001, (2, 2, 4, 0, 5, 0, 0), blosc("blosclz", 5, blosc.NOSHUFFLE).encode, False),
        "lz4": (32004, (0,), lambda raw: lz4_chunk(raw, len(raw)), False),
        "lz4_blocks": (32004, (64,), lambda raw: lz4_chunk(raw, 64), True),
    }
    for name, (number, parameters, encode, shuffle) in table.items():
        with written(name, score=NUMBER / 8) as file:
            compress(file, number, parameters, encode, shuffle)
        case("filters", name, wanted=expected(score=list(NUMBER / 8)))
    with written("blosc2") as file:
        compress(file, 32026, (), lambda raw: raw)
    case("filters", "blosc2", refused=["number 32026, blosc2", "hdf5plugin", "h5repack -f GZIP=4"])
    # A column that nobody needs, by a filter that nobody has.
    with written("one_filter", score=NUMBER / 8) as file:
        whole = {name: file["obs"].pop(name) for name in ["score"]}
        create = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        create.set_chunk((CELLS,))
        create.set_filter(40_000, h5py.h5z.FLAG_OPTIONAL, ())
        made = h5py.h5d.create(
            file["obs"].id, b"score", h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((CELLS,)), create
        )
        made.write_direct_chunk((0,), (NUMBER / 8).tobytes())
        del whole
    case("filters", "one_filter", wanted=expected(), notes=["obs/score is left out", "number 40000"], absent=["score"])


# Columns


def h5_columns():
    half = (NUMBER / 8).astype(np.float16)
    with written("half", score=half, odd=[f"n{i}" for i in NUMBER]) as file:
        # Categories of half precision, and codes that no category has.
        group = file["obs"].create_group("level")
        group.attrs["encoding-type"], group.attrs["encoding-version"], group.attrs["ordered"] = "categorical", "0.2.0", False
        group["codes"], group["categories"] = (NUMBER % 2).astype(np.int8), np.array([0.5, 1.5], np.float16)
        order(file, "level")
    case(
        "columns",
        "half",
        wanted=expected(score=[float(value) for value in half], level=[["0.5", "1.5"][i % 2] for i in NUMBER]),
    )

    logical = np.where(NUMBER % 3 == 2, -2147483648, NUMBER % 3)
    with written("enums") as file:
        kinds = {
            "keep": (logical, {"FALSE": 0, "TRUE": 1, "NA": -2147483648}, np.int32),
            "keep_8": (NUMBER % 3, {"FALSE": 0, "TRUE": 1, "NA": 2}, np.uint8),
            "phase": (NUMBER % 3 - 1, {"G1": -1, "S": 0, "G2M": 1}, np.int8),
            "phase_9": (np.where(NUMBER == 5, 9, NUMBER % 2), {"G1": 0, "S": 1}, np.int16),
        }
        for name, (values, members, kind) in kinds.items():
            file["obs"].create_dataset(name, data=values.astype(kind), dtype=h5py.enum_dtype(members, kind))
        order(file, *kinds)
    truth = [[False, True, None][i % 3] for i in NUMBER]
    case(
        "columns",
        "enums",
        wanted=expected(
            keep=truth,
            keep_8=truth,
            phase=[["G1", "S", "G2M"][i % 3] for i in NUMBER],
            phase_9=[None if i == 5 else ["G1", "S"][i % 2] for i in NUMBER],
        ),
    )
    case("columns", "enums", wanted=expected(context=[["G1", "S", "G2M"][i % 3] for i in NUMBER]), options="--context-key phase")

    with written("slash", **{"pct/mt": NUMBER / 4, "pct_mt": NUMBER / 2, "pct_mt_2": NUMBER}) as file:
        file["obs/pct/rb"] = NUMBER / 2
        order(file, "pct/rb")
    slash = expected(pct_mt_3=list(NUMBER / 4), source_pct_mt=list(NUMBER / 2), pct_mt_2=NUMBER.tolist(), pct_rb=list(NUMBER / 2))
    case("columns", "slash", wanted=slash, notes=["column 'pct/mt' is kept as 'pct_mt_3'", "'pct/rb' is kept as 'pct_rb'"])
    with written("slash_unlisted", **{"pct/mt": NUMBER / 4}) as file:
        del file["obs"].attrs["column-order"]
    case("columns", "slash_unlisted", wanted=expected(pct_mt_2=list(NUMBER / 4)), notes=["'pct/mt' is kept as"])

    categories = {"flag": pd.Categorical(NUMBER % 2 == 0), "plate": pd.Categorical(NUMBER % 4)}
    with written("numeric_categories", **categories):
        pass
    case(
        "columns",
        "numeric_categories",
        wanted=expected(flag=[str(i % 2 == 0) for i in NUMBER], plate=[str(i % 4) for i in NUMBER]),
    )

    with written("unknown") as file:
        obs = file["obs"]
        obs["complex"] = NUMBER + 1j
        obs["two"] = np.zeros((CELLS, 2))
        obs["short"] = NUMBER[:5]
        obs["beyond"] = NUMBER
        del obs["beyond"]
        obs.create_group("list").attrs["encoding-type"] = "awkward-array"
        lost = obs.create_group("lost")
        lost.attrs["encoding-type"], lost.attrs["ordered"] = "categorical", False
        lost["codes"], lost["categories"] = np.full(CELLS, 7, np.int16), np.array([b"a", b"b"])
        order(file, "complex", "two", "short", "beyond", "list", "lost")
        file["var"]["odd"] = np.zeros((GENES, 3))
        file["var"].attrs["column-order"] = ["odd"]
        file["obsm"].create_group("awkward").attrs["encoding-type"] = "awkward-array"
        file["obsm"]["pca"] = np.zeros((CELLS, 2), np.float32)
    names = ["complex", "two", "short", "beyond", "list", "lost"]
    notes = [f"obs/{name} is left out" for name in names] + ["var/odd is left out", "obsm/awkward is left out"]
    case("columns", "unknown", wanted=expected() | {"obsm": {"pca": [CELLS, 2]}}, notes=notes, absent=names)
    case("columns", "unknown", refused=["obs/list", "awkward-array", "--batch-key"], options="--batch-key list")
    case("columns", "unknown", refused=["obs/lost", "code 7", "--context-key"], options="--context-key lost")
    case("columns", "unknown", refused=["var/odd", "--gene-key"], options="--gene-key odd")
    case("columns", "unknown", refused=["obsm/awkward"], options="--protein-key awkward")

    for name, kind, code in [("na_int", np.int32, -2147483648), ("na_small", np.int8, -7), ("na_unsigned", np.uint8, 255)]:
        with written(name) as file:
            codes = (NUMBER % 3).astype(kind)
            codes[3] = code
            del file["obs/perturbation/codes"]
            file["obs/perturbation/codes"] = codes
        kept = np.delete(NUMBER, 3)
        wanted = expected(counts()[kept], perturbation=[LABELS[i % 3] for i in kept])
        case("columns", name, wanted=wanted, options="--drop-unlabelled", notes=["1 cell has no category"])
        case("columns", name, refused=["1 cells have no label", "'cell3'", "--drop-unlabelled"])

    twice = {"pct_mt": NUMBER / 2, "source_pct_mt": NUMBER / 4, "source_pct_mt_2": NUMBER, "n_genes": NUMBER, "source_n_genes": NUMBER + 1}
    with written("names", **twice):
        pass
    kept = {"source_pct_mt_3": list(NUMBER / 2), "source_pct_mt": list(NUMBER / 4), "source_pct_mt_2": NUMBER.tolist()}
    kept |= {"source_source_n_genes": NUMBER.tolist(), "source_n_genes": (NUMBER + 1).tolist()}
    case("columns", "names", wanted=expected(**kept))

    one = data()
    one.obs_names = ["cell"] * 5 + ["cell-1"] + list(one.obs_names[6:])
    one.write_h5ad(FOLDER / "same_names.h5ad")
    note = "1 name of cells occurs more than once (cell …)"
    as_it_is = expected() | {"cell_names": list(one.obs_names)}
    case("columns", "same_names", wanted=as_it_is, notes=[note, "--make-unique"])
    numbered = ["cell", "cell-2", "cell-3", "cell-4", "cell-5", "cell-1"] + list(one.obs_names[6:])
    entry = expected() | {"cell_names": numbered}
    Path(FOLDER / "same_names_2.h5ad").write_bytes((FOLDER / "same_names.h5ad").read_bytes())
    case("columns", "same_names_2", wanted=entry, notes=[note, "were numbered"], options="--make-unique")


def order(file, *names):
    """Adds columns to the list of a table of cells."""
    file["obs"].attrs["column-order"] = [*file["obs"].attrs["column-order"], *names]


# Matrices


def matrices():
    layered = data()
    layered.layers["counts"] = layered.X.copy()
    nothing = layered.copy()
    nothing.X = None
    nothing.write_h5ad(FOLDER / "no_x.h5ad")
    layered.write_h5ad(FOLDER / "null_x.h5ad")
    with h5py.File(FOLDER / "null_x.h5ad", "r+") as file:
        del file["X"]
        file["X"] = h5py.Empty("f4")
        file["X"].attrs["encoding-type"] = "null"
    (FOLDER / "empty_x.h5ad").write_bytes((FOLDER / "null_x.h5ad").read_bytes())
    with h5py.File(FOLDER / "empty_x.h5ad", "r+") as file:
        del file["X"]
        file["X"] = np.zeros((0, 0), np.float32)
    for name in ["no_x", "null_x", "empty_x"]:
        case("matrices", name, wanted=expected(), notes=["layers/counts"])
    # And where there is no layer either.
    with written("null_alone") as file:
        del file["X"]
        file["X"] = h5py.Empty("f4")
    case("matrices", "null_alone", refused=["it has no values", "null"])

    for name, said, matrix in [("csc_as_csr", "csr_matrix", sp.csc_matrix), ("csr_as_csc", "csc_matrix", sp.csr_matrix)]:
        with written(name) as file:
            arrays = matrix(counts())
            for part in ["data", "indices", "indptr"]:
                del file["X"][part]
                file["X"][part] = getattr(arrays, part)
            file["X"].attrs["encoding-type"] = said
        other = "csc_matrix" if said == "csr_matrix" else "csr_matrix"
        case("matrices", name, refused=["indptr has", f"looks like a {other} labelled {said}", "attrs['encoding-type']"])


# Tables of before anndata 0.7


def compound(rows):
    """Columns as one array of records, text of variable length."""
    kinds = [(name, h5py.string_dtype() if values.dtype.kind in "OU" else (values.dtype, values.shape[1:])) for name, values in rows.items()]
    table = np.empty(len(next(iter(rows.values()))), dtype=kinds)
    for name, values in rows.items():
        table[name] = values
    return table


def old_tables():
    x = sp.csr_matrix(counts())
    names = np.array([f"cell{i}" for i in NUMBER], dtype=object)
    with h5py.File(FOLDER / "old.h5ad", "w") as file:
        for name, matrix in [("X", sp.csr_matrix(np.log1p(counts()))), ("raw.X", x)]:
            group = file.create_group(name)
            group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = "csr", matrix.shape
            for part in ["data", "indices", "indptr"]:
                group[part] = getattr(matrix, part)
        obs = {
            "index": names,
            "perturbation": (NUMBER % 3).astype(np.int8),
            "n_counts": (NUMBER / 8).astype(np.float32),
            "plate": (NUMBER % 4).astype(np.int64),
            "passed": NUMBER % 2 == 0,
            "note": np.array([f"note {i}: µ" for i in NUMBER], dtype=object),
        }
        genes = {"index": np.array([f"G{i}" for i in range(GENES)], dtype=object), "strand": (np.arange(GENES) % 2).astype(np.int8)}
        file["obs"], file["var"], file["raw.var"] = compound(obs), compound(genes), compound(genes)
        file["uns/perturbation_categories"] = np.array(LABELS, dtype=object)
        file["uns/strand_categories"] = file["raw.cat/strand_categories"] = np.array(["+", "-"], dtype=object)
        file["obsm"] = compound({"X_pca": np.arange(5 * CELLS, dtype=np.float64).reshape(CELLS, 5), "X_one": NUMBER.astype(np.float32)})
    wanted = expected(
        n_counts=list(NUMBER / 8),
        plate=(NUMBER % 4).tolist(),
        passed=[i % 2 == 0 for i in NUMBER],
        note=[f"note {i}: µ" for i in NUMBER],
    )
    wanted |= {"cell_names": list(names), "var": {"strand": ["+-"[i % 2] for i in range(GENES)]}, "obsm": {"X_pca": [CELLS, 5], "X_one": [CELLS, 1]}}
    case("tables", "old", wanted=wanted, notes=["raw/X does and is imported"])


# Zarr


def zarr_files():
    nullable = {
        "day": pd.array([None if i % 5 == 0 else int(i) for i in NUMBER], dtype="Int64"),
        "passed": pd.array([None if i % 7 == 0 else bool(i % 2) for i in NUMBER], dtype="boolean"),
        "half": (NUMBER / 8).astype(np.float16),
        "flag": pd.Categorical(NUMBER % 2 == 0),
    }
    for version in [2, 3]:
        anndata.settings.zarr_write_format = version
        name = f"columns_v{version}"
        data(**nullable).write_zarr(FOLDER / f"{name}.zarr")
        root = zarr.open_group(FOLDER / f"{name}.zarr", mode="r+", use_consolidated=False)
        obs = root["obs"]
        obs.create_array("pct/mt", data=NUMBER / 4)
        obs.create_array("complex", data=NUMBER + 1j)
        obs.create_array("two", data=np.zeros((CELLS, 2)))
        obs.create_group("list", attributes={"encoding-type": "awkward-array"})
        obs.attrs["column-order"] = [*obs.attrs["column-order"], "pct/mt", "complex", "two", "list", "beyond"]
        codes = (NUMBER % 3).astype(np.int32)
        codes[3] = -2147483648
        del root["obs/perturbation/codes"]
        root["obs/perturbation"].create_array("codes", data=codes)
        root["obsm"].create_group("sparse", attributes={"encoding-type": "csr_matrix"})
        kept = np.delete(NUMBER, 3)
        columns = {column: [plain(values)[i] for i in kept] for column, values in nullable.items() if column != "flag"}
        columns |= {"flag": [str(i % 2 == 0) for i in kept], "pct_mt_2": list(kept / 4)}
        wanted = expected(counts()[kept], perturbation=[LABELS[i % 3] for i in kept], **columns)
        left_out = ["complex", "two", "list", "beyond"]
        notes = [f"obs/{column} is left out" for column in left_out] + ["1 cell has no category", "obsm/sparse"]
        case("zarr", name, suffix=".zarr", wanted=wanted, notes=notes, options="--drop-unlabelled", absent=left_out)
        case("zarr", name, suffix=".zarr", refused=["obs/list", "awkward-array", "--context-key"], options="--context-key list")

        layered = data()
        layered.layers["counts"], layered.X = layered.X.copy(), None
        layered.write_zarr(FOLDER / f"no_x_v{version}.zarr")
        case("zarr", f"no_x_v{version}", suffix=".zarr", wanted=expected(), notes=["layers/counts"])

        data().write_zarr(FOLDER / f"mislabelled_v{version}.zarr")
        group = zarr.open_group(FOLDER / f"mislabelled_v{version}.zarr", mode="r+", use_consolidated=False)["X"]
        arrays = sp.csc_matrix(counts())
        for part in ["data", "indices", "indptr"]:
            del group[part]
            group.create_array(part, data=getattr(arrays, part))
        parts = ["X/indptr", "looks like a csc_matrix labelled csr_matrix"]
        case("zarr", f"mislabelled_v{version}", suffix=".zarr", refused=parts)

        # Names of cells without a table: as a group, and as an array in its place.
        fixed = np.array([f"cell{i}" for i in NUMBER])
        names = fixed.astype(np.dtypes.StringDType())
        everyone = expected(perturbation=["control"] * CELLS) | {"cell_names": [f"cell{i}" for i in NUMBER]}
        for kind in ["group", "other", "array", "fixed"]:
            path = FOLDER / f"names_{kind}_v{version}.zarr"
            data().write_zarr(path)
            root = zarr.open_group(path, mode="r+", use_consolidated=False)
            del root["obs"]
            if kind in ["array", "fixed"]:
                root.create_array("obs", data=names if kind == "array" else fixed)
            else:
                root.create_group("obs").create_array("_index" if kind == "group" else "barcodes", data=names)
            case("unlabelled", path, wanted=everyone)


def given(folder):
    """Files made elsewhere: X read by h5py alone."""

    def matrix(name, at="X"):
        with h5py.File(folder / f"{name}.h5ad") as file:
            group = file[at]
            parts = [group[part][()] for part in ["data", "indices", "indptr"]]
            return sp.csr_matrix(tuple(parts), shape=tuple(group.attrs["shape"])).toarray()

    def column(name, at):
        with h5py.File(folder / f"{name}.h5ad") as file:
            return file[f"obs/{at}"][()]

    def labels(name):
        with h5py.File(folder / f"{name}.h5ad") as file:
            group = file["obs/perturbation"]
            names = [text.decode() for text in group["categories"][()]]
            return [("control" if names[code].lower() in ["control", "ctrl", "non-targeting"] else names[code]) if 0 <= code < len(names) else None for code in group["codes"][()]]

    def add(name, at="X", keep=slice(None), notes=(), options="", **obs):
        if not (folder / f"{name}.h5ad").exists():
            return
        x = matrix(name, at)[keep]
        found = {column: list(values()) for column, values in obs.items()}
        case("given", folder / f"{name}.h5ad", wanted=expected(x, perturbation=[l for l in labels(name) if l is not None], **found), notes=notes, options=options)

    add("f16_column", score=lambda: map(float, column("f16_column", "score")))
    add("enum3_column", keep=slice(None))
    add("slash_column", pct_mt_2=lambda: map(float, column("slash_column", "pct/mt")), notes=["'pct/mt' is kept as 'pct_mt_2'"])
    add("x_null", "layers/counts", notes=["layers/counts"])
    add("dup_barcodes", notes=["1 name of cells occurs more than once"])
    add(
        "pct_mt_twice",
        source_pct_mt=lambda: map(float, column("pct_mt_twice", "source_pct_mt")),
        source_pct_mt_2=lambda: map(float, column("pct_mt_twice", "pct_mt")),
    )
    if (folder / "codes_out_of_range.h5ad").exists():
        kept = [at for at, label in enumerate(labels("codes_out_of_range")) if label is not None]
        add("codes_out_of_range", keep=kept, options="--drop-unlabelled", notes=["1 cell has no category"])
        case("given", folder / "codes_out_of_range.h5ad", refused=["1 cells have no label"])
        case("given", folder / "csc_as_csr.h5ad", refused=["indptr has 301 entries for 240 rows", "looks like a csc_matrix"])


filters()
h5_columns()
matrices()
old_tables()
zarr_files()
if len(sys.argv) > 2:
    given(Path(sys.argv[2]))
dump(FOLDER / "cases.json", CASES)
