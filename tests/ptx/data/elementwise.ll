; y = x * sigmoid-free gate: y[i] = max(x[i], 0) * s, as the LLVM back end's kernels look.
target triple = "nvptx64-nvidia-cuda"
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
declare float @llvm.maxnum.f32(float, float)

define void @elementwise(ptr addrspace(1) noalias readonly %x, ptr addrspace(1) noalias %y, float %s, i32 %count) {
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %b = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %n = call i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
  %o = mul i32 %b, %n
  %i = add i32 %o, %t
  %in = icmp slt i32 %i, %count
  br i1 %in, label %body, label %exit
body:
  %w = zext i32 %i to i64
  %p = getelementptr float, ptr addrspace(1) %x, i64 %w
  %v = load float, ptr addrspace(1) %p
  %m = call float @llvm.maxnum.f32(float %v, float 0.0)
  %r = fmul float %m, %s
  %q = getelementptr float, ptr addrspace(1) %y, i64 %w
  store float %r, ptr addrspace(1) %q
  br label %exit
exit:
  ret void
}
!nvvm.annotations = !{!0}
!0 = !{ptr @elementwise, !"kernel", i32 1}
