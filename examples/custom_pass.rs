//! A pass from outside, plugged into the table: `snap{step}` rounds every dense linear weight to multiples of a step.
//!
//! ```sh
//! cargo run --release --example custom_pass
//! ```
//!
//! It goes the whole way: a graph in text form, a pipeline that names the pass, code for this machine, an artifact in
//! memory, a session, and the same outputs as the reference interpreter gives.

use actc::artifact::Writer;
use actc::codegen::Backend;
use actc::codegen::spec::gpu::Products;
use actc::evaluator::Compiled;
use actc::ir::{Const, Evaluator, Graph, Interpreter, Op, text};
use actc::passes::report::PassReport;
use actc::passes::{Contract, Facts, PASSES, Pass, PassCx, PassInfo, Phase, Pipeline, manager};
use actc::runtime::{Code, Model, Session, SessionOptions, Trust};
use actc::types::braced::Fields;
use actc::types::dim::Bindings;
use actc::types::{DType, Diagnostic, Encoding, Result, Target, Tensor};

/// The table's entry: its name, options and place among the phases.
const SNAP: PassInfo = PassInfo {
    name: "snap",
    summary: "round every dense linear weight to multiples of a step",
    phase: Phase::Quantise,
    options: &[actc::passes::OptionDoc { name: "step", default: "0.125", doc: "the step, a positive number" }],
    needs: Facts::CLEAN,
    gives: Facts::NONE,
    precedes: Facts::NONE,
    contract: Contract::ChangesNumerics,
    build: |fields| Ok(Box::new(Snap::read(fields)?)),
};

struct Snap {
    step: f32,
}

impl Snap {
    fn read(fields: &mut Fields<'_>) -> Result<Snap> {
        let positive = |v: &str| v.parse().ok().filter(|s: &f32| s.is_finite() && *s > 0.0);
        Ok(Snap { step: fields.with("step", "a positive number", positive)?.unwrap_or(0.125) })
    }
}

impl Pass for Snap {
    fn options(&self) -> Vec<(&'static str, String)> {
        vec![("step", self.step.to_string())]
    }

    fn run(&self, graph: &mut Graph, _: &mut PassCx<'_>) -> Result<PassReport> {
        let linear = |n: &actc::ir::Node| matches!(graph.node(*n).op, Op::Linear(_));
        let weights = graph.order().iter().filter(|n| linear(n)).filter_map(|n| graph.as_const(graph.node(*n).args[1]));
        let weights: Vec<_> = weights.collect();
        let mut changed = 0;
        for id in weights {
            let old = graph.const_data(id);
            if old.encoding != Encoding::Dense || old.ty.dtype != DType::F32 {
                continue;
            }
            let tensor = old.decode()?;
            let snapped = tensor.as_f32()?.iter().map(|w| (w / self.step).round() * self.step).collect();
            let new = Const::dense(old.name.clone(), &Tensor::f32(tensor.dims(), snapped)?);
            graph.set_const(id, new)?;
            changed += 1;
        }
        Ok(PassReport::line(format!("{changed} weights snapped to multiples of {}", self.step)))
    }
}

const GRAPH: &str = "air 1
graph @mlp(%x: f32[S, 16]) {
  %up = const @up = rng{seed=1, scale=0.5} : f32[32, 16]
  %down = const @down = rng{seed=2, scale=0.5} : f32[16, 32]
  %0 = linear %x, %up : f32[S, 32]
  %1 = silu %0 : f32[S, 32]
  %2 = linear %1, %down : f32[S, 16]
  return y=%2
}
";

/// The first of several findings.
fn first(mut findings: Vec<Diagnostic>) -> Diagnostic {
    findings.remove(0)
}

fn main() -> Result<()> {
    let mut table = PASSES.to_vec();
    table.push(SNAP);
    let pipeline = Pipeline::parse("snap{step=0.25}", &table)?.normalise(&table)?;
    assert_eq!(pipeline.to_string(), "clean,snap{step=0.25}");

    let mut graph = text::parse(GRAPH, &text::unbound)?;
    let evaluator = Compiled::new(2);
    let mut quiet = |_: actc::passes::Progress<'_>| ();
    let mut cx = PassCx::new(&evaluator, &mut quiet);
    let mut lines = Vec::new();
    manager::run(&pipeline, &mut graph, &mut cx, &manager::Config::default(), &mut |event| {
        if let manager::Event::Ran { step, report, .. } = event {
            lines.push(format!("{}: {}", step.info.name, report.summary));
        }
    })?;
    assert_eq!(lines[1], "snap: 2 weights snapped to multiples of 0.25");

    let program =
        actc::compile::program(&graph, vec![Target::host()], Backend::best(), Products::Single).map_err(first)?;
    let written = program.write(Writer::to_memory(), Default::default())?;
    let bytes = written.bytes.ok_or_else(|| Diagnostic::new("example", "the artifact is not in memory"))?;
    let model = Model::from_bytes(bytes, &Default::default())?;
    model.link(Code::Embedded { target: &Target::host(), trust: Trust::Vouch })?;

    let x = Tensor::f32(&[3, 16], (0..48).map(|i| (i as f32 * 0.7).sin()).collect())?;
    let got =
        Session::new(model, SessionOptions::default())?.run("forward", std::slice::from_ref(&x), &Bindings::new())?;
    let want = Interpreter.prepare(&graph)?.run(vec![x])?;
    let worst = got[0].as_f32()?.iter().zip(want[0].as_f32()?).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(worst < 1e-5, "compiled code differs from the reference by {worst}");

    let mut out = std::io::stdout().lock();
    std::io::Write::write_all(&mut out, (lines.join("\n") + "\n").as_bytes())
        .map_err(|e| Diagnostic::new("example", e.to_string()))
}
