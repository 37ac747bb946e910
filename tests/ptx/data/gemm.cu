// C[m,n] = A[m,k] * B[k,n] + bias[n] in f16 with f32 sums; any m, n a multiple of 8, k a multiple of 8.
// 64 x 64 tiles, K steps of 32 in two stages of cp.async whose tails are filled with zeros; four warps of 32 x 32.
#include <cuda_fp16.h>

constexpr int TILE = 64, STEP = 32, A_PITCH = STEP + 8, B_PITCH = TILE + 8;

__device__ inline void copy16(void *to, const void *from, bool inside) {
    unsigned address = (unsigned)__cvta_generic_to_shared(to);
    int bytes = inside ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes));
}

extern "C" __global__ void __launch_bounds__(128)
gemm(const __half *a, const __half *b, const __half *bias, float *c, int m, int n, int k) {
    __shared__ __align__(16) __half a_sh[2][TILE * A_PITCH];
    __shared__ __align__(16) __half b_sh[2][STEP * B_PITCH];
    int thread = threadIdx.x, warp = thread / 32, lane = thread % 32;
    int row0 = blockIdx.y * TILE, col0 = blockIdx.x * TILE;
    int warp_row = (warp / 2) * 32, warp_col = (warp % 2) * 32;
    float sum[2][4][4] = {};

    auto fetch = [&](int stage, int k0) {
        for (int i = thread; i < TILE * STEP / 8; i += 128) {
            int r = i / (STEP / 8), x = (i % (STEP / 8)) * 8;
            bool inside = row0 + r < m && k0 + x < k;
            copy16(&a_sh[stage][r * A_PITCH + x], inside ? a + (size_t)(row0 + r) * k + k0 + x : a, inside);
        }
        for (int i = thread; i < STEP * TILE / 8; i += 128) {
            int r = i / (TILE / 8), x = (i % (TILE / 8)) * 8;
            bool inside = k0 + r < k && col0 + x < n;
            copy16(&b_sh[stage][r * B_PITCH + x], inside ? b + (size_t)(k0 + r) * n + col0 + x : b, inside);
        }
        asm volatile("cp.async.commit_group;");
    };

    int steps = (k + STEP - 1) / STEP;
    fetch(0, 0);
    for (int s = 0; s < steps; s++) {
        if (s + 1 < steps) {
            fetch((s + 1) & 1, (s + 1) * STEP);
            asm volatile("cp.async.wait_group 1;");
        } else {
            asm volatile("cp.async.wait_group 0;");
        }
        __syncthreads();
        const __half *as = a_sh[s & 1], *bs = b_sh[s & 1];
        for (int kk = 0; kk < STEP; kk += 16) {
            unsigned af[2][4], bf[4][2];
            for (int i = 0; i < 2; i++) {
                const __half *p = as + (warp_row + i * 16 + lane % 16) * A_PITCH + kk + (lane / 16) * 8;
                unsigned address = (unsigned)__cvta_generic_to_shared(p);
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                             : "=r"(af[i][0]), "=r"(af[i][1]), "=r"(af[i][2]), "=r"(af[i][3]) : "r"(address));
            }
            for (int j = 0; j < 4; j++) {
                const __half *p = bs + (kk + lane % 16) * B_PITCH + warp_col + j * 8;
                unsigned address = (unsigned)__cvta_generic_to_shared(p);
                asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                             : "=r"(bf[j][0]), "=r"(bf[j][1]) : "r"(address));
            }
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 4; j++)
                    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                                 : "+f"(sum[i][j][0]), "+f"(sum[i][j][1]), "+f"(sum[i][j][2]), "+f"(sum[i][j][3])
                                 : "r"(af[i][0]), "r"(af[i][1]), "r"(af[i][2]), "r"(af[i][3]), "r"(bf[j][0]), "r"(bf[j][1]));
        }
        __syncthreads();
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++)
            for (int h = 0; h < 2; h++) {
                int r = row0 + warp_row + i * 16 + lane / 4 + h * 8, x = col0 + warp_col + j * 8 + (lane % 4) * 2;
                if (r < m && x < n) {
                    c[(size_t)r * n + x] = sum[i][j][h * 2] + __half2float(bias[x]);
                    c[(size_t)r * n + x + 1] = sum[i][j][h * 2 + 1] + __half2float(bias[x + 1]);
                }
            }
}
