//! Every family compiles for every CPU target without relocations; the texts of a few kernels are kept as snapshots.

use actc_codegen::emit::{ALIGN, Backend, cranelift};
use actc_codegen::kir::{FloatOp, Fun, Isa, Logic, Test, legalise};
use actc_codegen::spec::{
    Act, Attention, Elementwise, Epilogue, KernelSpec, LayerNorm, Linear, Mat, Prepare, Prepared, RmsNorm, Rope,
    RopeStyle, RopeTable, Step, Tokens, WeakSet, compile_all, elementwise,
};
use actc_types::{BlockFormat, DType, Encoding, Group, Mixed, Packed, RowForm, Target, WeakPlace};

fn linear(encoding: Encoding, act: Act, tokens: Tokens) -> KernelSpec {
    let mats = vec![Mat { rows: 6, encoding, dtype: DType::F16, bias: true }];
    KernelSpec::Linear(Linear { mats, cols: 512, tokens, act, epilogue: Epilogue::AddResidual })
}

fn attention(cache: RowForm) -> KernelSpec {
    KernelSpec::Attention(Attention {
        heads: 9,
        kv_heads: 3,
        head_dim: 80,
        scale: 0.125,
        causal: true,
        window: None,
        cap: None,
        cache,
    })
}

fn rms_norm() -> KernelSpec {
    KernelSpec::RmsNorm(RmsNorm { cols: 70, eps: 1e-5, add: true })
}

fn chain() -> KernelSpec {
    let input = |along: &[bool]| elementwise::Input { dtype: DType::F32, along: along.to_vec() };
    KernelSpec::Elementwise(Elementwise {
        axes: 2,
        inputs: vec![input(&[true, true]), input(&[false, true])],
        steps: vec![Step::Read(0), Step::Unary(Fun::Silu, 0), Step::Read(1), Step::Binary(FloatOp::Mul, 1, 2)],
        output: DType::F32,
    })
}

/// A chain with every kind of step that reads and writes bytes.
fn rounding(to: DType) -> KernelSpec {
    let input = |dtype, along: &[bool]| elementwise::Input { dtype, along: along.to_vec() };
    let mut steps = vec![Step::Read(0), Step::Read(1), Step::Read(2), Step::Read(3), Step::Constant(0.5)];
    for fun in [Fun::Nearest, Fun::Floor, Fun::Ceil, Fun::Log, Fun::Erf, Fun::Softplus, Fun::Sign] {
        steps.push(Step::Unary(fun, steps.len() as u16 - 1));
    }
    let number = steps.len() as u16 - 1;
    steps.push(Step::Test(Test::LessEqual, 0, number));
    steps.push(Step::Logic(Logic::Or, 3, number + 1));
    if to != DType::Bool {
        steps.push(Step::Choose(number + 2, 1, 2));
        steps.push(Step::Saturate(to, number + 3));
    }
    let inputs = vec![
        input(DType::U8, &[true, true, true]),
        input(DType::I8, &[false, true, false]),
        input(DType::I32, &[true, false, true]),
        input(DType::Bool, &[true, true, true]),
    ];
    KernelSpec::Elementwise(Elementwise { axes: 3, inputs, steps, output: to })
}

fn packed(bits: u8, group: Group) -> Encoding {
    Encoding::Packed(Packed::new(bits, group))
}

fn all() -> Vec<KernelSpec> {
    let mut specs =
        vec![linear(Encoding::Dense, Act::F32, Tokens::Few(1)), linear(Encoding::Dense, Act::F32, Tokens::Few(8))];
    for act in [Act::F32, Act::Int8] {
        for tokens in [Tokens::Few(1), Tokens::Few(8), Tokens::Many] {
            for bits in 1..=8 {
                specs.push(linear(packed(bits, Group::Channel), act, tokens));
                specs.push(linear(packed(bits, Group::Columns(48)), act, tokens));
            }
            let blocks = if tokens == Tokens::Many { &[][..] } else { BlockFormat::ALL };
            specs.extend(blocks.iter().map(|format| linear(Encoding::Block(*format), act, tokens)));
            let body = Packed::new(3, Group::Columns(128));
            let mixed = Mixed { body, cols: 5, place: WeakPlace::Scattered, weak: DType::Bf16 };
            specs.push(linear(Encoding::Mixed(mixed), act, tokens));
        }
        let set = Prepared { cols: 512, act, sums: Some(Group::Columns(128)), weak: WeakSet::Scattered };
        specs.push(KernelSpec::Prepare(Prepare { cols: 512, sets: vec![set] }));
    }
    specs.extend([
        rms_norm(),
        chain(),
        rounding(DType::U8),
        rounding(DType::I8),
        rounding(DType::Bool),
        KernelSpec::LayerNorm(LayerNorm { cols: 70, eps: 1e-5, bias: true, add: false }),
        KernelSpec::RopeTable(RopeTable { rotary: 64, theta: 1e4, stretch: 1.0, scale: 1.0, factors: true }),
        KernelSpec::Rope(Rope { heads: 9, head_dim: 64, rotary: 64, style: RopeStyle::Half }),
        KernelSpec::Rope(Rope { heads: 9, head_dim: 64, rotary: 32, style: RopeStyle::Interleaved }),
        KernelSpec::Attention(Attention {
            heads: 9,
            kv_heads: 3,
            head_dim: 64,
            scale: 0.125,
            causal: true,
            window: Some(512),
            cap: Some(30.0),
            cache: RowForm::F32,
        }),
        attention(RowForm::F16),
        attention(RowForm::Int8),
    ]);
    specs
}

#[test]
fn every_family_compiles_for_every_cpu() {
    let specs = all();
    for name in ["x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"] {
        let image = compile_all(&specs, Backend::Cranelift, &Target::parse(name).unwrap()).unwrap();
        assert_eq!(image.symbols.len(), specs.len(), "equal symbols for different kernels");
        assert!(image.symbols.iter().all(|(_, at)| at % ALIGN == 0));
        let again = compile_all(&specs, Backend::Cranelift, &Target::parse(name).unwrap()).unwrap();
        assert_eq!(image, again, "{name} is not compiled the same twice");
    }
    let v4 = Target::parse("x86-64-v4").unwrap();
    if let Some(feature) = v4.lacks() {
        println!("code for {v4} was made and not run: this machine has no {feature}");
    }
}

/// LLVM takes a thousand times the time of Cranelift: a kernel of each family and form here, all of them where they run.
#[cfg(feature = "emit-llvm")]
#[test]
fn llvm_compiles_for_every_cpu() {
    let mut specs: Vec<KernelSpec> =
        all().into_iter().filter(|spec| !matches!(spec, KernelSpec::Linear(l) if l.tokens != Tokens::Few(1))).collect();
    specs.push(linear(packed(3, Group::Columns(64)), Act::Int8, Tokens::Few(4)));
    let names =
        ["x86-64-v2", "x86-64-v3", "x86-64-v3+avxvnni", "x86-64-v4", "aarch64", "aarch64+dotprod", "aarch64+i8mm"];
    for name in names {
        let target = Target::parse(name).unwrap();
        let image = compile_all(&specs, Backend::Llvm, &target).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(image.symbols.len(), specs.len(), "equal symbols for different kernels");
        assert!(image.symbols.iter().all(|(_, at)| at % ALIGN == 0));
    }
    let twice: Vec<_> = (0..2)
        .map(|_| compile_all(&specs[..20], Backend::Llvm, &Target::parse("x86-64-v3").unwrap()).unwrap())
        .collect();
    assert_eq!(twice[0], twice[1], "not compiled the same twice");
}

#[test]
fn gpus_are_refused() {
    let error = compile_all(&[rms_norm()], Backend::Cranelift, &Target::parse("sm_80").unwrap()).unwrap_err();
    assert_eq!(error.code, "kernel-target");
}

#[test]
fn shapes_that_make_no_kernel_are_refused() {
    let target = Target::parse("x86-64-v3").unwrap();
    let mut wrong = Vec::new();
    let base = Linear {
        mats: vec![Mat { rows: 4, encoding: Encoding::Dense, dtype: DType::F32, bias: false }],
        cols: 8,
        tokens: Tokens::Few(1),
        act: Act::F32,
        epilogue: Epilogue::None,
    };
    wrong.push(KernelSpec::Linear(Linear { tokens: Tokens::Few(0), ..base.clone() }));
    wrong.push(KernelSpec::Linear(Linear { tokens: Tokens::Few(9), ..base.clone() }));
    wrong.push(KernelSpec::Linear(Linear { tokens: Tokens::Many, ..base.clone() }));
    wrong.push(KernelSpec::Linear(Linear { act: Act::Int8, ..base.clone() }));
    wrong.push(KernelSpec::Linear(Linear { epilogue: Epilogue::GatedSilu, ..base.clone() }));
    let mut q8 = base.clone();
    q8.mats[0].encoding = Encoding::Block(BlockFormat::Q8_0);
    wrong.push(KernelSpec::Linear(q8));
    wrong.push(KernelSpec::Elementwise(Elementwise {
        axes: 1,
        inputs: Vec::new(),
        steps: vec![Step::Unary(Fun::Neg, 0)],
        output: DType::F32,
    }));
    wrong.push(KernelSpec::Rope(Rope { heads: 1, head_dim: 8, rotary: 10, style: RopeStyle::Half }));
    for spec in wrong {
        assert!(compile_all(std::slice::from_ref(&spec), Backend::Cranelift, &target).is_err(), "{spec} compiles");
    }
}

#[test]
fn texts() {
    let target = Target::parse("x86-64-v3").unwrap();
    for (name, spec) in [
        ("rms_norm", rms_norm()),
        ("elementwise", chain()),
        ("linear_packed3_f32", linear(packed(3, Group::Channel), Act::F32, Tokens::Few(1))),
        ("linear_packed4_int8", linear(packed(4, Group::Columns(128)), Act::Int8, Tokens::Few(1))),
    ] {
        let kernel = spec.kernel();
        let legal = legalise(&kernel, Isa::LEAST);
        insta::assert_snapshot!(format!("{name}_kir"), format!("{spec}\n{kernel}"));
        insta::assert_snapshot!(format!("{name}_legal"), legal.to_string());
        insta::assert_snapshot!(format!("{name}_clif"), cranelift::clif(&legal, &target).unwrap());
    }
}
