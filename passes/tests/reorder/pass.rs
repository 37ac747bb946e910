//! The pass itself: tables that are stored in blocks, and heads.

use super::decoder::Decoder;
use super::{inputs, numbers, outputs, parse, same};
use actc_ir::{Const, Graph, Interpreter, TensorType};
use actc_passes::report::PassReport;
use actc_passes::{PASSES, PassCx, Pipeline, Progress, Sample, manager};
use actc_types::dim::Bindings;
use actc_types::{BlockFormat, DType, Encoding, Role, Symbol, Tensor};

/// A decoder of 64 channels whose table, which is its head too, is stored in blocks; so are its layers if `packed`.
fn in_blocks(packed: bool) -> Graph {
    let net = Decoder {
        shared: 1,
        group: 2,
        head: 16,
        width: 64,
        hidden: 32,
        layers: 2,
        tied: true,
        biases: false,
        gated: true,
        layer_norm: false,
        head_norm: false,
        rotary: true,
        cache: true,
        positions: false,
    };
    let mut graph = parse(&net.source());
    let wanted = |c: &Const| {
        c.name == "embed"
            || packed
                && c.ty.shape.rank() == 2
                && c.ty.shape.last().and_then(|d| d.fixed()).is_some_and(|n| n % 32 == 0)
    };
    let found: Vec<_> = graph.constants().filter(|(_, c)| wanted(c)).map(|(id, c)| (id, c.clone())).collect();
    assert_eq!(found.len(), if packed { 15 } else { 1 });
    for (seed, (id, constant)) in found.into_iter().enumerate() {
        let (rows, cols) = constant.matrix().unwrap();
        let mut next = numbers(seed as u64 + 40);
        // Blocks of q8_0: a scale in f16, 32 codes.
        let block = |_| {
            let scale = half::f16::from_f32((next() % 100 + 1) as f32 / 5000.0).to_le_bytes();
            scale.into_iter().chain((0..32).map(|_| next() as u8).collect::<Vec<u8>>())
        };
        let data: Vec<u8> = (0..rows * cols / 32).flat_map(block).collect();
        let ty = TensorType::new(DType::F32, constant.ty.shape.clone());
        let parts = vec![(Role::Data, data.into())];
        let stored = Const::new(constant.name.clone(), ty, Encoding::Block(BlockFormat::Q8_0), parts).unwrap();
        graph.retype_const(id, stored).unwrap();
    }
    graph
}

/// `graph` behind `passes` as far as `reorder`, and that pass's report.
fn ordered(graph: &Graph, passes: &str) -> actc_types::Result<(Graph, PassReport)> {
    let samples: Vec<Sample> = [[0, 1, 2, 3], [4, 6, 8, 2]]
        .map(|ids| {
            let places = Tensor::i64(&[4], vec![0, 1, 2, 3]).unwrap();
            let mut sample = Sample::tokens("ids", &ids);
            sample.inputs.push(("positions".into(), places));
            sample
        })
        .to_vec();
    let mut quiet = |_: Progress<'_>| ();
    let mut cx = PassCx { samples: &samples, ..PassCx::new(&Interpreter, &mut quiet) };
    let mut after = graph.clone();
    let config = manager::Config { stop_after: Some("reorder".into()), ..manager::Config::default() };
    let mut timed = manager::run(&Pipeline::parse(passes, PASSES)?, &mut after, &mut cx, &config, &mut |_| ())?;
    Ok((after, timed.pop().unwrap().report))
}

#[test]
fn tables_in_blocks_keep_them_and_are_looked_up() {
    let symbols: Bindings = [("S", 4), ("P", 0)].iter().map(|(s, n)| (Symbol::new(s).unwrap(), *n)).collect();
    for (packed, options, places) in [
        (false, "per=network,heads=scattered", 2),
        // Before what reads the heads of each layer, too.
        (false, "per=network,heads=gather", 4),
        (true, "per=network,heads=inside", 2),
        // The stream keeps its order: before what reads it in each layer, twice.
        (true, "per=input", 4),
    ] {
        let before = in_blocks(packed);
        let (after, report) = ordered(&before, &format!("calibrate,reorder{{cols=9,{options}}},rtn")).unwrap();
        let table = |g: &Graph| g.constants().find(|(_, c)| c.name == "embed").unwrap().1.parts.clone();
        assert_eq!(table(&before), table(&after), "{options}");
        let given = inputs(&before, &symbols, 3);
        same(&outputs(&before, given.clone()), &outputs(&after, given), options);
        assert!(report.summary.ends_with(&format!("looked up in {places} places")), "{}", report.summary);
        let count = after.order().iter().filter(|n| matches!(after.node(**n).op, actc_ir::Op::Gather(_))).count();
        assert_eq!(count, places);
    }
    // Nothing rounds the layers anew: they cannot be stored as they are.
    let error = ordered(&in_blocks(true), "calibrate,reorder").unwrap_err();
    assert_eq!(error.code, "reorder-inexact");
}

#[test]
fn the_strongest_channels_of_the_strongest_head_are_the_end() {
    let before = in_blocks(false);
    let (after, report) = ordered(&before, "calibrate,reorder{cols=5,score=energy,heads=inside}").unwrap();
    let energy = |graph: &Graph| {
        let node = graph.order().iter().find(|n| {
            graph
                .node(**n)
                .args
                .get(1)
                .and_then(|w| graph.as_const(*w))
                .is_some_and(|id| graph.const_data(id).name == "o0w")
        });
        let x = graph.node(*node.unwrap()).args[0];
        let mut part = actc_ir::extract::extract(graph, &[], &[x]).unwrap();
        part.graph.output("x", part.values[&x]);
        let mut sums = vec![0.0; 32];
        for ids in [[0, 1, 2, 3], [4, 6, 8, 2]] {
            let mut given = vec![Tensor::i64(&[4], ids.to_vec()).unwrap()];
            for (name, value) in part.graph.inputs().skip(1) {
                given.push(match name {
                    "positions" => Tensor::i64(&[4], vec![0, 1, 2, 3]).unwrap(),
                    _state => {
                        let dims: Vec<u64> =
                            part.graph.ty(value).shape.dims().iter().map(|d| d.fixed().unwrap_or(0)).collect();
                        Tensor::f32(&dims, Vec::new()).unwrap()
                    }
                });
            }
            let got = outputs(&part.graph, given);
            got.iter().enumerate().for_each(|(i, v)| sums[i % 32] += v * v);
        }
        sums
    };
    let (old, new) = (energy(&before), energy(&after));
    // Two heads of 16 channels share values: the channels are one order for both, and the stronger head is last.
    let top = |e: &[f64]| {
        let mut e = e.to_vec();
        e.sort_by(|a, b| b.total_cmp(a));
        e[..5].iter().sum::<f64>()
    };
    let stronger = if top(&old[..16]) > top(&old[16..]) { &old[..16] } else { &old[16..] };
    let mut wanted = stronger.to_vec();
    wanted.sort_by(f64::total_cmp);
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-4 * a.abs();
    assert!(new[27..].iter().zip(&wanted[11..]).all(|(a, b)| near(*a, *b)), "{new:?} {wanted:?}");
    let order = report.orders.iter().find(|o| o.name == "o0w" && o.each == 16).unwrap();
    assert_eq!((order.width, order.tail.len()), (2, 2));
    assert!(report.orders.iter().any(|o| o.name == "o0w" && o.each == 1 && o.tail.len() == 5));
}
