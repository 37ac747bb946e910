// A histogram through shared memory, a maximum by compare and swap, and a sum whose last block folds what all blocks wrote.
extern "C" __global__ void histogram(const unsigned char *x, int count, unsigned *bins) {
    __shared__ unsigned local[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) atomicAdd(&local[x[i]], 1u);
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x)
        if (local[i]) atomicAdd(&bins[i], local[i]);
}

extern "C" __global__ void largest(const float *x, int count, unsigned *result) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    unsigned seen = *(volatile unsigned *)result;
    while (__uint_as_float(seen) < x[i]) {
        unsigned before = atomicCAS(result, seen, __float_as_uint(x[i]));
        if (before == seen) break;
        seen = before;
    }
}

extern "C" __global__ void sum(const float *x, int count, float *parts, unsigned *done, float *result) {
    __shared__ float room[8];
    __shared__ bool last;
    float v = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) v += x[i];
    for (int step = 16; step > 0; step >>= 1) v += __shfl_xor_sync(0xffffffffu, v, step);
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = v;
    __syncthreads();
    if (threadIdx.x == 0) {
        float block = 0.0f;
        for (int w = 0; w < blockDim.x / 32; w++) block += room[w];
        parts[blockIdx.x] = block;
        __threadfence();
        last = atomicInc(done, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        __threadfence();
        float all = 0.0f;
        for (int b = 0; b < gridDim.x; b++) all += parts[b];
        *result = all;
    }
}
