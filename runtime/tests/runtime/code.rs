//! Machine code: who may link what, and that kernels get what the plan says.

use crate::plans::{Plan, bindings, sharing};
use actc_artifact::{CodeImage, Launch, Manifest, Section, Step, Writer};
use actc_runtime::{Code, Model, ReadOptions, Session, SessionOptions, Trust};
use actc_types::{DType, Target};

/// `out: i64[4]` from a kernel that is launched with the size `P`.
fn plan() -> Plan {
    let mut plan = Plan::new(&["P"]);
    let out = plan.output(DType::I64, &["4"]);
    plan.kernels = vec!["stamp".into()];
    let dims = vec![crate::plans::dim("P"), crate::plans::dim("2*P + 7")];
    plan.entry.steps.push(Step::Launch(Launch { label: "stamp".into(), kernel: 0, bufs: vec![out], dims }));
    plan
}

#[test]
fn only_trusted_code_for_this_machine_is_linked() {
    let plan = plan();
    let manifest = |targets: &[&str]| Manifest {
        kernels: plan.kernels.clone(),
        entries: vec![plan.entry.clone()],
        targets: targets.iter().map(|t| Target::parse(t).unwrap()).collect(),
        ..Manifest::default()
    };
    let mut writer = Writer::to_memory();
    let (gpu, own) = (Target::parse("sm_90").unwrap(), Target::parse("host").unwrap());
    let section = CodeImage::encode([("other", 0)], &[0xc3; 16]);
    writer.section(Section::Code(gpu.clone()), &section).unwrap();
    let bytes = writer.finish(&manifest(&["sm_90"])).unwrap().bytes.unwrap();
    let model = Model::from_bytes(bytes, &ReadOptions::default()).unwrap();
    let embedded = |target, trust| model.link(Code::Embedded { target, trust }).unwrap_err().code;
    assert_eq!(embedded(&gpu, Trust::Refuse), "code-untrusted");
    assert_eq!(embedded(&own, Trust::Refuse), "code-untrusted");
    assert_eq!(embedded(&own, Trust::Vouch), "code-missing");
    assert_eq!(embedded(&gpu, Trust::Vouch), "code-target");
    // What the only code needs is told, with the way out.
    let error = model.embedded_target().unwrap_err();
    assert_eq!(error.code, "code-target");
    assert!(error.headline.contains("sm_90") && error.headline.contains("GPU"), "{error}");
    assert!(error.help.unwrap().contains("actc relink"));
    let image = |section: &[u8]| model.link(Code::Image { target: &own, section }).unwrap_err().code;
    assert_eq!(image(&section), "code-symbol");
    assert_eq!(image(&[1, 2, 3]), "artifact-code");
    let mut session = Session::new(model.clone(), SessionOptions::default()).unwrap();
    assert_eq!(session.run("main", &[], &bindings(&[("P", 1)])).unwrap_err().code, "code-not-linked");
}

#[test]
fn of_several_codes_the_best_that_runs_is_chosen() {
    let plan = plan();
    let of = |names: &[&str]| {
        let targets: Vec<Target> = names.iter().map(|n| Target::parse(n).unwrap()).collect();
        // An instruction that ends the process, if it ever ran.
        let section = CodeImage::encode([("stamp", 0)], &[0xcc; 64]);
        let mut writer = Writer::to_memory();
        for target in &targets {
            writer.section(Section::Code(target.clone()), &section).unwrap();
        }
        let (kernels, entries) = (plan.kernels.clone(), vec![plan.entry.clone()]);
        let bytes = writer.finish(&Manifest { kernels, entries, targets, ..Manifest::default() }).unwrap().bytes;
        Model::from_bytes(bytes.unwrap(), &ReadOptions::default()).unwrap()
    };
    let host = Target::host();
    let all = of(&["sm_90", "aarch64", "x86-64-v2", "x86-64-v3", "x86-64-v4"]);
    assert_eq!(all.embedded_target().unwrap().arch, host.arch);
    assert_eq!(of(&[]).embedded_target().unwrap_err().code, "code-missing");
    for name in ["x86-64-v4", "aarch64+dotprod", "x86-64-v2"] {
        let target = Target::parse(name).unwrap();
        let Some(lacks) = target.lacks() else { continue };
        let model = of(&[name]);
        let chosen = model.embedded_target().unwrap_err();
        let named = model.link(Code::Embedded { target: &target, trust: Trust::Vouch }).unwrap_err();
        for error in [chosen, named] {
            assert_eq!(error.code, "code-target");
            for word in [name, lacks, &host.to_string()] {
                assert!(error.headline.contains(word), "no `{word}` in {error}");
            }
        }
        assert_eq!(model.linked_target(), None);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn kernels_get_buffers_sizes_and_parts() {
    // fn(bufs, dims, part, parts): bufs[0][part] = dims[0] + dims[1] + parts * 1000
    let code: &[u8] = &[
        0x48, 0x8b, 0x07, // mov rax, [rdi]
        0x4c, 0x8b, 0x06, // mov r8, [rsi]
        0x4c, 0x03, 0x46, 0x08, // add r8, [rsi + 8]
        0x89, 0xc9, // mov ecx, ecx
        0x48, 0x69, 0xc9, 0xe8, 0x03, 0x00, 0x00, // imul rcx, rcx, 1000
        0x49, 0x01, 0xc8, // add r8, rcx
        0x89, 0xd2, // mov edx, edx
        0x4c, 0x89, 0x04, 0xd0, // mov [rax + rdx * 8], r8
        0xc3, // ret
    ];
    let mut image = vec![0xcc; 64];
    image.extend_from_slice(code);
    let section = CodeImage::encode([("stamp", 64)], &image);
    let target = Target::parse("x86-64-v2").unwrap();
    let plan = plan();
    let manifest = Manifest {
        kernels: plan.kernels.clone(),
        entries: vec![plan.entry.clone()],
        targets: vec![target.clone()],
        ..Manifest::default()
    };
    let mut writer = Writer::to_memory();
    writer.section(Section::Code(target.clone()), &section).unwrap();
    let bytes = writer.finish(&manifest).unwrap().bytes.unwrap();
    for trusted in [true, false] {
        let model = Model::from_bytes(bytes.clone(), &ReadOptions::default()).unwrap();
        let code = match trusted {
            true => Code::Embedded { target: &target, trust: Trust::Vouch },
            false => Code::Image { target: &target, section: &section },
        };
        model.link(code).unwrap();
        assert_eq!(model.link(code).unwrap_err().code, "code-linked");
        for threads in [1usize, 4] {
            let options = SessionOptions { profile: true, ..sharing(threads) };
            let mut session = Session::new(model.clone(), options).unwrap();
            for p in [0u64, 5, 1000] {
                let out = session.run("main", &[], &bindings(&[("P", p)])).unwrap();
                let stamp = (3 * p + 7) as i64 + threads as i64 * 1000;
                let out = out[0].as_i64().unwrap();
                assert!(out[..threads].iter().all(|x| *x == stamp), "{out:?}, wanted {stamp}");
            }
            assert_eq!(session.profile()["main/stamp"].runs, 3);
        }
    }
}
