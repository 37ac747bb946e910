//! Recipes: the request of a compile as a TOML file.
//!
//! ```toml
//! calib = ["text.txt"]
//! calib-windows = 64
//! seed = 1
//! target = ["x86-64-v3"]
//! require = "kl<0.1"
//!
//! [[pass]]
//! name = "owq"
//! bits = 3
//! target = 3.25
//! ```
//!
//! Keys are the long options of `actc compile`, options of passes those of the pipeline string. Instead of `[[pass]]`
//! tables there may be `passes = "owq{bits=3,target=3.25}"` or `preset = "w3"`. Files are named as on the command line.

use actc_passes::{PASSES, PassInfo, Pipeline};
use actc_types::braced::{Braced, write_fields};
use actc_types::diagnostic::nearest;
use actc_types::{Diagnostic, Place, Result, RowForm};
use std::fmt;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The passes that a recipe asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passes {
    /// A pipeline, checked and printed with all defaults.
    Pipeline(String),
    /// The name of a preset.
    Preset(String),
}

/// A request; what is not there has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    /// What to do to the model.
    pub passes: Option<Passes>,
    /// The form of the cache of keys and values, where the passes do not say it.
    pub kv: Option<RowForm>,
    /// Calibration data.
    pub calib: Vec<PathBuf>,
    /// Height and width of calibration images, as the command line has them.
    pub size: Option<String>,
    /// What is taken off their elements.
    pub mean: Option<String>,
    /// What these are divided by.
    pub std: Option<String>,
    /// Statistics of activations, instead of collecting them.
    pub stats: Option<PathBuf>,
    /// Number of calibration windows.
    pub calib_windows: Option<usize>,
    /// Tokens of a calibration window.
    pub calib_len: Option<usize>,
    /// Chooses the calibration windows.
    pub seed: Option<u64>,
    /// Longest context in tokens that the model will be used for.
    pub context: Option<u64>,
    /// Extents of inputs that are fixed, as `NAME=N`.
    pub dim: Vec<String>,
    /// Machines to make code for.
    pub target: Vec<String>,
    /// What makes the code.
    pub backend: Option<String>,
    /// How inputs enter products on GPUs.
    pub products: Option<String>,
    /// Conditions on the quality of the result.
    pub require: Option<String>,
    /// Whether weaker methods may step in.
    pub allow_fallback: Option<bool>,
}

/// The keys of a recipe.
const KEYS: [&str; 19] = [
    "passes",
    "preset",
    "pass",
    "kv",
    "calib",
    "size",
    "mean",
    "std",
    "stats",
    "calib-windows",
    "calib-len",
    "seed",
    "context",
    "dim",
    "target",
    "backend",
    "products",
    "require",
    "allow-fallback",
];

impl Recipe {
    /// Reads a recipe. What is wrong is pointed at in the text.
    pub fn parse(text: &str) -> Result<Recipe> {
        let document = DeTable::parse(text).map_err(|e| {
            let span = e.span().unwrap_or(text.len()..text.len());
            Reader { text }.wrong("recipe-syntax", e.message().to_owned(), span)
        })?;
        Reader { text }.recipe(document.get_ref())
    }
}

struct Reader<'t> {
    text: &'t str,
}

impl Reader<'_> {
    fn wrong(&self, code: &'static str, headline: String, span: Range<usize>) -> Diagnostic {
        let place = Place::Span { text: self.text.into(), start: span.start, end: span.end };
        Diagnostic::request(code, headline).at(place)
    }

    fn unknown(&self, what: String, word: &str, known: &[&str], span: Range<usize>) -> Diagnostic {
        let d = self.wrong("recipe-key", what, span);
        match nearest(word, known.iter().copied()) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None if known.is_empty() => d.help("it takes no options"),
            None => d.help(format!("known are {}", known.join(", "))),
        }
    }

    fn recipe(&self, table: &DeTable<'_>) -> Result<Recipe> {
        let mut recipe = Recipe::default();
        let mut asked: Option<&str> = None;
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if matches!(name, "passes" | "preset" | "pass") {
                if let Some(other) = asked.replace(name) {
                    let headline = format!("`{other}` and `{name}` both say what to do");
                    return Err(self.wrong("recipe-conflict", headline, key.span()).help("keep one of them"));
                }
            }
            match name {
                "passes" => recipe.passes = Some(Passes::Pipeline(self.pipeline(self.string(name, value)?, value)?)),
                "preset" => recipe.passes = Some(Passes::Preset(self.string(name, value)?.to_owned())),
                "pass" => recipe.passes = Some(Passes::Pipeline(self.steps(value)?)),
                "kv" => recipe.kv = Some(self.form(name, value)?),
                "calib" => recipe.calib = self.strings(name, value)?.into_iter().map(PathBuf::from).collect(),
                "size" => recipe.size = Some(self.string(name, value)?.to_owned()),
                "mean" => recipe.mean = Some(self.string(name, value)?.to_owned()),
                "std" => recipe.std = Some(self.string(name, value)?.to_owned()),
                "stats" => recipe.stats = Some(self.string(name, value)?.into()),
                "calib-windows" => recipe.calib_windows = Some(self.whole(name, value)? as usize),
                "calib-len" => recipe.calib_len = Some(self.whole(name, value)? as usize),
                "seed" => recipe.seed = Some(self.whole(name, value)?),
                "context" => recipe.context = Some(self.whole(name, value)?),
                "dim" => recipe.dim = self.strings(name, value)?,
                "target" => recipe.target = self.strings(name, value)?,
                "backend" => recipe.backend = Some(self.string(name, value)?.to_owned()),
                "products" => recipe.products = Some(self.string(name, value)?.to_owned()),
                "require" => recipe.require = Some(self.string(name, value)?.to_owned()),
                "allow-fallback" => recipe.allow_fallback = Some(self.flag(name, value)?),
                _ => return Err(self.unknown(format!("a recipe has no key `{name}`"), name, &KEYS, key.span())),
            }
        }
        Ok(recipe)
    }

    fn expected(&self, name: &str, what: &str, value: &Spanned<DeValue<'_>>) -> Diagnostic {
        let headline = format!("`{name}` is {}, expected {what}", value.get_ref().type_str());
        self.wrong("recipe-value", headline, value.span())
    }

    fn string<'v>(&self, name: &str, value: &'v Spanned<DeValue<'_>>) -> Result<&'v str> {
        value.get_ref().as_str().ok_or_else(|| self.expected(name, "a string", value))
    }

    /// A string, or a list of strings.
    fn strings(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>> {
        match value.get_ref() {
            DeValue::Array(items) => items.iter().map(|i| self.string(name, i).map(str::to_owned)).collect(),
            DeValue::String(one) => Ok(vec![one.to_string()]),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => Err(self.expected(name, "a list of strings", value)),
        }
    }

    fn form(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<RowForm> {
        RowForm::parse(self.string(name, value)?)
            .ok_or_else(|| self.wrong("recipe-value", format!("`{name}` is none of f32, f16 and int8"), value.span()))
    }

    fn whole(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<u64> {
        let number = match value.get_ref() {
            DeValue::Integer(i) => integer(&i.to_string()),
            DeValue::String(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => None,
        };
        let number = number.and_then(|n| u64::try_from(n).ok());
        number.ok_or_else(|| self.expected(name, "a whole number from 0 up", value))
    }

    fn flag(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<bool> {
        value.get_ref().as_bool().ok_or_else(|| self.expected(name, "true or false", value))
    }

    /// A pipeline string, checked; what is wrong in it is shown in its own text.
    fn pipeline(&self, text: &str, value: &Spanned<DeValue<'_>>) -> Result<String> {
        let parsed = Pipeline::parse(text, PASSES).map_err(|d| match d.place {
            Place::Span { .. } => d,
            Place::Request | Place::File(_) | Place::Offset { .. } | Place::Node(_) | Place::Tensor(_) => {
                d.at(Place::Span { text: self.text.into(), start: value.span().start, end: value.span().end })
            }
        })?;
        Ok(parsed.to_string())
    }

    /// `[[pass]]` tables as a pipeline.
    fn steps(&self, value: &Spanned<DeValue<'_>>) -> Result<String> {
        let wanted = "one `[[pass]]` table for each pass";
        let DeValue::Array(items) = value.get_ref() else { return Err(self.expected("pass", wanted, value)) };
        let mut out = String::new();
        for item in items {
            let table = item.get_ref().as_table().ok_or_else(|| self.expected("pass", wanted, item))?;
            let step = self.step(table, item.span())?;
            let _ = write!(out, "{}{step}", if out.is_empty() { "" } else { "," });
        }
        Ok(out)
    }

    fn step(&self, table: &DeTable<'_>, span: Range<usize>) -> Result<String> {
        let Some(name) = table.get("name") else {
            return Err(self.wrong("recipe-value", "a `[[pass]]` table has no `name`".into(), span));
        };
        let info = self.info(self.string("name", name)?, name.span())?;
        let known: Vec<&str> = info.options.iter().map(|o| o.name).collect();
        let mut fields: Vec<(&str, Option<String>)> = Vec::new();
        let mut spans = Vec::new();
        for (key, value) in table.iter().filter(|(key, _)| key.get_ref() != "name") {
            let word = key.get_ref().as_ref();
            if !known.contains(&word) {
                let what = format!("`{}` has no option `{word}`", info.name);
                return Err(self.unknown(what, word, &known, key.span()));
            }
            fields.push((word, Some(self.option(word, value)?)));
            spans.push(value.span());
        }
        let text = Shown(info.name, &fields).to_string();
        let parsed = Pipeline::parse(&text, PASSES).map_err(|d| {
            // Back from the option in the pipeline's text to the value in the recipe.
            let field = match &d.place {
                Place::Span { start, .. } => Braced::parse_list(&text)
                    .ok()
                    .and_then(|items| items.first()?.fields.iter().position(|f| f.span.contains(start))),
                Place::Request | Place::File(_) | Place::Offset { .. } | Place::Node(_) | Place::Tensor(_) => None,
            };
            let span = field.map_or(name.span(), |i| spans[i].clone());
            d.at(Place::Span { text: self.text.into(), start: span.start, end: span.end })
        })?;
        Ok(parsed.to_string())
    }

    fn info(&self, name: &str, span: Range<usize>) -> Result<&'static PassInfo> {
        let known: Vec<&str> = PASSES.iter().map(|p| p.name).collect();
        let found = PASSES.iter().find(|p| p.name == name);
        found.ok_or_else(|| self.unknown(format!("unknown pass `{name}`"), name, &known, span))
    }

    /// An option's value as the pipeline writes it.
    fn option(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<String> {
        let text = match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(i) => integer(&i.to_string()).map(|n| n.to_string()),
            DeValue::Float(f) => f.to_string().parse().ok().filter(|f: &f64| f.is_finite()).map(|f| f.to_string()),
            DeValue::Boolean(b) => Some(b.to_string()),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
        };
        text.ok_or_else(|| self.expected(name, "a number, a string, or true or false", value))
    }
}

/// An integer as TOML writes it, underscores gone already.
fn integer(text: &str) -> Option<i128> {
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            return i128::from_str_radix(digits, radix).ok();
        }
    }
    text.parse().ok()
}

/// A pass as the pipeline writes it.
struct Shown<'a>(&'a str, &'a [(&'a str, Option<String>)]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)?;
        write_fields(f, self.1)
    }
}

/// `text` as a basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A number or a word as a value of TOML.
fn value(text: &str) -> String {
    let whole = text.parse::<i64>().is_ok_and(|n| n.to_string() == text);
    let broken = text.parse::<f64>().is_ok_and(|n| n.is_finite() && n.to_string() == text && text.contains('.'));
    if whole || broken { text.to_owned() } else { quoted(text) }
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.map(|i| quoted(&i)).collect::<Vec<_>>().join(", "))
}

/// The text that reads as this recipe. A pipeline that does not parse is left out.
impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(form) = self.kv {
            writeln!(f, "kv = {}", quoted(form.name()))?;
        }
        if !self.calib.is_empty() {
            writeln!(f, "calib = {}", list(self.calib.iter().map(|p| p.display().to_string())))?;
        }
        for (key, text) in [("size", &self.size), ("mean", &self.mean), ("std", &self.std)] {
            if let Some(text) = text {
                writeln!(f, "{key} = {}", quoted(text))?;
            }
        }
        if let Some(path) = &self.stats {
            writeln!(f, "stats = {}", quoted(&path.display().to_string()))?;
        }
        for (key, number) in [("calib-windows", self.calib_windows), ("calib-len", self.calib_len)] {
            if let Some(number) = number {
                writeln!(f, "{key} = {number}")?;
            }
        }
        if let Some(seed) = self.seed {
            // TOML counts up to 2^63 - 1; beyond it this reader takes hexadecimal digits too.
            if i64::try_from(seed).is_ok() { writeln!(f, "seed = {seed}")? } else { writeln!(f, "seed = {seed:#x}")? }
        }
        if let Some(context) = self.context {
            // No model serves more tokens than TOML counts.
            writeln!(f, "context = {}", context.min(i64::MAX as u64))?;
        }
        if !self.dim.is_empty() {
            writeln!(f, "dim = {}", list(self.dim.iter().cloned()))?;
        }
        if !self.target.is_empty() {
            writeln!(f, "target = {}", list(self.target.iter().cloned()))?;
        }
        if let Some(backend) = &self.backend {
            writeln!(f, "backend = {}", quoted(backend))?;
        }
        if let Some(products) = &self.products {
            writeln!(f, "products = {}", quoted(products))?;
        }
        if let Some(conditions) = &self.require {
            writeln!(f, "require = {}", quoted(conditions))?;
        }
        if let Some(allowed) = self.allow_fallback {
            writeln!(f, "allow-fallback = {allowed}")?;
        }
        match &self.passes {
            None => {}
            Some(Passes::Preset(name)) => writeln!(f, "preset = {}", quoted(name))?,
            Some(Passes::Pipeline(text)) => {
                for step in Pipeline::parse(text, PASSES).iter().flat_map(Pipeline::steps) {
                    writeln!(f, "\n[[pass]]\nname = {}", quoted(step.info.name))?;
                    for (key, text) in step.pass.options() {
                        writeln!(f, "{key} = {}", value(&text))?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step() -> impl Strategy<Value = String> {
        let group = prop_oneof![Just("channel".to_owned()), (1u32..20).prop_map(|n| (16 * n).to_string())];
        let grid = prop::sample::select(vec!["loss", "norm", "range"]);
        (0usize..8, 1u32..=8, group, grid, 0.0f64..5.0, any::<bool>()).prop_map(
            |(which, bits, group, grid, extra, stored)| {
                let budget = format!("{}={}", if stored { "stored" } else { "target" }, f64::from(bits) + extra);
                match which {
                    0 => "clean".into(),
                    1 => format!("calibrate{{windows={}}}", if stored { "all".into() } else { bits.to_string() }),
                    2 => format!("rtn{{bits={bits},group={group}}}"),
                    3 => format!("gptq:bits={bits}:group={group}:grid={grid}"),
                    4 => format!("owq{{bits={bits}, group={group}, {budget}}}"),
                    5 => format!("head{{group={group}}}"),
                    6 => format!("kv{{bits={}}}", if stored { 8 } else { 16 }),
                    _ => "act{bits=8}".into(),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn recipes_and_pipelines_say_the_same(
            steps in prop::collection::vec(step(), 1..5),
            calib in prop::collection::vec("\\PC{0,12}", 0..3),
            windows in prop::option::of(any::<u32>()),
            seed in prop::option::of(any::<u64>()),
            require in prop::option::of("[ -~]{0,10}"),
            allow in prop::option::of(any::<bool>()),
        ) {
            let pipeline = Pipeline::parse(&steps.join(","), PASSES).unwrap().to_string();
            let recipe = Recipe {
                passes: Some(Passes::Pipeline(pipeline.clone())),
                kv: windows.map(|n| RowForm::ALL[n as usize % 3]),
                calib: calib.into_iter().map(PathBuf::from).collect(),
                size: require.clone(),
                mean: None,
                std: require.clone(),
                stats: require.clone().map(PathBuf::from),
                calib_windows: windows.map(|n| n as usize),
                calib_len: None,
                seed,
                context: windows.map(u64::from),
                dim: require.clone().into_iter().collect(),
                target: vec!["host".into()],
                backend: require.clone(),
                products: require.clone(),
                require,
                allow_fallback: allow,
            };
            let text = recipe.to_string();
            let back = Recipe::parse(&text).unwrap();
            prop_assert_eq!(&back, &recipe, "{}", text);
            prop_assert_eq!(back.to_string(), text);
            let string = Recipe::parse(&format!("passes = {}", quoted(&steps.join(",")))).unwrap();
            prop_assert_eq!(string.passes, recipe.passes);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}|[a-z=\\[\\]{}\", 0-9.\\n-]{0,60}") {
            let _ = Recipe::parse(&text);
        }
    }

    #[test]
    fn mistakes_point_into_the_file() {
        for (text, code, shown, help) in [
            ("seed = 1\nsed = 2\n", "recipe-key", "sed", Some("did you mean `seed`?")),
            ("windos = 2\n", "recipe-key", "windos", None),
            ("[[pass]]\nname = \"owk\"\n", "recipe-key", "\"owk\"", Some("did you mean `owq`?")),
            ("[[pass]]\nname = \"owq\"\nbit = 3\n", "recipe-key", "bit", Some("did you mean `bits`?")),
            ("[[pass]]\nname = \"owq\"\nbits = 9\n", "bad-option", "9", None),
            ("[[pass]]\nname = \"owq\"\nbits = [3]\n", "recipe-value", "[3]", None),
            ("[[pass]]\nname = \"owq\"\ntarget = 3.5\nstored = 4\n", "option-conflict", "\"owq\"", None),
            ("[[pass]]\nbits = 3\n", "recipe-value", "[[pass]]", None),
            ("seed = -1", "recipe-value", "-1", None),
            ("seed = \"a\"", "recipe-value", "\"a\"", None),
            ("kv = \"int4\"", "recipe-value", "\"int4\"", None),
            ("calib = [1]", "recipe-value", "1", None),
            ("pass = 3", "recipe-value", "3", None),
            ("preset = \"w3\"\npasses = \"rtn\"\n", "recipe-conflict", "preset", None),
            ("seed = = 2", "recipe-syntax", "=", None),
            ("seed = 1\nseed = 2", "recipe-syntax", "seed", None),
        ] {
            let error = Recipe::parse(text).unwrap_err();
            assert_eq!(error.code, code, "{text}: {error}");
            let Place::Span { text: whole, start, end } = &error.place else { panic!("{text}: no place: {error}") };
            assert_eq!((whole.as_str(), &whole[*start..*end]), (text, shown), "{error}");
            if let Some(help) = help {
                assert_eq!(error.help.as_deref(), Some(help), "{text}");
            }
        }
        // In a pipeline string, the pipeline is what is shown.
        let error = Recipe::parse("passes = \"owk\"").unwrap_err();
        assert_eq!(error.place, Place::Span { text: "owk".into(), start: 0, end: 3 });
        let deep = "a = ".to_owned() + &"[".repeat(100_000);
        assert_eq!(Recipe::parse(&deep).unwrap_err().code, "recipe-syntax");
    }
}
