//! Pipelines as text: printing back, order, mistakes, and a pass from outside.

use actc_ir::{Graph, Interpreter, text};
use actc_passes::manager::{Config, Event, Selection, run};
use actc_passes::{
    Contract, Facts, PASSES, PRESETS, Pass, PassCx, PassInfo, PassReport, Phase, Pipeline, Progress, shell,
};
use actc_types::Result;

fn normalised(text: &str) -> String {
    Pipeline::parse(text, PASSES).unwrap().normalise(PASSES).unwrap().to_string()
}

#[test]
fn what_is_printed_reads_back() {
    for text in
        PRESETS.iter().map(|(_, p, _)| *p).chain(["owq{bits=3,stored=3.5,group=channel}", "owq:bits=2:budget=gain"])
    {
        let printed = Pipeline::parse(text, PASSES).unwrap().to_string();
        assert_eq!(Pipeline::parse(&printed, PASSES).unwrap().to_string(), printed, "{text}");
    }
    assert_eq!(
        Pipeline::parse("owq:bits=3", PASSES).unwrap().to_string(),
        "owq{bits=3, group=128, grid=loss, drift=0, bias=fit, target=3.1, budget=gain}"
    );
}

#[test]
fn documented_defaults_are_the_real_ones() {
    for info in PASSES {
        let step = Pipeline::parse(info.name, PASSES).unwrap();
        for (name, value) in step.steps()[0].pass.options() {
            let doc = info.options.iter().find(|o| o.name == name).expect("every option is documented");
            if name != "target" {
                assert_eq!(doc.default, value, "{}{{{name}}}", info.name);
            }
        }
    }
}

#[test]
fn compile_puts_passes_in_order() {
    let want = "clean,calibrate{windows=16},owq{bits=4, group=128, grid=loss, drift=0, bias=fit, target=4.1, budget=gain},act{bits=8}";
    for text in ["owq,act", "act,owq", "act,calibrate,owq", "clean,act,owq,calibrate"] {
        assert_eq!(normalised(text), want, "{text}");
    }
    assert_eq!(normalised(""), "clean");
    assert_eq!(normalised("rtn"), "clean,rtn{bits=4, group=128}");
    for (name, preset, _) in PRESETS {
        let parsed = Pipeline::parse(preset, PASSES).unwrap();
        parsed.check(PASSES).unwrap();
        assert_eq!(parsed.to_string(), normalised(preset), "{name} stands in order");
    }
    let error = Pipeline::parse("act", PASSES).unwrap().normalise(PASSES).unwrap_err();
    assert_eq!(error.code, "missing-fact");
    assert_eq!(error.help.as_deref(), Some("put one of `rtn`, `awq`, `gptq`, `owq` before it"));
}

#[test]
fn mistakes_point_into_the_text() {
    let error = |text: &str| Pipeline::parse(text, PASSES).unwrap_err().to_string();
    assert_eq!(
        error("calibrate,owk{bits=3}"),
        "error[unknown-pass]: unknown pass `owk`\n  calibrate,owk{bits=3}\n            ^^^\n  help: did you mean `owq`?"
    );
    assert_eq!(
        error("owq{bit=3}"),
        "error[bad-option]: `owq` has no option `bit`\n  owq{bit=3}\n      ^^^^^\n  help: did you mean `bits`?"
    );
    assert!(error("owq{target=3.1,stored=3.2}").starts_with("error[option-conflict]"));
    assert!(error("owq{bits=9}").contains("expected 1 to 8"));
    let text = "clean,act,rtn";
    let error = Pipeline::parse(text, PASSES).unwrap().check(PASSES).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error[missing-fact]: `act` needs quantised weights, which nothing before it gives\n  clean,act,rtn\n        ^^^\n  help: put one of `rtn`, `awq`, `gptq`, `owq` before it"
    );
}

#[test]
fn expanded_braces_get_a_hint() {
    for word in ["owqbits=3", "calibrate,owqtarget=3.25", "owqbits=3,act"] {
        let error = Pipeline::parse(word, PASSES).unwrap_err();
        assert_eq!(error.code, "expanded-brace", "{word}");
        assert!(error.help.unwrap().contains("owq:"), "{word}");
        assert!(shell::explain(word, PASSES).is_some());
    }
    for word in ["model.onnx", "owq", "owq:bits=3", "bits=3"] {
        assert!(shell::explain(word, PASSES).is_none(), "{word}");
    }
}

const TINY: &str = "air 1
graph @tiny(%x: f32[S, 32]) {
  %w = const @fc = rng{seed=1, scale=0.5} : f32[16, 32]
  %dead = relu %x : f32[S, 32]
  %0 = linear %x, %w : f32[S, 16]
  return y=%0
}
";

struct Rename;

impl Pass for Rename {
    fn options(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn run(&self, graph: &mut Graph, _cx: &mut PassCx<'_>) -> Result<PassReport> {
        Ok(PassReport::line(graph.name()))
    }
}

#[test]
fn a_pass_from_outside_runs_and_the_manager_tells() {
    let mut table = PASSES.to_vec();
    table.push(PassInfo {
        name: "mine",
        summary: "does nothing",
        phase: Phase::Pack,
        options: &[],
        needs: Facts::QUANTISED,
        gives: Facts::NONE,
        precedes: Facts::NONE,
        contract: Contract::Exact,
        build: |_| Ok(Box::new(Rename)),
    });
    let pipeline = Pipeline::parse("mine,rtn{group=16}", &table).unwrap().normalise(&table).unwrap();
    let mut quiet = |_: Progress<'_>| {};
    let told = |config: &Config| {
        let mut graph = text::parse(TINY, &text::unbound).unwrap();
        let mut quiet = |_: Progress<'_>| {};
        let mut cx = PassCx::new(&Interpreter, &mut quiet);
        let mut lines = Vec::new();
        let done = run(&pipeline, &mut graph, &mut cx, config, &mut |event| match event {
            Event::Dump { title, text } => lines.push(format!("{title} {}", text.lines().count())),
            Event::Ran { step, report, .. } => lines.push(format!("{step}: {}", report.summary)),
            Event::Skipped { step } => lines.push(format!("skipped {step}")),
        })
        .unwrap();
        assert_eq!(done.len(), lines.iter().filter(|l| l.contains(": ")).count());
        lines
    };
    assert_eq!(
        told(&Config::default()),
        [
            "clean: 3 nodes and 1 constants became 2 and 1",
            "rtn{bits=4, group=16}: 1 of 1 layers, 4.0000 bits a weight (9.2500 stored)",
            "mine: tiny"
        ]
    );
    let config =
        Config { print_changed: true, print_before: Selection::Named(vec!["rtn".into()]), ..Config::default() };
    let dumps: Vec<String> = told(&config).into_iter().filter(|l| !l.contains(": ")).collect();
    assert_eq!(dumps, ["after clean 6", "before rtn 6", "after rtn 6"]);
    let config = Config { bisect_limit: Some(1), ..Config::default() };
    assert_eq!(told(&config)[1..], ["skipped rtn{bits=4, group=16}", "skipped mine"]);
    let config = Config { stop_after: Some("clean".into()), ..Config::default() };
    assert_eq!(told(&config).len(), 1);

    // Without calibration data, passes that need it say so.
    let mut graph = text::parse(TINY, &text::unbound).unwrap();
    let mut cx = PassCx::new(&Interpreter, &mut quiet);
    let owq = Pipeline::parse("owq", PASSES).unwrap().normalise(PASSES).unwrap();
    let error = run(&owq, &mut graph, &mut cx, &Config::default(), &mut |_| {}).unwrap_err();
    assert_eq!(error.code, "calibration-missing");
}
