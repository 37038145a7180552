// Sparse rows to dense log-normalised rows (expression/mod.rs).
//
// A block makes one tile of one row: it scatters into shared memory, where a write to any place costs the same, and
// then writes the tile out in order. A row that names no column twice has no two threads at one place.

// totals: null where the values are log-normalised already. places: null for all columns in order.
template <typename V, typename C, typename T>
__device__ void log_normalise(const u64* indptr, const C* indices, const V* values, u64 stored, const float* totals,
                              const u32* places, u32 columns, u32 width, u32 tile, T* out, u32* fault) {
    extern __shared__ float dense[];
    const u64 row = blockIdx.x;
    const u32 first = blockIdx.y * tile;
    const u32 size = min(tile, width - first);
    for (u32 at = threadIdx.x; at < size; at += blockDim.x) {
        dense[at] = 0.0f;
    }
    __syncthreads();
    const Span row_span = span(indptr, row, stored, fault);
    const float scale = totals == nullptr ? 0.0f : factor(totals[row]);
    for (u64 at = row_span.begin + threadIdx.x; at < row_span.end; at += blockDim.x) {
        const u32 column = indices[at];
        if (column >= columns) {
            atomicMin(fault, static_cast<u32>(row));
            continue;
        }
        const u32 place = places == nullptr ? column : places[column];
        // A place below the tile wraps round to beyond it.
        if (place < width && place - first < size) {
            const float value = static_cast<float>(values[at]);
            dense[place - first] = totals == nullptr ? value : ln_1p(value * scale);
        }
    }
    __syncthreads();
    T* const row_out = out + row * width + first;
    for (u32 at = threadIdx.x; at < size; at += blockDim.x) {
        row_out[at] = from_f32<T>(dense[at]);
    }
}

#define ENTRY_TO(V, C, T) \
    extern "C" __global__ void log_normalise_##V##_##C##_##T( \
        const u64* indptr, const C* indices, const V* values, u64 stored, const float* totals, const u32* places, \
        u32 columns, u32 width, u32 tile, T* out, u32* fault) { \
        log_normalise<V, C, T>(indptr, indices, values, stored, totals, places, columns, width, tile, out, fault); \
    }
#define ENTRY(V, C) ENTRY_TO(V, C, f32) ENTRY_TO(V, C, bf16)
FOR_ALL_ROWS(ENTRY)
