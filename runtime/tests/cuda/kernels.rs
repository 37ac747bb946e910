//! Small kernels, written by hand. Each is a module of its own.

/// The head of a module, up to the body of `name` with parameters of `types` called `p0`, `p1`, ...
fn entry(name: &str, types: &[&str], body: &str) -> String {
    let params: Vec<String> = types.iter().enumerate().map(|(i, ty)| format!(".param .{ty} p{i}")).collect();
    let loads: Vec<String> = types
        .iter()
        .enumerate()
        .map(|(i, ty)| match *ty {
            "u64" => format!("ld.param.u64 %rd{i}, [p{i}];"),
            _ => format!("ld.param.u32 %r{i}, [p{i}];"),
        })
        .collect();
    format!(
        ".version 7.0\n.target sm_80\n.address_size 64\n\
         .visible .entry {name}({})\n{{\n\
         .reg .pred %q<4>;\n.reg .b32 %r<20>;\n.reg .f32 %f<8>;\n.reg .b64 %rd<24>;\n{}\n\
         mov.u32 %r10, %ctaid.x;\nmov.u32 %r11, %ntid.x;\nmov.u32 %r12, %tid.x;\n\
         mad.lo.s32 %r13, %r10, %r11, %r12;\ncvt.u64.u32 %rd10, %r13;\n\
         {body}\nDONE:\nret;\n}}\n",
        params.join(", "),
        loads.join("\n"),
    )
}

/// `out[i] = a[i] + b[i]`, `n` by value as an `i32`: a, b, out; n.
pub(crate) fn add() -> String {
    entry(
        "add",
        &["u64", "u64", "u64", "u32"],
        "setp.ge.s32 %q0, %r13, %r3;\n@%q0 bra DONE;\nshl.b64 %rd11, %rd10, 2;\n\
         add.s64 %rd12, %rd0, %rd11;\nadd.s64 %rd13, %rd1, %rd11;\nadd.s64 %rd14, %rd2, %rd11;\n\
         ld.global.f32 %f0, [%rd12];\nld.global.f32 %f1, [%rd13];\nadd.f32 %f2, %f0, %f1;\nst.global.f32 [%rd14], %f2;",
    )
}

/// The same by a kernel that waits by itself for the launch before it.
pub(crate) fn add_behind() -> String {
    add()
        .replace(".target sm_80", ".target sm_90")
        .replace("7.0", "7.8")
        .replace("mov.u32 %r10", "griddepcontrol.wait;\nmov.u32 %r10")
}

/// `out[i] = a[i]`, `n` by value as an `i64`: a, out; n.
pub(crate) fn copy() -> String {
    entry(
        "copy",
        &["u64", "u64", "u64"],
        "setp.ge.s64 %q0, %rd10, %rd2;\n@%q0 bra DONE;\nshl.b64 %rd11, %rd10, 2;\n\
         add.s64 %rd12, %rd0, %rd11;\nadd.s64 %rd13, %rd1, %rd11;\n\
         ld.global.f32 %f0, [%rd12];\nst.global.f32 [%rd13], %f0;",
    )
}

/// Row `past` of a cache becomes `row`, its sizes in memory: row, cache; past, width.
pub(crate) fn append() -> String {
    entry(
        "append",
        &["u64", "u64", "u64"],
        "ld.global.s64 %rd15, [%rd2];\nld.global.s64 %rd16, [%rd2+8];\n\
         setp.ge.s64 %q0, %rd10, %rd16;\n@%q0 bra DONE;\n\
         mul.lo.s64 %rd17, %rd15, %rd16;\nadd.s64 %rd17, %rd17, %rd10;\nshl.b64 %rd17, %rd17, 2;\n\
         shl.b64 %rd11, %rd10, 2;\nadd.s64 %rd12, %rd0, %rd11;\nadd.s64 %rd13, %rd1, %rd17;\n\
         ld.global.f32 %f0, [%rd12];\nst.global.f32 [%rd13], %f0;",
    )
}

/// Sums of columns over the first `past + 1` rows of a cache, its sizes in memory: cache, out; past, width.
pub(crate) fn sum() -> String {
    entry(
        "sum",
        &["u64", "u64", "u64"],
        "ld.global.s64 %rd15, [%rd2];\nld.global.s64 %rd16, [%rd2+8];\n\
         setp.ge.s64 %q0, %rd10, %rd16;\n@%q0 bra DONE;\n\
         mov.b64 %rd18, 0;\nmov.f32 %f0, 0f00000000;\nshl.b64 %rd11, %rd10, 2;\nadd.s64 %rd12, %rd0, %rd11;\n\
         shl.b64 %rd19, %rd16, 2;\n\
         ROW:\nld.global.f32 %f1, [%rd12];\nadd.f32 %f0, %f0, %f1;\nadd.s64 %rd12, %rd12, %rd19;\n\
         add.s64 %rd18, %rd18, 1;\nsetp.le.s64 %q1, %rd18, %rd15;\n@%q1 bra ROW;\n\
         add.s64 %rd13, %rd1, %rd11;\nst.global.f32 [%rd13], %f0;",
    )
}

/// `out[i] = table[ids[i]]`, and an error where that is outside its `rows`: ids, table, out, errors; n, rows.
pub(crate) fn look_up() -> String {
    entry(
        "look_up",
        &["u64", "u64", "u64", "u64", "u32", "u32"],
        "setp.ge.s32 %q0, %r13, %r4;\n@%q0 bra DONE;\n\
         shl.b64 %rd11, %rd10, 3;\nadd.s64 %rd12, %rd0, %rd11;\nld.global.u64 %rd13, [%rd12];\n\
         cvt.u64.u32 %rd14, %r5;\nsetp.lt.u64 %q1, %rd13, %rd14;\n@%q1 bra FINE;\n\
         mov.b32 %r14, 1;\nst.global.u32 [%rd3], %r14;\nbra DONE;\n\
         FINE:\nshl.b64 %rd15, %rd13, 2;\nadd.s64 %rd15, %rd1, %rd15;\nld.global.f32 %f0, [%rd15];\n\
         shl.b64 %rd16, %rd10, 2;\nadd.s64 %rd16, %rd2, %rd16;\nst.global.f32 [%rd16], %f0;",
    )
}

/// `x[0] = x[0] * 2 + index[0]` of integers: x, index.
pub(crate) fn step() -> String {
    entry(
        "step",
        &["u64", "u64"],
        "setp.ne.s32 %q0, %r13, 0;\n@%q0 bra DONE;\n\
         ld.global.s64 %rd11, [%rd0];\nld.global.s64 %rd12, [%rd1];\n\
         shl.b64 %rd11, %rd11, 1;\nadd.s64 %rd11, %rd11, %rd12;\nst.global.u64 [%rd0], %rd11;",
    )
}

/// `out[0] = a[0]` of integers: a, out.
pub(crate) fn set() -> String {
    entry(
        "set",
        &["u64", "u64"],
        "setp.ne.s32 %q0, %r13, 0;\n@%q0 bra DONE;\nld.global.s64 %rd11, [%rd0];\nst.global.u64 [%rd1], %rd11;",
    )
}

/// Whether `x[0] < limit[0]` as a byte: x, limit, out.
pub(crate) fn below() -> String {
    entry(
        "below",
        &["u64", "u64", "u64"],
        "setp.ne.s32 %q0, %r13, 0;\n@%q0 bra DONE;\nld.global.s64 %rd11, [%rd0];\nld.global.s64 %rd12, [%rd1];\n\
         setp.lt.s64 %q1, %rd11, %rd12;\nselp.u32 %r14, 1, 0, %q1;\nst.global.u8 [%rd2], %r14;",
    )
}

/// `out[i] = i` of floats for the `n` that a step computed: out; n.
pub(crate) fn count() -> String {
    entry(
        "count",
        &["u64", "u32"],
        "setp.ge.s32 %q0, %r13, %r1;\n@%q0 bra DONE;\n\
         shl.b64 %rd11, %rd10, 2;\nadd.s64 %rd12, %rd0, %rd11;\ncvt.rn.f32.s32 %f0, %r13;\nst.global.f32 [%rd12], %f0;",
    )
}
