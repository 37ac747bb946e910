// Softmax of each row of f32[rows, width], one block a row, any width: shuffles within warps, shared memory between.
__device__ inline float fold(float v, float *room, bool largest) {
    for (int step = 16; step > 0; step >>= 1) {
        float other = __shfl_xor_sync(0xffffffffu, v, step);
        v = largest ? fmaxf(v, other) : v + other;
    }
    int warp = threadIdx.x / 32, warps = blockDim.x / 32;
    if (threadIdx.x % 32 == 0) room[warp] = v;
    __syncthreads();
    v = room[0];
    for (int w = 1; w < warps; w++) v = largest ? fmaxf(v, room[w]) : v + room[w];
    __syncthreads();
    return v;
}

extern "C" __global__ void softmax(const float *x, float *y, int width) {
    __shared__ float room[32];
    extern __shared__ float row[];
    const float *in = x + (size_t)blockIdx.x * width;
    float largest = -__int_as_float(0x7f800000);
    for (int i = threadIdx.x; i < width; i += blockDim.x) largest = fmaxf(largest, row[i] = in[i]);
    largest = fold(largest, room, true);
    float sum = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += row[i] = __expf(row[i] - largest);
    sum = fold(sum, room, false);
    for (int i = threadIdx.x; i < width; i += blockDim.x) y[(size_t)blockIdx.x * width + i] = row[i] / sum;
}
