; y[row] = sum of x[row, :] in halves, one block of 128 threads a row: strided sums, shuffles, shared memory.
target triple = "nvptx64-nvidia-cuda"
@room = internal addrspace(3) global [4 x float] undef, align 4
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare void @llvm.nvvm.barrier0()
declare float @llvm.nvvm.shfl.sync.bfly.f32(i32, float, i32, i32)

define void @reduction(ptr addrspace(1) noalias readonly %x, ptr addrspace(1) noalias %y, i32 %width) {
entry:
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %b = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %o = mul i32 %b, %width
  %o64 = sext i32 %o to i64
  %row = getelementptr half, ptr addrspace(1) %x, i64 %o64
  %any = icmp slt i32 %t, %width
  br i1 %any, label %loop, label %fold
loop:
  %i = phi i32 [ %t, %entry ], [ %next, %loop ]
  %s = phi float [ 0.0, %entry ], [ %s1, %loop ]
  %i64 = zext i32 %i to i64
  %p = getelementptr half, ptr addrspace(1) %row, i64 %i64
  %h = load half, ptr addrspace(1) %p
  %f = fpext half %h to float
  %s1 = fadd float %s, %f
  %next = add i32 %i, 128
  %more = icmp slt i32 %next, %width
  br i1 %more, label %loop, label %fold
fold:
  %v0 = phi float [ 0.0, %entry ], [ %s1, %loop ]
  %x1 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v0, i32 16, i32 31)
  %v1 = fadd float %v0, %x1
  %x2 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v1, i32 8, i32 31)
  %v2 = fadd float %v1, %x2
  %x3 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v2, i32 4, i32 31)
  %v3 = fadd float %v2, %x3
  %x4 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v3, i32 2, i32 31)
  %v4 = fadd float %v3, %x4
  %x5 = call float @llvm.nvvm.shfl.sync.bfly.f32(i32 -1, float %v4, i32 1, i32 31)
  %v5 = fadd float %v4, %x5
  %lane = and i32 %t, 31
  %first = icmp eq i32 %lane, 0
  br i1 %first, label %put, label %meet
put:
  %w = lshr i32 %t, 5
  %w64 = zext i32 %w to i64
  %q = getelementptr [4 x float], ptr addrspace(3) @room, i64 0, i64 %w64
  store float %v5, ptr addrspace(3) %q
  br label %meet
meet:
  call void @llvm.nvvm.barrier0()
  %zero = icmp eq i32 %t, 0
  br i1 %zero, label %last, label %exit
last:
  %a0 = load float, ptr addrspace(3) @room
  %q1 = getelementptr [4 x float], ptr addrspace(3) @room, i64 0, i64 1
  %a1 = load float, ptr addrspace(3) %q1
  %q2 = getelementptr [4 x float], ptr addrspace(3) @room, i64 0, i64 2
  %a2 = load float, ptr addrspace(3) %q2
  %q3 = getelementptr [4 x float], ptr addrspace(3) @room, i64 0, i64 3
  %a3 = load float, ptr addrspace(3) %q3
  %b1 = fadd float %a0, %a1
  %b2 = fadd float %a2, %a3
  %b3 = fadd float %b1, %b2
  %b64 = zext i32 %b to i64
  %r = getelementptr float, ptr addrspace(1) %y, i64 %b64
  store float %b3, ptr addrspace(1) %r
  br label %exit
exit:
  ret void
}
!nvvm.annotations = !{!0}
!0 = !{ptr @reduction, !"kernel", i32 1}
