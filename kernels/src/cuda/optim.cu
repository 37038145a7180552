// The optimizer step on flat state and its conversions (optim/), with the bits of the CPU.

// optim/update.rs, `Constants`.
struct Constants {
    float grad_scale, beta1, one_minus_beta1, beta2, one_minus_beta2, step_size, inverse_root_correction, eps, keep, pull;
};

__device__ inline u64 own() { return static_cast<u64>(blockIdx.x) * blockDim.x + threadIdx.x; }

// shadow, teacher, teacher_shadow: null where there is none. Gradients are written only if they are zeroed.
template <typename G>
__device__ void update(float* params, G* grads, u32 zeroed, float* m, float* v, bf16* shadow, float* teacher,
                       bf16* teacher_shadow, const Constants& k, u64 count) {
    const u64 at = own();
    if (at >= count) {
        return;
    }
    const float g = to_f32(grads[at]) * k.grad_scale;
    if (zeroed) {
        grads[at] = from_f32<G>(0.0f);
    }
    const float m_new = k.beta1 * m[at] + k.one_minus_beta1 * g;
    const float v_new = k.beta2 * v[at] + k.one_minus_beta2 * g * g;
    const float denominator = sqrtf(v_new) * k.inverse_root_correction + k.eps;
    const float w = params[at] * k.keep - k.step_size * m_new / denominator;
    m[at] = m_new;
    v[at] = v_new;
    params[at] = w;
    if (shadow != nullptr) {
        shadow[at] = from_f32<bf16>(w);
    }
    if (teacher != nullptr) {
        const float old = teacher[at];
        const float t = old + k.pull * (w - old);
        teacher[at] = t;
        if (teacher_shadow != nullptr) {
            teacher_shadow[at] = from_f32<bf16>(t);
        }
    }
}

// optim/norm.rs: a warp sums one block of 4096 gradients, thread i those at i, i + 32, ...; then halves are added.
template <typename G>
__device__ void square_sums(const G* __restrict__ grads, u64 count, double* __restrict__ sums) {
    const u64 block = own() / 32;
    const u64 begin = block * 4096;
    if (begin >= count) {
        return;
    }
    const u64 end = min(begin + 4096, count);
    const u32 lane = threadIdx.x % 32;
    double sum = 0.0;
#pragma unroll 8
    for (u64 at = begin + lane; at < end; at += 32) {
        const double g = to_f32(grads[at]);
        sum += g * g;
    }
    for (u32 width = 16; width > 0; width /= 2) {
        sum += __shfl_down_sync(0xffffffffu, sum, width);
    }
    if (lane == 0) {
        sums[block] = sum;
    }
}

template <typename A, typename B>
__device__ void convert(const A* values, B* out, u64 count) {
    const u64 at = own();
    if (at < count) {
        out[at] = from_f32<B>(to_f32(values[at]));
    }
}

#define ENTRY(G) \
    extern "C" __global__ void update_##G(float* params, G* grads, u32 zeroed, float* m, float* v, bf16* shadow, \
                                          float* teacher, bf16* teacher_shadow, Constants constants, u64 count) { \
        update<G>(params, grads, zeroed, m, v, shadow, teacher, teacher_shadow, constants, count); \
    } \
    extern "C" __global__ void square_sums_##G(const G* grads, u64 count, double* sums) { \
        square_sums<G>(grads, count, sums); \
    }
ENTRY(f32)
ENTRY(bf16)

extern "C" __global__ void convert_f32_bf16(const f32* values, bf16* out, u64 count) { convert(values, out, count); }
extern "C" __global__ void convert_bf16_f32(const bf16* values, f32* out, u64 count) { convert(values, out, count); }
