// C[m,n] = A[m,k] * B[n,k]^T in s8 with s32 sums, one warp a 16 x 8 tile, fragments straight from global memory;
// any m and n, k a multiple of 32. Beside it the same product by dp4a, one thread an output.
extern "C" __global__ void gemm_s8(const int *a, const int *b, int *c, int m, int n, int k) {
    int lane = threadIdx.x, row = blockIdx.y * 16 + lane / 4, col = blockIdx.x * 8 + lane / 4, words = k / 4;
    int sum[4] = {};
    for (int k0 = 0; k0 < words; k0 += 8) {
        int x = k0 + lane % 4;
        int a0 = row < m ? a[row * words + x] : 0, a1 = row + 8 < m ? a[(row + 8) * words + x] : 0;
        int a2 = row < m ? a[row * words + x + 4] : 0, a3 = row + 8 < m ? a[(row + 8) * words + x + 4] : 0;
        int b0 = col < n ? b[col * words + x] : 0, b1 = col < n ? b[col * words + x + 4] : 0;
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
                     : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    }
    for (int h = 0; h < 2; h++)
        for (int e = 0; e < 2; e++) {
            int r = row + h * 8, x = blockIdx.x * 8 + (lane % 4) * 2 + e;
            if (r < m && x < n) c[r * n + x] = sum[h * 2 + e];
        }
}

extern "C" __global__ void dots_s8(const int *a, const int *b, int *c, int m, int n, int k) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= m * n) return;
    int sum = 0;
    for (int x = 0; x < k / 4; x++) sum = __dp4a(a[(i / n) * (k / 4) + x], b[(i % n) * (k / 4) + x], sum);
    c[i] = sum;
}
