//! What the tests share: a device with buffers, launches from PTX text, kernels from snippets.
#![allow(dead_code, reason = "each test program uses a part of it")]

use actc_ptx::{Cost, Fault, Finding, Memory, Module, Shape, Target};
use bytemuck::Pod;

/// Text of `tests/ptx/data/<name>.ptx`.
pub fn data(name: &str) -> String {
    let path = format!("{}/data/{name}.ptx", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A device.
pub struct Gpu {
    pub memory: Memory,
    pub target: Target,
}

impl Gpu {
    pub fn new(target: Target) -> Self {
        Self { memory: Memory::new(1 << 30), target }
    }

    pub fn put<T: Pod>(&mut self, values: &[T]) -> u64 {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let address = self.room(bytes.len());
        self.memory.write(address, bytes).expect("it was allocated");
        address
    }

    /// Bytes that nobody has written.
    pub fn room(&mut self, bytes: usize) -> u64 {
        self.memory.allocate(bytes as u64).expect("memory is left")
    }

    pub fn get<T: Pod>(&mut self, address: u64, count: usize) -> Vec<T> {
        let bytes = self.memory.read(address, count * size_of::<T>()).expect("it was allocated");
        bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
    }

    pub fn launch(&mut self, ptx: &str, kernel: &str, shape: &Shape, params: &[&[u8]]) -> Result<Cost, Box<Finding>> {
        let module = Module::load(ptx, self.target, &mut self.memory).unwrap_or_else(|e| panic!("{e}"));
        let packed = module.kernel(kernel).expect("the module has it").pack(params).expect("parameters fit");
        module.launch(kernel, shape, &packed, &mut self.memory)
    }
}

/// A kernel `k` with parameters `p0`, `p1`, … of 64 bits, already loaded into `%p0`…: `%rd0`, `%rd1`, …; other registers are
/// `%p`, `%rs`, `%r`, `%f`, `%d` and `%rd` by number.
pub fn kernel(params: usize, before: &str, body: &str) -> String {
    let list: Vec<String> = (0..params).map(|i| format!(".param .u64 p{i}")).collect();
    let loads: String = (0..params).map(|i| format!("ld.param.u64 %rd{i}, [p{i}];\n")).collect();
    format!(
        ".version 8.5\n.target sm_90\n.address_size 64\n{before}\n.visible .entry k({})\n{{\n.reg .pred %p<20>;\n.reg .b16 %rs<40>;\n\
         .reg .b32 %r<80>;\n.reg .f32 %f<40>;\n.reg .f64 %d<20>;\n.reg .b64 %rd<40>;\n{loads}\n{body}\nret;\n}}\n",
        list.join(", ")
    )
}

/// Runs `body` in one thread for each row of inputs: words of 64 bits from `%rd10` on, results stored from `%rd20` on.
pub fn each<const N: usize, const M: usize>(rows: &[[u64; N]], body: &str) -> Vec<[u64; M]> {
    let mut text = String::from(
        "mov.u32 %r70, %ctaid.x; mov.u32 %r71, %ntid.x; mov.u32 %r72, %tid.x; mad.lo.s32 %r70, %r70, %r71, %r72;\n\
         cvt.u32.u64 %r73, %rd2; setp.ge.u32 %p19, %r70, %r73; @%p19 bra DONE;\n",
    );
    text += &format!("mul.wide.u32 %rd38, %r70, {}; add.s64 %rd38, %rd38, %rd0;\n", 8 * N);
    text += &format!("mul.wide.u32 %rd39, %r70, {}; add.s64 %rd39, %rd39, %rd1;\n", 8 * M);
    for i in 0..N {
        text += &format!("ld.global.u64 %rd{}, [%rd38+{}];\n", 10 + i, 8 * i);
    }
    text += body;
    for i in 0..M {
        text += &format!("\nst.global.u64 [%rd39+{}], %rd{};", 8 * i, 20 + i);
    }
    text += "\nDONE:\n";
    let mut gpu = Gpu::new(Target::Sm90);
    let flat: Vec<u64> = rows.iter().flatten().copied().collect();
    let (x, y) = (gpu.put(&flat), gpu.room(rows.len() * M * 8));
    let shape = Shape::of((rows.len() as u32).div_ceil(128), 128);
    let params = [x.to_le_bytes(), y.to_le_bytes(), (rows.len() as u64).to_le_bytes()];
    let params: Vec<&[u8]> = params.iter().map(|p| &p[..]).collect();
    gpu.launch(&kernel(3, "", &text), "k", &shape, &params).unwrap_or_else(|e| panic!("{e}"));
    gpu.get::<u64>(y, rows.len() * M).chunks_exact(M).map(|c| c.try_into().expect("M words")).collect()
}

/// What a kernel's body does wrong in one launch of `threads` threads and `blocks` blocks, `%rd0` pointing at 1,024 written
/// bytes and `%rd1` at 1,024 that nobody has written.
pub fn fault(before: &str, body: &str, blocks: u32, threads: u32) -> Finding {
    try_body(before, body, blocks, threads).map(|_| ()).expect_err("it is wrong").as_ref().clone()
}

/// As `fault`, for bodies that may be right.
pub fn try_body(before: &str, body: &str, blocks: u32, threads: u32) -> Result<Cost, Box<Finding>> {
    let mut gpu = Gpu::new(Target::Sm90);
    let (x, y) = (gpu.put(&[0u32; 256]), gpu.room(1024));
    let shape = Shape { budget: 1 << 20, ..Shape::of(blocks, threads) };
    gpu.launch(&kernel(2, before, body), "k", &shape, &[&x.to_le_bytes(), &y.to_le_bytes()])
}

/// The line of the text in which the finding is has this in it.
pub fn stands_at(finding: &Finding, text: &str) {
    assert!(finding.text.contains(text), "{finding}");
}

/// Whether two floats are the same, NaN being one value.
pub fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Pseudo-random words, the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [-1, 1).
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// The fault of a finding.
pub fn kind(finding: &Finding) -> &Fault {
    &finding.fault
}
