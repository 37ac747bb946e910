// y[n] = (codes[n,k] - 8) * scale[n, k / group] * x[k]: 4-bit codes, eight in a word in the order 0 2 4 6 1 3 5 7, so that
// one lop3 with a shift gives two neighbouring halves; one warp a row, group a multiple of 8, any n.
#include <cuda_fp16.h>

__device__ inline __half2 pair(unsigned word) {
    unsigned bits;
    asm("lop3.b32 %0, %1, 0x000f000f, 0x64006400, 0xea;" : "=r"(bits) : "r"(word));
    __half2 codes = *reinterpret_cast<__half2 *>(&bits);
    return __hsub2(codes, __float2half2_rn(1032.0f));
}

extern "C" __global__ void gemv_w4(const unsigned *codes, const __half *scales, const __half2 *x, __half *y, int n, int k, int group) {
    int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= n) return;
    float sum = 0.0f;
    for (int w = lane; w < k / 8; w += 32) {
        unsigned word = __ldg(codes + (size_t)row * (k / 8) + w);
        __half2 part = __float2half2_rn(0.0f);
        for (int i = 0; i < 4; i++) part = __hfma2(pair(word >> (4 * i)), x[w * 4 + i], part);
        float2 two = __half22float2(part);
        sum += (two.x + two.y) * __half2float(scales[row * (k / group) + w * 8 / group]);
    }
    for (int step = 16; step > 0; step >>= 1) sum += __shfl_down_sync(0xffffffffu, sum, step);
    if (lane == 0) y[row] = __float2half(sum);
}

// The same bytes as prmt takes them apart: y[i] = byte i of x as u8 -> f32, by the exponent trick.
extern "C" __global__ void bytes_to_floats(const unsigned *x, float4 *y, int words) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= words) return;
    float v[4];
    for (int b = 0; b < 4; b++) v[b] = __int_as_float(__byte_perm(x[i], 0x4b000000u, 0x7650 + b)) - 8388608.0f;
    y[i] = make_float4(v[0], v[1], v[2], v[3]);
}
