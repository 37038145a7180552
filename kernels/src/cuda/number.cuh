// Numbers as the Rust side has them (number.rs, logarithm.rs). Compiled without fused operations, with exact division
// and with subnormal numbers: every operation is rounded as IEEE 754 says, so the bits are those of the CPU.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef float f32;

// A bfloat16, by its bits.
struct bf16 {
    u16 bits;
};

template <typename T> __device__ T from_f32(float value);

template <> __device__ inline float from_f32<float>(float value) { return value; }

template <> __device__ inline bf16 from_f32<bf16>(float value) {
    const u32 bits = __float_as_uint(value);
    const u32 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const u32 quiet = (bits >> 16) | 0x0040u;
    return bf16{static_cast<u16>(value != value ? quiet : rounded)};
}

__device__ inline float to_f32(float value) { return value; }

__device__ inline float to_f32(bf16 value) { return __uint_as_float(static_cast<u32>(value.bits) << 16); }

// ln(1 + x) for x >= 0: logarithm.rs says how.
__device__ inline float ln_1p(float x) {
    const float ln2_high = 355.0f / 512.0f;
    const float ln2_low = static_cast<float>(0.693147180559945309417232121458 - 355.0 / 512.0);
    const u32 sqrt_half = 0x3f3504f3u;
    const float u = 1.0f + x;
    const float lost = (x - (u - 1.0f)) / u;
    const u32 shifted = __float_as_uint(u) - sqrt_half;
    const float exponent = static_cast<float>(static_cast<int>(shifted) >> 23);
    const float f = __uint_as_float((shifted & 0x007fffffu) + sqrt_half) - 1.0f;
    const float s = f / (2.0f + f);
    const float w = s * s;
    const float tail = w * (2.0f / 3.0f + w * (2.0f / 5.0f + w * (2.0f / 7.0f + w * (2.0f / 9.0f))));
    const float half = 0.5f * f * f;
    return exponent * ln2_high + (f - (half - (s * (half + tail) + (exponent * ln2_low + lost))));
}

// What a count is multiplied by: 10^4 / library size, or 0 for an empty cell.
__device__ inline float factor(float total) { return total > 0.0f ? 1e4f / total : 0.0f; }

// Where a row begins and ends. What indptr says is not trusted: a row that goes beyond the `stored` values is empty and
// a fault.
struct Span {
    u64 begin, end;
};

__device__ inline Span span(const u64* indptr, u64 row, u64 stored, u32* fault) {
    const Span span = {indptr[row], indptr[row + 1]};
    if (span.begin <= span.end && span.end <= stored) {
        return span;
    }
    atomicMin(fault, static_cast<u32>(row));
    return Span{0, 0};
}

// One entry point per type of value and of column.
#define FOR_ALL_ROWS(ENTRY) \
    ENTRY(u8, u16) ENTRY(u8, u32) ENTRY(u16, u16) ENTRY(u16, u32) \
    ENTRY(u32, u16) ENTRY(u32, u32) ENTRY(f32, u16) ENTRY(f32, u32)
