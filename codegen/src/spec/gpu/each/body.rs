//! The CUDA statements of one element: which elements of the inputs it is made of, and how.

use super::super::element::Element;
use super::What;
use super::function;
use actc_types::function::Running;
use actc_types::{DType, Result};

/// What a text says of one element `i`.
pub(super) struct Body {
    /// For people.
    pub(super) formula: String,
    /// Functions that it calls.
    pub(super) functions: Vec<String>,
    pub(super) lines: Vec<String>,
}

/// Coordinates `i0`, `i1`, … of element `i` of a tensor with these extents.
fn coordinates(extents: &[String]) -> Vec<String> {
    let mut lines = vec!["I rest = i;".to_owned()];
    for (axis, extent) in extents.iter().enumerate().rev() {
        if axis == 0 {
            lines.push("const I i0 = rest;".to_owned());
        } else {
            lines.push(format!("const I i{axis} = rest % (I){extent};"));
            lines.push(format!("rest /= (I){extent};"));
        }
    }
    if extents.is_empty() {
        lines.clear();
    }
    lines
}

/// `at`: the place of the element with coordinates `of(axis)` of a tensor whose extents are called `name`.
fn place(at: &str, name: &str, rank: usize, of: impl Fn(usize) -> String) -> Vec<String> {
    let mut lines = vec![format!("size_t {at} = 0;")];
    lines.extend((0..rank).map(|axis| format!("{at} = {at} * {name}{axis} + {};", of(axis))));
    lines
}

/// The same where extents of 1 repeat.
fn repeated(at: &str, name: &str, rank: usize) -> Vec<String> {
    place(at, name, rank, |axis| format!("({name}{axis} == 1 ? 0 : i{axis})"))
}

fn names(name: &str, rank: usize) -> Vec<String> {
    (0..rank).map(|i| format!("{name}{i}")).collect()
}

impl Body {
    pub(super) fn of(what: &What) -> Result<Body> {
        let body = |formula: &str, lines: Vec<Vec<String>>| Body {
            formula: formula.to_owned(),
            functions: Vec::new(),
            lines: lines.concat(),
        };
        let line = |line: &str| vec![line.to_owned()];
        Ok(match what {
            What::Unary { function, dtype } => {
                let functions = function::unary(*function, *dtype)?;
                let formula = format!("y[i] = {}(x[i])", function.name());
                Body { formula, functions, lines: line("out0[i] = apply(in0[i]);") }
            }
            What::Binary { function, dtype, rank } => {
                let rank = usize::from(*rank);
                let lines = [
                    coordinates(&names("y", rank)),
                    repeated("a_at", "a", rank),
                    repeated("b_at", "b", rank),
                    line("out0[i] = apply(in0[a_at], in1[b_at]);"),
                ];
                let formula = format!("y = {}(a, b), extents of 1 repeat", function.name());
                Body { formula, functions: function::binary(*function, *dtype)?, lines: lines.concat() }
            }
            What::Select { rank, .. } => {
                let rank = usize::from(*rank);
                let lines = vec![
                    coordinates(&names("y", rank)),
                    repeated("c_at", "c", rank),
                    repeated("a_at", "a", rank),
                    repeated("b_at", "b", rank),
                    line("out0[i] = in0[c_at] ? in1[a_at] : in2[b_at];"),
                ];
                body("y = c ? a : b, extents of 1 repeat", lines)
            }
            What::Cast { from, to } => {
                let functions = function::cast(*from, *to);
                let formula = format!("y[i] = {to}(x[i])");
                Body { formula, functions, lines: line("out0[i] = apply(in0[i]);") }
            }
            What::Widen { from } => {
                let half = *from == DType::F16;
                let value = if half { "of_half(in0[i])" } else { "__uint_as_float((u32)in0[i] << 16)" };
                body(&format!("y[i] = x[i], {from} as it is"), vec![line(&format!("out0[i] = {value};"))])
            }
            What::Transpose { order, .. } => {
                let extents: Vec<String> = order.iter().map(|a| format!("x{a}")).collect();
                let of = |axis: usize| {
                    let at = order.iter().position(|a| usize::from(*a) == axis).unwrap_or_default();
                    format!("i{at}")
                };
                let lines =
                    vec![coordinates(&extents), place("x_at", "x", order.len(), of), line("out0[i] = in0[x_at];")];
                body(&format!("y = x with axes {order:?}"), lines)
            }
            What::Expand { rank, .. } => {
                let rank = usize::from(*rank);
                let lines =
                    vec![coordinates(&names("y", rank)), repeated("x_at", "x", rank), line("out0[i] = in0[x_at];")];
                body("y = x, extents of 1 repeat", lines)
            }
            What::Gather { .. } => {
                let lines = [
                    "const I row = i / (I)inner;",
                    "i64 at = in1[row % (I)N];",
                    "if (at < 0) at += extent;",
                    "const bool there = at >= 0 && at < extent;",
                    "if (!there) atomicMax(error, 1);",
                    "out0[i] = there ? in0[((size_t)(row / (I)N) * extent + at) * inner + i % (I)inner] : 0;",
                ];
                let formula = "y[o, n] = x[o, index[n]], indices below 0 from the end; zeros, and an error word of 1, where there is none";
                body(formula, vec![lines.map(str::to_owned).to_vec()])
            }
            What::GatherNd { tuple, .. } => {
                let mut lines = vec!["const I row = i / (I)inner;".to_owned(), "bool there = true;".to_owned()];
                lines.push("size_t part = 0, span = 1;".to_owned());
                for k in 0..*tuple {
                    lines.push(format!("i64 at{k} = in1[(size_t)row * {tuple} + {k}];"));
                    lines.push(format!("if (at{k} < 0) at{k} += e{k};"));
                    lines.push(format!("there = there && at{k} >= 0 && at{k} < e{k};"));
                    lines.push(format!("part = part * e{k} + at{k}, span *= e{k};"));
                }
                lines.push("if (!there) atomicMax(error, 1);".to_owned());
                lines.push(
                    "out0[i] = there ? in0[((size_t)(row / (I)N) * span + part) * inner + i % (I)inner] : 0;"
                        .to_owned(),
                );
                let formula = "y[b, n] = x[b, tuple[b, n]], indices below 0 from the end; zeros, and an error word of 1, where there is none";
                body(formula, vec![lines])
            }
            What::GatherElements { rank, axis, .. } => {
                let (rank, axis) = (usize::from(*rank), usize::from(*axis));
                let of = |a: usize| if a == axis { "at".to_owned() } else { format!("i{a}") };
                let lines = [
                    coordinates(&names("y", rank)),
                    line("i64 at = in1[i];"),
                    line(&format!("if (at < 0) at += x{axis};")),
                    line(&format!("const bool there = at >= 0 && at < x{axis};")),
                    line("if (!there) atomicMax(error, 1);"),
                    place("x_at", "x", rank, of),
                    line("out0[i] = there ? in0[x_at] : 0;"),
                ];
                let formula = format!(
                    "y = x where axis {axis} is at index, below 0 from the end; zeros, and an error word of 1, where there is none"
                );
                body(&formula, lines.to_vec())
            }
            What::Cumulate { function, dtype, rank, exclusive, reverse } => {
                let rank = usize::from(*rank);
                let sum = if *dtype == Element::F32 { "double" } else { "u64" };
                let sign = match function {
                    Running::Sum => "+",
                    Running::Prod => "*",
                };
                let first = function.first() as u8;
                let (start, step) = if *reverse { ("inner * (n - 1)", "-inner") } else { ("0", "inner") };
                let give = format!("out0[at] = ({})all;", dtype.cuda());
                let take = format!("all = all {sign} ({sum})in0[at];");
                let inside = if *exclusive { [&give, &take] } else { [&take, &give] };
                let mut lines = vec!["i64 axis = in1[0], n = 0, inner = 1;".to_owned()];
                lines.push(format!("if (axis < 0) axis += {rank};"));
                lines.extend((0..rank).map(|a| {
                    let behind = names("x", rank)[a + 1..].iter().map(|x| format!(" * {x}")).collect::<String>();
                    format!("if (axis == {a}) n = x{a}, inner = (i64)1{behind};")
                }));
                lines.extend(
                    [
                        // There is an element, so no axis has none.
                        "if (n == 0) {",
                        "    atomicMax(error, 1);",
                        "    out0[i] = 0;",
                        "    continue;",
                        "}",
                        "// The first element of a line has the line.",
                        "if (i / (I)inner % (I)n != 0) continue;",
                        &format!("{sum} all = {first};"),
                        &format!("i64 at = (i64)i + {start};"),
                        &format!("for (i64 j = 0; j < n; ++j, at += {step}) {{"),
                        &format!("    {}", inside[0]),
                        &format!("    {}", inside[1]),
                        "}",
                    ]
                    .map(str::to_owned),
                );
                let formula = format!("y = {} of x along an axis up to each element", function.name());
                body(&formula, vec![lines])
            }
            What::Row => {
                let lines = [
                    "const i64 round = in1[0];",
                    "const bool there = round >= 0 && round < rows;",
                    "if (!there) atomicMax(error, 1);",
                    "if (there) out0[(size_t)round * N + i] = in0[i];",
                ];
                body(
                    "y[round] = x, an error word of 1 where there is no such row",
                    vec![lines.map(str::to_owned).to_vec()],
                )
            }
            What::Pad { rank, .. } => {
                let rank = usize::from(*rank);
                let inside = |axis: usize| format!("const i64 p{axis} = (i64)i{axis} - before{axis};");
                let test: Vec<String> = (0..rank).map(|a| format!("p{a} >= 0 && p{a} < x{a}")).collect();
                let lines = vec![
                    coordinates(&names("y", rank)),
                    (0..rank).map(inside).collect(),
                    line(&format!("const bool inside = {};", test.join(" && "))),
                    place("x_at", "x", rank, |axis| format!("p{axis}")),
                    line("out0[i] = inside ? in0[x_at] : in1[0];"),
                ];
                body("y = x where it stands in y, else the value", lines)
            }
            What::Resample => {
                let lines = [
                    "const I row = i / (I)inner;",
                    "const float* x = in0 + (size_t)(row / (I)N) * extent * inner + i % (I)inner;",
                    "double sum = 0.0;",
                    "for (i64 t = 0; t < T; ++t) {",
                    "    const size_t of = (size_t)(row % (I)N) * T + t;",
                    "    const i64 at = in1[of];",
                    "    const bool there = at >= 0 && at < extent;",
                    "    if (!there) atomicMax(error, 1);",
                    "    sum += in2[of] * (there ? (double)x[at * inner] : 0.0);",
                    "}",
                    "out0[i] = (float)sum;",
                ];
                let formula =
                    "y[o, n] = sum over t of weight[n, t] x[o, index[n, t]]; an error word of 1 where there is none";
                body(formula, vec![lines.map(str::to_owned).to_vec()])
            }
            What::Range => body("y[i] = start + i", vec![line("out0[i] = (i64)start + (i64)i;")]),
            What::Zero => body("y[i] = 0", vec![line("out0[i] = 0;")]),
        })
    }
}
