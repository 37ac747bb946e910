//! The texts of actc's generated sources, one file a family, rendered by `tera`.
//!
//! Delimiters are `{= value =}`, `{: block :}` and `{# comment #}`: braces of C, CUDA and PTX, such as `{{0}}` and
//! `{%0, %1}`, pass through untouched. Templates do no arithmetic: every derived number is computed in Rust and handed over,
//! and a name that is not handed over is an error.
//!
//! Deliberately absent: logic. A template that needs a decision gets it as a value.
#![forbid(unsafe_code)]

use tera::{Context, Delimiters, Tera};

pub mod cuda;

/// The templates by name.
const SOURCES: &[(&str, &str)] = &[
    ("listing", include_str!("../listing.tera")),
    ("overlap", include_str!("../cuda/overlap.cu.tera")),
    ("fragments", include_str!("../cuda/fragments.cu.tera")),
    ("matrix", include_str!("../cuda/matrix.cu.tera")),
    ("norm", include_str!("../cuda/norm.cu.tera")),
    ("prepare", include_str!("../cuda/prepare.cu.tera")),
    ("gate", include_str!("../cuda/gate.cu.tera")),
    ("gemv", include_str!("../cuda/gemv.cu.tera")),
    ("gemm", include_str!("../cuda/gemm.cu.tera")),
    ("wgmma", include_str!("../cuda/wgmma.cu.tera")),
    ("swizzle", include_str!("../cuda/swizzle.cu.tera")),
    ("reduce", include_str!("../cuda/reduce.cu.tera")),
    ("rows", include_str!("../cuda/rows.cu.tera")),
    ("weights", include_str!("../cuda/weights.cu.tera")),
    ("attend", include_str!("../cuda/attend.cu.tera")),
    ("powers", include_str!("../cuda/powers.cu.tera")),
    ("flash", include_str!("../cuda/flash.cu.tera")),
    ("table", include_str!("../cuda/table.cu.tera")),
    ("row", include_str!("../cuda/row.cu.tera")),
    ("embedding", include_str!("../cuda/embedding.cu.tera")),
    ("decode", include_str!("../cuda/decode.cu.tera")),
    ("append", include_str!("../cuda/append.cu.tera")),
    ("each", include_str!("../cuda/each.cu.tera")),
    ("copy", include_str!("../cuda/copy.cu.tera")),
    ("teams", include_str!("../cuda/teams.cu.tera")),
    ("rowwise", include_str!("../cuda/rowwise.cu.tera")),
    ("place", include_str!("../cuda/place.cu.tera")),
    ("conv", include_str!("../cuda/conv.cu.tera")),
    ("pool", include_str!("../cuda/pool.cu.tera")),
    ("scatter", include_str!("../cuda/scatter.cu.tera")),
    ("recurrent", include_str!("../cuda/recurrent.cu.tera")),
    ("linear_attention", include_str!("../cuda/linear_attention.cu.tera")),
    ("fold", include_str!("../cuda/fold.cu.tera")),
    ("grid_sample", include_str!("../cuda/grid_sample.cu.tera")),
    ("region_pool", include_str!("../cuda/region_pool.cu.tera")),
    ("det", include_str!("../cuda/det.cu.tera")),
    ("gram", include_str!("../cuda/gram.cu.tera")),
    ("channel_stats", include_str!("../cuda/channel_stats.cu.tera")),
    ("top_k", include_str!("../cuda/top_k.cu.tera")),
    ("matmul", include_str!("../cuda/matmul.cu.tera")),
    ("combine", include_str!("../cuda/combine.cu.tera")),
];

/// What `listing` shows above the text of a kernel.
#[derive(Clone, Debug)]
pub struct Listing<'a> {
    /// How a line of comment starts in the kernel's language.
    pub comment: &'a str,
    /// The kernel's symbol.
    pub symbol: &'a str,
    /// What it computes, canonically.
    pub spec: &'a str,
    /// The machine it is for.
    pub target: &'a str,
    /// A drawing of the layout of its weights, line by line; empty for kernels without.
    pub layout: &'a [String],
    /// The kernel's text.
    pub body: &'a str,
}

impl Listing<'_> {
    /// The listing. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        let mut context = Context::new();
        context.insert("comment", self.comment);
        context.insert("symbol", self.symbol);
        context.insert("spec", self.spec);
        context.insert("target", self.target);
        context.insert("layout", self.layout);
        context.insert("body", self.body);
        engine()?.render("listing", &context).map_err(|e| format!("listing: {e}"))
    }
}

fn engine() -> Result<Tera, String> {
    let mut tera = Tera::default();
    let delimiters = Delimiters {
        block_start: "{:".into(),
        block_end: ":}".into(),
        variable_start: "{=".into(),
        variable_end: "=}".into(),
        comment_start: "{#".into(),
        comment_end: "#}".into(),
    };
    tera.set_delimiters(delimiters).map_err(|e| e.to_string())?;
    tera.add_raw_templates(SOURCES.to_vec()).map_err(|e| e.to_string())?;
    Ok(tera)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_of_other_languages_pass() {
        let body = "mov {%0, %1}, [%rd1+16]; x = {{0}}; a[b[i]] && c < d";
        let lines = ["byte 0 = [ 1 | 0 ]".to_owned()];
        let listing = Listing { comment: "//", symbol: "k0", spec: "linear{}", target: "host", layout: &lines, body };
        let text = listing.render().unwrap();
        assert!(text.contains(body), "{text}");
        assert!(text.contains("//   byte 0 = [ 1 | 0 ]"), "{text}");
        assert!(!Listing { layout: &[], ..listing }.render().unwrap().contains("layout of"));
    }
}
