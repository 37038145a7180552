// Moments of the columns of sparse rows (moments/mod.rs), the same in every run: no sum depends on timing.
//
// `moments_*`: a block takes a slab of rows and a tile of columns through shared memory, row after row, so that each
// column's values are added in the order of the rows. `fold` then joins the slabs in order.

// Sums of a column about the first value of its slab: with d = value - pivot, of 1, d and d^2.
struct Sums {
    double pivot, count, sum, squares;
};

enum Space { STORED, LOG, NORMALISED };

__device__ inline double transformed(float value, double exact, int space, const float* totals, u64 row) {
    if (space == STORED || (space == LOG && totals == nullptr)) {
        return exact;
    }
    if (space == LOG) {
        return ln_1p(value * factor(totals[row]));
    }
    if (totals == nullptr) {
        return expm1(exact);
    }
    return totals[row] > 0.0f ? 1e4 * exact / totals[row] : 0.0;
}

// totals: null where the values are log-normalised already. ceiling: of every column, or null.
// partial: for every slab the counts of all columns, then their sums, then their squares about the mean.
template <typename V, typename C>
__device__ void moments(const u64* indptr, const C* indices, const V* values, u64 stored, u64 rows, int space,
                        const float* totals, const double* ceiling, u32 columns, u32 tile, u64 slab, double* partial,
                        u32* fault) {
    extern __shared__ Sums sums[];
    const u32 first = blockIdx.y * tile;
    const u32 size = min(tile, columns - first);
    for (u32 at = threadIdx.x; at < size; at += blockDim.x) {
        sums[at] = Sums{0.0, 0.0, 0.0, 0.0};
    }
    const u64 begin = blockIdx.x * slab;
    const u64 end = min(begin + slab, rows);
    for (u64 row = begin; row < end; ++row) {
        __syncthreads();
        const Span row_span = span(indptr, row, stored, fault);
        for (u64 at = row_span.begin + threadIdx.x; at < row_span.end; at += blockDim.x) {
            const u32 column = indices[at];
            if (column >= columns) {
                atomicMin(fault, static_cast<u32>(row));
                continue;
            }
            // A column below the tile wraps round to beyond it.
            if (column - first >= size) {
                continue;
            }
            const V raw = values[at];
            double value = transformed(static_cast<float>(raw), static_cast<double>(raw), space, totals, row);
            if (ceiling != nullptr) {
                value = fmin(value, ceiling[column]);
            }
            if (value != 0.0) {
                Sums& own = sums[column - first];
                if (own.count == 0.0) {
                    own.pivot = value;
                }
                const double distance = value - own.pivot;
                own.count += 1.0;
                own.sum += distance;
                own.squares += distance * distance;
            }
        }
    }
    __syncthreads();
    double* const own_partial = partial + static_cast<u64>(blockIdx.x) * 3 * columns + first;
    for (u32 at = threadIdx.x; at < size; at += blockDim.x) {
        const Sums own = sums[at];
        const double mean = own.count > 0.0 ? own.sum / own.count : 0.0;
        own_partial[at] = own.count;
        own_partial[at + columns] = own.sum + own.count * own.pivot;
        own_partial[at + 2ull * columns] = fmax(own.squares - mean * own.sum, 0.0);
    }
}

#define ENTRY(V, C) \
    extern "C" __global__ void moments_##V##_##C( \
        const u64* indptr, const C* indices, const V* values, u64 stored, u64 rows, int space, const float* totals, \
        const double* ceiling, u32 columns, u32 tile, u64 slab, double* partial, u32* fault) { \
        moments<V, C>(indptr, indices, values, stored, rows, space, totals, ceiling, columns, tile, slab, partial, fault); \
    }
FOR_ALL_ROWS(ENTRY)

// Joins the slabs of every column, by the formula of Chan, Golub & LeVeque, into one row of `out` laid out like a slab.
extern "C" __global__ void fold(const double* partial, u32 slabs, u32 columns, double* out) {
    const u32 column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= columns) {
        return;
    }
    double count = 0.0, sum = 0.0, m2 = 0.0;
    for (u32 slab = 0; slab < slabs; ++slab) {
        const double* const part = partial + static_cast<u64>(slab) * 3 * columns + column;
        const double more = part[0], more_sum = part[columns], more_m2 = part[2ull * columns];
        if (count > 0.0 && more > 0.0) {
            const double distance = more_sum / more - sum / count;
            m2 += distance * distance * (count / (count + more) * more);
        }
        count += more;
        sum += more_sum;
        m2 += more_m2;
    }
    out[column] = count;
    out[column + columns] = sum;
    out[column + 2ull * columns] = m2;
}
