//! The machines that code is made for: names, features, and what `host` means.

use crate::diagnostic::{Diagnostic, Result, nearest};
use std::fmt;

/// A machine that code is made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The family and its level.
    pub arch: Arch,
    /// Extra CPU features by name, sorted.
    pub features: Vec<&'static str>,
}

macro_rules! arches {
    ($($variant:ident $name:literal $summary:literal [$($feature:literal),*]),* $(,)?) => {
        /// Architecture families and levels.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Arch { $(#[doc = $summary] $variant),* }

        impl Arch {
            /// All architectures.
            pub const ALL: &[Arch] = &[$(Arch::$variant),*];
            /// The name on the command line.
            pub fn name(self) -> &'static str { match self { $(Arch::$variant => $name),* } }
            /// One line on what it is.
            pub fn summary(self) -> &'static str { match self { $(Arch::$variant => $summary),* } }
            /// Features that may follow with `+`.
            pub fn features(self) -> &'static [&'static str] { match self { $(Arch::$variant => &[$($feature),*]),* } }
        }
    };
}

arches! {
    X86V2 "x86-64-v2" "x86-64 with SSE4.2" [],
    X86V3 "x86-64-v3" "x86-64 with AVX2, FMA and F16C" ["avxvnni"],
    X86V4 "x86-64-v4" "x86-64 with AVX-512" ["avxvnni"],
    Aarch64 "aarch64" "64-bit Arm with NEON" ["dotprod", "i8mm"],
    Sm80 "sm_80" "NVIDIA Ampere (A100)" [],
    Sm86 "sm_86" "NVIDIA Ampere (RTX 30)" [],
    Sm89 "sm_89" "NVIDIA Ada (RTX 40, L4, L40)" [],
    Sm90 "sm_90" "NVIDIA Hopper, portable" [],
    Sm90a "sm_90a" "NVIDIA Hopper (H100, H200)" [],
    Sm100 "sm_100" "NVIDIA Blackwell (B200)" [],
    Sm120 "sm_120" "NVIDIA Blackwell (RTX 50)" [],
}

impl Arch {
    /// Whether it is an NVIDIA GPU.
    pub fn is_gpu(self) -> bool {
        match self {
            Arch::X86V2 | Arch::X86V3 | Arch::X86V4 | Arch::Aarch64 => false,
            Arch::Sm80 | Arch::Sm86 | Arch::Sm89 | Arch::Sm90 | Arch::Sm90a | Arch::Sm100 | Arch::Sm120 => true,
        }
    }
}

impl Target {
    /// The machine this process runs on.
    pub fn host() -> Target {
        #[cfg(target_arch = "x86_64")]
        {
            let v3 = ["avx2", "fma", "f16c", "bmi2", "movbe"];
            let has = |f: &str| match f {
                "avx2" => std::is_x86_feature_detected!("avx2"),
                "fma" => std::is_x86_feature_detected!("fma"),
                "f16c" => std::is_x86_feature_detected!("f16c"),
                "bmi2" => std::is_x86_feature_detected!("bmi2"),
                _ => std::is_x86_feature_detected!("movbe"),
            };
            let v4 = std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512bw")
                && std::is_x86_feature_detected!("avx512vl");
            let arch = match v3.iter().all(|f| has(f)) {
                true if v4 => Arch::X86V4,
                true => Arch::X86V3,
                false => Arch::X86V2,
            };
            Target { arch, features: Vec::new() }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Target { arch: Arch::Aarch64, features: Vec::new() }
    }

    /// Reads a name such as `host`, `x86-64-v3+avxvnni` or `sm_89`.
    pub fn parse(text: &str) -> Result<Target> {
        let mut words = text.split('+');
        let name = words.next().unwrap_or("");
        let mut target = if name == "host" {
            Target::host()
        } else {
            let arch = Arch::ALL.iter().copied().find(|a| a.name() == name).ok_or_else(|| {
                let error = Diagnostic::request("unknown-target", format!("unknown target `{name}`"));
                match nearest(name, Arch::ALL.iter().map(|a| a.name())) {
                    Some(word) => error.help(format!("did you mean `{word}`? `actc targets` lists them")),
                    None => error.help("`actc targets` lists them"),
                }
            })?;
            Target { arch, features: Vec::new() }
        };
        for word in words {
            let known = target.arch.features();
            let feature = known.iter().find(|f| **f == word).ok_or_else(|| {
                let list = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                Diagnostic::request("unknown-feature", format!("`{}` has no feature `{word}`", target.arch.name()))
                    .help(format!("its features: {list}"))
            })?;
            target.features.push(feature);
        }
        target.features.sort_unstable();
        target.features.dedup();
        Ok(target)
    }

    /// Whether code for this target can run in this process.
    pub fn runs_here(&self) -> bool {
        let host = Target::host();
        let level = |a: Arch| match a {
            Arch::X86V2 => Some(2),
            Arch::X86V3 => Some(3),
            Arch::X86V4 => Some(4),
            Arch::Aarch64
            | Arch::Sm80
            | Arch::Sm86
            | Arch::Sm89
            | Arch::Sm90
            | Arch::Sm90a
            | Arch::Sm100
            | Arch::Sm120 => None,
        };
        let fits = match (level(self.arch), level(host.arch)) {
            (Some(a), Some(b)) => a <= b,
            _ => self.arch == host.arch,
        };
        fits && self.features.is_empty()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.arch.name())?;
        self.features.iter().try_for_each(|feature| write!(f, "+{feature}"))
    }
}
