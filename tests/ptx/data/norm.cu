// RMS norm of each row with a gain, SiLU behind it, and the row as 8-bit codes with one scale; one block a row.
#include <cuda_bf16.h>

extern "C" __global__ void rms_norm(const float *x, const float *gain, signed char *codes, float *scale, __nv_bfloat16 *y, int width, float epsilon) {
    __shared__ float room[33];
    const float *in = x + (size_t)blockIdx.x * width;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += in[i] * in[i];
    for (int step = 16; step > 0; step >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = threadIdx.x < blockDim.x / 32 ? room[threadIdx.x] : 0.0f;
        for (int step = 16; step > 0; step >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, step);
        if (threadIdx.x == 0) room[32] = rsqrtf(sum / width + epsilon);
    }
    __syncthreads();
    float factor = room[32];
    __shared__ unsigned largest;
    if (threadIdx.x == 0) largest = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float v = in[i] * factor * gain[i];
        v = v / (1.0f + __expf(-v));
        atomicMax(&largest, __float_as_uint(fabsf(v)));
    }
    __syncthreads();
    float step = __uint_as_float(largest) / 127.0f, inverse = step > 0.0f ? 1.0f / step : 0.0f;
    if (threadIdx.x == 0) scale[blockIdx.x] = step;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float v = in[i] * factor * gain[i];
        v = v / (1.0f + __expf(-v));
        codes[(size_t)blockIdx.x * width + i] = (signed char)__float2int_rn(v * inverse);
        y[(size_t)blockIdx.x * width + i] = __float2bfloat16(v);
    }
}
