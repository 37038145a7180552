"""Reads a safetensors file with the format's own library.

    read_safetensors.py FILE

Prints one JSON object: for each tensor its type, its shape and whether all of its values are finite.
"""

import json
import sys

import numpy as np
from safetensors.numpy import load_file

tensors = load_file(sys.argv[1])
print(json.dumps({name: [str(t.dtype), list(t.shape), bool(np.isfinite(t).all())] for name, t in tensors.items()}))
