//! How much of the memory's bandwidth matrix times vector uses: `gemv_bandwidth [THREADS [TARGET]]`.
//!
//! Packed weights of 2, 3, 4 and 8 bits in groups of 64 with rounded activations. Each run goes over at least 256 MB of
//! distinct weights, so that caches do not help; the threads share the rows of every matrix. In each of five rounds every width
//! has its turn, and a plain read loop over as many bytes before and behind it; medians are printed, of the share the median of
//! the rounds' own.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../tests/room/mod.rs"]
mod room;

use actc_codegen::spec::{Act, BufferRole, Epilogue, Input, KernelSpec, Linear, Mat, Prepare, Tokens};
use actc_types::packed::PANEL;
use actc_types::{DType, Encoding, Group, Packed, Role, Target};
use room::{Buffer, Matrix, Rng, Room};
use std::time::Instant;

const BYTES: usize = 256 << 20;
const RUNS: usize = 5;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds that `work` takes on as many threads as there are rooms, each with its number and its room.
fn timed(rooms: &mut [Room], work: impl Fn(usize, &mut Room) + Sync) -> f64 {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (t, room) in rooms.iter_mut().enumerate() {
            let work = &work;
            scope.spawn(move || work(t, room));
        }
    });
    start.elapsed().as_secs_f64()
}

/// A kernel with weights for a run.
struct Case {
    bits: u8,
    weights: usize,
    bytes: usize,
    linear: KernelSpec,
    rooms: Vec<Room>,
    /// Addresses as numbers: the parts of a kernel write different rows, and threads may share them.
    calls: Vec<Vec<usize>>,
    _buffers: Vec<Buffer>,
}

impl Case {
    fn new(bits: u8, rows: usize, cols: usize, threads: usize, target: &Target) -> Case {
        let mut rng = Rng(1);
        let encoding = Encoding::Packed(Packed::new(bits, Group::Columns(64)));
        // A panel of distinct rows is made; the matrices repeat it.
        let panel = Matrix::random(&encoding, DType::F16, PANEL, cols, &mut rng);
        let mat = Mat { rows: rows as u32, encoding, dtype: DType::F16, bias: false };
        let Input::Prepared(set) = mat.input(cols as u32, Act::Int8) else {
            panic!("packed matrices read prepared inputs")
        };
        let prepare = KernelSpec::Prepare(Prepare { cols: cols as u32, sets: vec![set] });
        let (tokens, epilogue) = (Tokens::Few(1), Epilogue::None);
        let linear =
            KernelSpec::Linear(Linear { mats: vec![mat], cols: cols as u32, tokens, act: Act::Int8, epilogue });
        let specs = [linear.clone(), prepare.clone()];
        let rooms: Vec<Room> = (0..threads).map(|_| Room::on(&specs, target)).collect();
        let (x, prepared, out) =
            (Buffer::floats(&rng.floats(cols)), Buffer::new(set.record_bytes(0)), Buffer::new(4 * rows));
        let pointers: Vec<*mut u8> = prepare
            .buffers()
            .iter()
            .map(|b| if matches!(b.role, BufferRole::Prepared(_)) { prepared.ptr() } else { x.ptr() })
            .collect();
        rooms[0].run(&prepare, &pointers, &[1], 1);
        let bytes: usize = panel.parts.iter().map(|(_, b)| b.len() * rows / PANEL).sum();
        let copies = BYTES.div_ceil(bytes);
        let mut buffers = Vec::new();
        let calls = (0..copies)
            .map(|_| {
                let parts: Vec<(Role, Buffer)> =
                    panel.parts.iter().map(|(role, b)| (*role, Buffer::of(&b.repeat(rows / PANEL)))).collect();
                let address = |role: &BufferRole| match role {
                    BufferRole::Weight { part, .. } => {
                        parts.iter().find(|(r, _)| r == part).expect("a part").1.ptr() as usize
                    }
                    BufferRole::Output(_) => out.ptr() as usize,
                    _ => prepared.ptr() as usize,
                };
                let call = linear.buffers().iter().map(|b| address(&b.role)).collect();
                buffers.extend(parts.into_iter().map(|(_, buffer)| buffer));
                call
            })
            .collect();
        buffers.extend([prepared, out]);
        Case { bits, weights: rows * cols, bytes, linear, rooms, calls, _buffers: buffers }
    }

    /// Bytes a second, in 10^9.
    fn run(&mut self) -> f64 {
        let (linear, calls, threads) = (&self.linear, &self.calls, self.rooms.len() as u32);
        let seconds = timed(&mut self.rooms, |t, room| {
            for call in calls {
                let pointers: Vec<*mut u8> = call.iter().map(|address| *address as *mut u8).collect();
                room.part(linear, &pointers, &[], t as u32, threads);
            }
        });
        (calls.len() * self.bytes) as f64 / seconds / 1e9
    }
}

/// Bytes a second, in 10^9, of a plain read loop on as many threads as there are rooms.
fn read(rooms: &mut [Room], memory: &[u64]) -> f64 {
    let share = memory.len() / rooms.len();
    let seconds = timed(rooms, |t, _| {
        let mut sums = [0u64; 16];
        for chunk in memory[t * share..(t + 1) * share].chunks_exact(16) {
            sums.iter_mut().zip(chunk).for_each(|(s, x)| *s = s.wrapping_add(*x));
        }
        std::hint::black_box(sums);
    });
    BYTES as f64 / seconds / 1e9
}

fn shape(rows: usize, cols: usize, threads: usize, target: &Target, memory: &[u64]) {
    let mut cases: Vec<Case> = [2, 3, 4, 8].map(|bits| Case::new(bits, rows, cols, threads, target)).into();
    // For each width the kernel's rates, the read loop's around it, and their ratios.
    let mut seen = vec![[const { Vec::new() }; 3]; cases.len()];
    for _ in 0..RUNS {
        for (case, seen) in cases.iter_mut().zip(&mut seen) {
            let before = read(&mut case.rooms, memory);
            let kernel = case.run();
            let read = (before + read(&mut case.rooms, memory)) / 2.0;
            seen.iter_mut().zip([kernel, read, kernel / read]).for_each(|(all, one)| all.push(one));
        }
    }
    for (case, seen) in cases.iter().zip(seen) {
        let [kernel, read, share] = seen.map(median);
        let speed = kernel / case.bytes as f64 * case.weights as f64;
        let (bits, share) = (case.bits, 100.0 * share);
        println!("| {bits} | {rows} x {cols} | {speed:.1} | {kernel:.2} | {read:.2} | {share:.0} % |");
    }
}

fn main() {
    let threads = std::env::args().nth(1).map_or(2, |n| n.parse().expect("a number of threads"));
    let target = std::env::args().nth(2).map_or(Target::host(), |name| Target::parse(&name).expect("a target"));
    let memory: Vec<u64> = (0..BYTES as u64 / 8).collect();
    println!(
        "{threads} threads, {target}\n| bits | shape | Gweights/s | GB/s | read loop GB/s | share |\n|---|---|---|---|---|---|"
    );
    for (rows, cols) in [(576, 1536), (4096, 4096), (4096, 11008)] {
        shape(rows, cols, threads, &target, &memory);
    }
}
