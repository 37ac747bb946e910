//! The machines that code is made for: names, features, and what `host` means.

use crate::diagnostic::{Diagnostic, Result, nearest};
use std::fmt;
use std::sync::OnceLock;

/// A machine that code is made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The family and its level.
    pub arch: Arch,
    /// Extra CPU features by name, sorted.
    pub features: Vec<&'static str>,
}

/// What runs the code of an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// 64-bit processors of the PC.
    X86,
    /// 64-bit Arm processors.
    Aarch64,
    /// NVIDIA GPUs.
    Nvidia,
}

impl Family {
    /// What runs its code, in words.
    fn device(self) -> &'static str {
        match self {
            Family::X86 => "an x86-64 processor",
            Family::Aarch64 => "an aarch64 processor",
            Family::Nvidia => "an NVIDIA GPU that this build can use",
        }
    }
}

macro_rules! arches {
    ($($family:ident $variant:ident $name:literal $summary:literal [$($feature:literal),*] adds [$($base:literal),*]),* $(,)?) => {
        /// Architecture families and levels; within a family, a higher one has all that the lower ones have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Arch { $(#[doc = $summary] $variant),* }

        impl Arch {
            /// All architectures, the levels of a CPU family from the lowest up.
            pub const ALL: &[Arch] = &[$(Arch::$variant),*];
            /// The name on the command line.
            pub fn name(self) -> &'static str { match self { $(Arch::$variant => $name),* } }
            /// One line on what it is.
            pub fn summary(self) -> &'static str { match self { $(Arch::$variant => $summary),* } }
            /// What runs its code.
            pub fn family(self) -> Family { match self { $(Arch::$variant => Family::$family),* } }
            /// Features that may follow with `+`.
            pub fn features(self) -> &'static [&'static str] { match self { $(Arch::$variant => &[$($feature),*]),* } }
            /// CPU features that its code may use beyond those of the level below.
            fn added(self) -> &'static [&'static str] { match self { $(Arch::$variant => &[$($base),*]),* } }
        }
    };
}

// The levels of x86-64 are those of its ABI. Every processor with AVX-512 that has AVX-VNNI has the form of AVX-512 too.
arches! {
    X86 X86V2 "x86-64-v2" "x86-64 with SSE4.2" [] adds ["cmpxchg16b", "popcnt", "sse3", "ssse3", "sse4.1", "sse4.2"],
    X86 X86V3 "x86-64-v3" "x86-64 with AVX2, FMA and F16C" ["avxvnni"]
        adds ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe"],
    X86 X86V4 "x86-64-v4" "x86-64 with AVX-512" ["avx512vnni"]
        adds ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"],
    Aarch64 Aarch64 "aarch64" "64-bit Arm with NEON" ["dotprod", "i8mm"] adds ["neon"],
    Nvidia Sm80 "sm_80" "NVIDIA Ampere (A100)" [] adds [],
    Nvidia Sm86 "sm_86" "NVIDIA Ampere (RTX 30)" [] adds [],
    Nvidia Sm89 "sm_89" "NVIDIA Ada (RTX 40, L4, L40)" [] adds [],
    Nvidia Sm90 "sm_90" "NVIDIA Hopper, portable" [] adds [],
    Nvidia Sm90a "sm_90a" "NVIDIA Hopper (H100, H200)" [] adds [],
    Nvidia Sm100 "sm_100" "NVIDIA Blackwell (B200)" [] adds [],
    Nvidia Sm120 "sm_120" "NVIDIA Blackwell (RTX 50)" [] adds [],
}

/// What code for an NVIDIA GPU asks of the device: its compute capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// The number before the point.
    pub major: u32,
    /// The number behind it.
    pub minor: u32,
    /// Whether no newer device runs the code.
    pub exact: bool,
}

impl Capability {
    /// Whether a device of compute capability `major.minor` runs PTX for this one.
    pub fn runs_on(self, major: u32, minor: u32) -> bool {
        let own = (self.major, self.minor);
        if self.exact { own == (major, minor) } else { own <= (major, minor) }
    }
}

/// A function that asks the processor for a feature by its name.
macro_rules! detected {
    ($detect:ident $($name:tt)*) => {
        /// Whether this processor has `feature`.
        pub(super) fn has(feature: &str) -> bool {
            match feature {
                $($name => std::arch::$detect!($name),)*
                _ => false,
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod processor {
    detected! { is_x86_feature_detected
        "cmpxchg16b" "popcnt" "sse3" "ssse3" "sse4.1" "sse4.2" "avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe"
        "avxvnni" "avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl" "avx512vnni"
    }
}

#[cfg(target_arch = "aarch64")]
mod processor {
    detected! { is_aarch64_feature_detected "neon" "dotprod" "i8mm" }
}

/// The family of the processor that this program was built for.
const HOST: Family = if cfg!(target_arch = "aarch64") { Family::Aarch64 } else { Family::X86 };

impl Arch {
    /// Whether it is an NVIDIA GPU.
    pub fn is_gpu(self) -> bool {
        self.family() == Family::Nvidia
    }

    /// What its code asks of an NVIDIA GPU; nothing where it is none.
    pub fn capability(self) -> Option<Capability> {
        let of = |major, minor| Some(Capability { major, minor, exact: false });
        match self {
            Arch::X86V2 | Arch::X86V3 | Arch::X86V4 | Arch::Aarch64 => None,
            Arch::Sm80 => of(8, 0),
            Arch::Sm86 => of(8, 6),
            Arch::Sm89 => of(8, 9),
            Arch::Sm90 => of(9, 0),
            Arch::Sm90a => Some(Capability { major: 9, minor: 0, exact: true }),
            Arch::Sm100 => of(10, 0),
            Arch::Sm120 => of(12, 0),
        }
    }

    /// CPU features that its code may use, by the names of Rust's feature detection. None of a GPU.
    pub fn needs(self) -> impl Iterator<Item = &'static str> {
        let levels = Arch::ALL.iter().filter(move |a| a.family() == self.family() && **a <= self);
        levels.flat_map(|level| level.added()).copied()
    }
}

impl Target {
    /// The machine this process runs on: the highest level that its processor has, with all features that code can use.
    pub fn host() -> Target {
        static FOUND: OnceLock<Target> = OnceLock::new();
        let found = FOUND.get_or_init(|| {
            let mut levels = Arch::ALL.iter().copied().filter(|a| a.family() == HOST);
            // A processor below the lowest level is told so when code is to be run.
            let least = levels.next().unwrap_or(Arch::X86V2);
            let arch = levels.take_while(|a| a.needs().all(processor::has)).last().unwrap_or(least);
            let mut features = arch.features().to_vec();
            features.retain(|f| processor::has(f));
            features.sort_unstable();
            Target { arch, features }
        });
        found.clone()
    }

    /// What code is made for where nobody says: all levels of this processor's family, so that the artifact is the same
    /// whichever machine of the family made it, and runs well on each.
    pub fn portable() -> Vec<Target> {
        let plain = |arch: &Arch| Target { arch: *arch, features: Vec::new() };
        let mut all: Vec<Target> = Arch::ALL.iter().filter(|a| a.family() == HOST).map(plain).collect();
        if HOST == Family::Aarch64 {
            all.push(Target { arch: Arch::Aarch64, features: vec!["dotprod"] });
        }
        all
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

    /// Whether every machine of this target runs code for `other` too.
    pub fn includes(&self, other: &Target) -> bool {
        let same = self == other;
        let level = self.arch.family() == other.arch.family() && other.arch <= self.arch && !self.arch.is_gpu();
        same || level && other.features.iter().all(|f| self.features.contains(f))
    }

    /// What this machine lacks to run code for this target: the first CPU feature, or the device itself.
    pub fn lacks(&self) -> Option<&'static str> {
        if self.arch.family() != HOST {
            return Some(self.arch.family().device());
        }
        self.arch.needs().chain(self.features.iter().copied()).find(|f| !processor::has(f))
    }

    /// Whether code for this target can run in this process.
    pub fn runs_here(&self) -> bool {
        self.lacks().is_none()
    }

    /// The one of `targets` whose code is best on this machine: of those that run here the highest level, and of those
    /// the one with most features. `None` where none runs.
    pub fn best<'t>(targets: impl IntoIterator<Item = &'t Target>) -> Option<&'t Target> {
        targets.into_iter().filter(|t| t.runs_here()).max_by_key(|t| (t.arch, t.features.len(), &t.features))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.arch.name())?;
        self.features.iter().try_for_each(|feature| write!(f, "+{feature}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(name: &str) -> Target {
        Target::parse(name).unwrap()
    }

    #[test]
    fn the_host_runs_what_it_is_and_all_below() {
        let host = Target::host();
        assert_eq!(host.lacks(), None, "{host}");
        assert_eq!(target(&host.to_string()), host, "its name reads as itself");
        for arch in Arch::ALL.iter().filter(|a| a.family() == HOST) {
            let plain = Target { arch: *arch, features: Vec::new() };
            assert_eq!(plain.runs_here(), *arch <= host.arch, "{plain} on {host}");
            assert_eq!(plain.runs_here(), host.includes(&plain));
            for feature in arch.features() {
                let more = Target { arch: *arch, features: vec![feature] };
                assert_eq!(more.runs_here(), plain.runs_here() && processor::has(feature), "{more} on {host}");
            }
        }
    }

    /// Every name in the table is one that detection knows: a word that it does not know would never be found.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_sees_the_same_processor() {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let line = text.lines().find(|l| l.starts_with("flags") || l.starts_with("Features")).unwrap();
        let flags: Vec<&str> = line.split_whitespace().collect();
        let kernel = |name: &str| match name {
            "cmpxchg16b" => "cx16",
            "sse3" => "pni",
            "sse4.1" => "sse4_1",
            "sse4.2" => "sse4_2",
            "lzcnt" => "abm",
            "avxvnni" => "avx_vnni",
            "avx512vnni" => "avx512_vnni",
            "neon" => "asimd",
            "dotprod" => "asimddp",
            _ => "",
        };
        for arch in Arch::ALL.iter().filter(|a| a.family() == HOST) {
            for name in arch.needs().chain(arch.features().iter().copied()) {
                let flag = Some(kernel(name)).filter(|f| !f.is_empty()).unwrap_or(name);
                assert_eq!(processor::has(name), flags.contains(&flag), "{name}");
            }
        }
    }

    #[test]
    fn what_is_lacking_is_named() {
        let foreign = target(if HOST == Family::X86 { "aarch64+dotprod" } else { "x86-64-v2" });
        assert!(foreign.lacks().unwrap().ends_with("processor"), "{:?}", foreign.lacks());
        assert!(target("sm_90").lacks().unwrap().contains("GPU"));
        if Target::host().arch == Arch::X86V3 {
            assert_eq!(target("x86-64-v4").lacks(), Some("avx512f"));
            assert_eq!(target("x86-64-v4+avx512vnni").lacks(), Some("avx512f"));
        }
    }

    #[test]
    fn levels_include_lower_levels() {
        for (high, low, yes) in [
            ("x86-64-v4", "x86-64-v2", true),
            ("x86-64-v3+avxvnni", "x86-64-v3", true),
            ("x86-64-v3", "x86-64-v3+avxvnni", false),
            ("x86-64-v4+avx512vnni", "x86-64-v3+avxvnni", false),
            ("x86-64-v2", "x86-64-v3", false),
            ("aarch64+dotprod+i8mm", "aarch64+i8mm", true),
            ("aarch64", "x86-64-v2", false),
            ("sm_90a", "sm_90", false),
            ("sm_90", "sm_90", true),
        ] {
            assert_eq!(target(high).includes(&target(low)), yes, "{high} {low}");
        }
    }

    #[test]
    fn newer_gpus_run_what_older_ones_do() {
        for arch in Arch::ALL {
            assert_eq!(arch.capability().is_some(), arch.is_gpu());
            let Some(c) = arch.capability() else { continue };
            // The name says it.
            let name = format!("sm_{}{}{}", c.major, c.minor, if c.exact { "a" } else { "" });
            assert_eq!(arch.name(), name);
            assert!(c.runs_on(c.major, c.minor) && !c.runs_on(c.major - 1, 9));
            assert_eq!(c.runs_on(c.major, c.minor + 1), !c.exact);
            assert_eq!(c.runs_on(c.major + 1, 0), !c.exact);
        }
    }

    #[test]
    fn the_best_code_that_runs_is_chosen() {
        let names = |names: &[&str]| names.iter().map(|n| target(n)).collect::<Vec<_>>();
        let host = Target::host();
        let all = [names(&["sm_90", "x86-64-v4", "x86-64-v2", "x86-64-v3", "aarch64"]), vec![host.clone()]].concat();
        assert_eq!(Target::best(&all), Some(&host));
        let (last, rest) = all.split_last().unwrap();
        assert_eq!(Target::best(rest).map(|t| t.arch), Some(last.arch));
        assert_eq!(Target::best(&names(&["sm_90"])), None);
        assert_eq!(Target::best(&Target::portable()).map(|t| t.arch), Some(host.arch));
    }
}
