//! A finding fails the launch and all calls after it, and is reported: in a process of its own, which finds the stand-in as a
//! copy named `libcuda.so`.
#![allow(unsafe_code, reason = "launches are unsafe in cudarc: kernels may do anything to memory")]

mod room;

use cudarc::driver::{CudaContext, DriverError, LaunchConfig, PushKernelArg, sys};

const CHILD: &str = "ACTC_PTX_DRIVER_CHILD";

#[test]
fn a_finding_is_an_error_with_a_report() {
    if std::env::var_os(CHILD).is_some() {
        return child().expect("the child's calls answer as they should");
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(room::library(), folder.path().join("libcuda.so")).expect("the build made it");
    let (report, cost) = (folder.path().join("report"), folder.path().join("cost"));
    let output = std::process::Command::new(std::env::current_exe().expect("the test has a path"))
        .args(["--exact", "a_finding_is_an_error_with_a_report", "--nocapture"])
        .env(CHILD, "1")
        .env("LD_LIBRARY_PATH", folder.path())
        .env("ACTC_PTX_ARCH", "sm_89")
        .env("ACTC_PTX_REPORT", &report)
        .env("ACTC_PTX_COST", &cost)
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report = std::fs::read_to_string(report).expect("a report was written");
    for part in [
        "kernel elementwise",
        "PTX line",
        "block [1, 0, 0], thread [0, 0, 0]",
        "128 bytes into an allocation of 128",
        "ld.global",
    ] {
        assert!(report.contains(part) && errors.contains(part), "{part}: {report}");
    }
    assert!(std::fs::read_to_string(cost).is_ok_and(|text| text.starts_with("elementwise [1, 1, 1] x [32, 1, 1]")));
}

fn child() -> Result<(), DriverError> {
    let context = CudaContext::new(0)?;
    assert_eq!(context.compute_capability()?, (8, 9));
    let stream = context.default_stream();
    let scale = context.load_module(room::data("elementwise.llvm"))?.load_function("elementwise")?;
    let x = stream.clone_htod(&[1f32; 32])?;
    let mut y = stream.alloc_zeros::<f32>(64)?;
    let (one, count) = (1f32, 64i32);
    let shape = |blocks| LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: the emulator finds what is out of bounds.
    unsafe { stream.launch_builder(&scale).arg(&x).arg(&mut y).arg(&one).arg(&count).launch(shape(1)) }?;
    // SAFETY: as above.
    let wrong = unsafe { stream.launch_builder(&scale).arg(&x).arg(&mut y).arg(&one).arg(&count).launch(shape(2)) };
    assert_eq!(wrong.map(|_| ()).expect_err("x has 32").0, sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    assert!(stream.clone_dtoh(&y).is_err(), "the device is broken from now on");
    Ok(())
}
