//! How much of the memory's bandwidth matrix times vector uses: `gemv_bandwidth [THREADS [TARGET]]`.
//!
//! Packed weights of 2, 3, 4 and 8 bits in groups of 64 with rounded activations, and of 3 and 4 bits with weak columns, a tail or
//! scattered, for a quarter and a tenth of a bit. Each run goes over at least 256 MB of distinct weights, so that caches do
//! not help; the threads share the rows of every matrix. In each of 25 rounds every layout has its turn, and a plain read loop
//! over as many bytes before and behind it; medians are printed, of the share the median of the rounds' own. The last two
//! columns are bytes and time over those of the same width without weak columns.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../tests/room/mod.rs"]
mod room;

use actc_codegen::spec::{Act, BufferRole, Epilogue, Input, KernelSpec, Linear, Mat, Prepare, Tokens};
use actc_types::packed::PANEL;
use actc_types::{DType, Encoding, Group, Mixed, Packed, Role, Target, WeakPlace};
use room::{Buffer, Matrix, Rng, Room};
use std::time::Instant;

const BYTES: usize = 256 << 20;
const RUNS: usize = 25;

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

/// How a matrix is stored.
#[derive(Clone, Copy)]
struct Layout {
    bits: u8,
    /// Extra bits a weight that weak columns take, and where they lie.
    weak: Option<(f64, WeakPlace)>,
}

impl Layout {
    const ALL: [Layout; 8] = [
        Layout { bits: 2, weak: None },
        Layout { bits: 3, weak: None },
        Layout { bits: 3, weak: Some((0.25, WeakPlace::Suffix)) },
        Layout { bits: 3, weak: Some((0.25, WeakPlace::Scattered)) },
        Layout { bits: 4, weak: None },
        Layout { bits: 4, weak: Some((0.1, WeakPlace::Suffix)) },
        Layout { bits: 4, weak: Some((0.1, WeakPlace::Scattered)) },
        Layout { bits: 8, weak: None },
    ];

    /// Weak columns of `cols`.
    fn columns(self, cols: usize) -> u32 {
        self.weak.map_or(0, |(bits, _)| (cols as f64 * bits / f64::from(16 - self.bits)) as u32)
    }

    fn encoding(self, cols: usize) -> Encoding {
        let body = Packed::new(self.bits, Group::Columns(64));
        match self.weak {
            None => Encoding::Packed(body),
            Some((_, place)) => Encoding::Mixed(Mixed { body, cols: self.columns(cols), place, weak: DType::F16 }),
        }
    }

    fn words(self, cols: usize) -> String {
        match self.weak {
            None => "none".into(),
            Some((_, place)) => format!(
                "{} {}",
                self.columns(cols),
                match place {
                    WeakPlace::Suffix => "suffix",
                    WeakPlace::Scattered => "scattered",
                }
            ),
        }
    }
}

/// A kernel with weights for a run.
struct Case {
    layout: Layout,
    weights: usize,
    bytes: usize,
    linear: KernelSpec,
    rooms: Vec<Room>,
    /// Number of weak columns, where the kernel is told.
    counts: Vec<i64>,
    /// Addresses as numbers: the parts of a kernel write different rows, and threads may share them.
    calls: Vec<Vec<usize>>,
    _buffers: Vec<Buffer>,
}

impl Case {
    fn new(layout: Layout, rows: usize, cols: usize, threads: usize, target: &Target) -> Case {
        let mut rng = Rng(1);
        let encoding = layout.encoding(cols);
        // A panel of distinct rows is made; the matrices repeat it.
        let panel = Matrix::random(&encoding, DType::F16, PANEL, cols, &mut rng);
        let mat = Mat { rows: rows as u32, encoding, dtype: DType::F16, bias: false };
        let counts: Vec<i64> = if mat.scattered() { vec![i64::from(layout.columns(cols))] } else { Vec::new() };
        let Input::Prepared(set) = mat.input(cols as u32, Act::Int8) else {
            panic!("packed matrices read prepared inputs")
        };
        let prepare = KernelSpec::Prepare(Prepare { cols: cols as u32, sets: vec![set] });
        let (tokens, epilogue) = (Tokens::Few(1), Epilogue::None);
        let linear =
            KernelSpec::Linear(Linear { mats: vec![mat], cols: cols as u32, tokens, act: Act::Int8, epilogue });
        let specs = [linear.clone(), prepare.clone()];
        let rooms: Vec<Room> = (0..threads).map(|_| Room::on(&specs, target)).collect();
        let (x, prepared, out) = (
            Buffer::floats(&rng.floats(cols)),
            Buffer::new(set.record_bytes(layout.columns(cols) as usize)),
            Buffer::new(4 * rows),
        );
        let index = panel.parts.iter().find(|(role, _)| *role == Role::WeakIndex).map(|(_, b)| Buffer::of(b));
        let pointers: Vec<*mut u8> = prepare
            .buffers()
            .iter()
            .map(|b| match b.role {
                BufferRole::Prepared(_) => prepared.ptr(),
                BufferRole::WeakIndex(_) => index.as_ref().expect("scattered columns have an index").ptr(),
                _ => x.ptr(),
            })
            .collect();
        rooms[0].run(&prepare, &pointers, &[&[1], &counts[..]].concat(), 1);
        let stored = |(role, b): &(Role, Vec<u8>)| if *role == Role::WeakIndex { 0 } else { b.len() * rows / PANEL };
        let bytes: usize = panel.parts.iter().map(stored).sum();
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
        Case { layout, weights: rows * cols, bytes, linear, rooms, counts, calls, _buffers: buffers }
    }

    /// Bytes a second, in 10^9.
    fn run(&mut self) -> f64 {
        let (linear, calls, counts, threads) = (&self.linear, &self.calls, &self.counts, self.rooms.len() as u32);
        let seconds = timed(&mut self.rooms, |t, room| {
            for call in calls {
                let pointers: Vec<*mut u8> = call.iter().map(|address| *address as *mut u8).collect();
                room.part(linear, &pointers, counts, t as u32, threads);
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
    let mut cases: Vec<Case> = Layout::ALL.map(|layout| Case::new(layout, rows, cols, threads, target)).into();
    // For each layout the kernel's rates, the read loop's around it, and their ratios.
    let mut seen = vec![[const { Vec::new() }; 3]; cases.len()];
    for _ in 0..RUNS {
        for (case, seen) in cases.iter_mut().zip(&mut seen) {
            let before = read(&mut case.rooms, memory);
            let kernel = case.run();
            let read = (before + read(&mut case.rooms, memory)) / 2.0;
            seen.iter_mut().zip([kernel, read, kernel / read]).for_each(|(all, one)| all.push(one));
        }
    }
    let plain = |bits: u8| cases.iter().position(|c| c.layout.bits == bits && c.layout.weak.is_none()).expect("a case");
    for (case, all) in cases.iter().zip(&seen) {
        let base = plain(case.layout.bits);
        let bytes = case.bytes as f64 / cases[base].bytes as f64;
        // Rounds are compared each with itself.
        let time = median(seen[base][0].iter().zip(&all[0]).map(|(plain, own)| bytes * plain / own).collect());
        let [kernel, read, share] = all.clone().map(median);
        let speed = kernel / case.bytes as f64 * case.weights as f64;
        let (bits, share, weak) = (case.layout.bits, 100.0 * share, case.layout.words(cols));
        println!(
            "| {bits} | {weak} | {rows} x {cols} | {speed:.1} | {kernel:.2} | {read:.2} | {share:.0} % | {bytes:.3} | {time:.3} |"
        );
    }
}

fn main() {
    let threads = std::env::args().nth(1).map_or(2, |n| n.parse().expect("a number of threads"));
    let target = std::env::args().nth(2).map_or(Target::host(), |name| Target::parse(&name).expect("a target"));
    let memory: Vec<u64> = (0..BYTES as u64 / 8).collect();
    println!(
        "{threads} threads, {target}\n| bits | weak | shape | Gweights/s | GB/s | read loop GB/s | share | bytes | time |\n\
         |---|---|---|---|---|---|---|---|---|"
    );
    for (rows, cols) in [(576, 1536), (4096, 4096), (4096, 11008)] {
        shape(rows, cols, threads, &target, &memory);
    }
}
