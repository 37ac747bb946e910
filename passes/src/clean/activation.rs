//! Activations that exporters write out, as the one function that they are: `silu`, and `gelu` by the error function and by the
//! hyperbolic tangent.
//!
//! Left alone are forms whose constants are not within 1e-4 of the function's, and products of which a part is used elsewhere in
//! no other way than as a part: those stay for their other users, and the function is computed beside them.

use super::findings::Findings;
use super::look::{binary, by_number, is_binary, is_near, unary, with_number};
use super::rewrite::Rewrite;
use actc_ir::ops::pointwise::{BinaryFunction, Unary, UnaryFunction};
use actc_ir::{Graph, Op, Value};
use actc_types::Result;

/// The function of one value that `product` is.
struct Found {
    function: UnaryFunction,
    of: Value,
}

pub(super) fn activations(graph: &mut Graph, findings: &mut Findings<'_>) -> Result<usize> {
    let mut found = Vec::new();
    for node in graph.order() {
        let data = graph.node(*node);
        if let ([product], Some(activation)) = (&data.results[..], activation(graph, &data.op, &data.args))
            && graph.ty(*product) == graph.ty(activation.of)
        {
            found.push((*product, activation));
        }
    }
    let mut rewrite = Rewrite::new(graph, "activation");
    for (product, Found { function, of }) in found {
        let new = rewrite.add(Op::Unary(Unary { function }), &[of], product)?;
        rewrite.replace(product, new);
        findings.made("activations");
    }
    rewrite.apply()
}

fn activation(graph: &Graph, op: &Op, args: &[Value]) -> Option<Found> {
    if !is_binary(op, BinaryFunction::Mul) {
        return None;
    }
    let [a, b] = args else { return None };
    for (x, y) in [(*a, *b), (*b, *a)] {
        if unary(graph, y, UnaryFunction::Sigmoid) == Some(x) {
            return Some(Found { function: UnaryFunction::Silu, of: x });
        }
    }
    // A half, x, and one more than a function of x, multiplied in any order.
    let inner = |v: Value| binary(graph, v, BinaryFunction::Mul).map_or(vec![v], |pair| pair.to_vec());
    for factors in [[inner(*a), vec![*b]].concat(), [vec![*a], inner(*b)].concat()] {
        let [_, _, _] = factors[..] else { continue };
        let Some(half) = factors.iter().position(|f| is_near(graph, *f, 0.5)) else { continue };
        let rest: Vec<Value> = factors.iter().enumerate().filter(|(i, _)| *i != half).map(|(_, f)| *f).collect();
        for (x, raised) in [(rest[0], rest[1]), (rest[1], rest[0])] {
            if let Some(function) = gelu(graph, x, raised) {
                return Some(Found { function, of: x });
            }
        }
    }
    None
}

/// Which GELU of `x` has `raised` as its factor beside a half and `x`.
fn gelu(graph: &Graph, x: Value, raised: Value) -> Option<UnaryFunction> {
    let inner = with_number(graph, raised, BinaryFunction::Add, 1.0)?;
    if let Some(scaled) = unary(graph, inner, UnaryFunction::Erf) {
        let root = std::f64::consts::FRAC_1_SQRT_2;
        let by = with_number(graph, scaled, BinaryFunction::Mul, root)
            .or_else(|| by_number(graph, scaled, BinaryFunction::Div, std::f64::consts::SQRT_2));
        return (by == Some(x)).then_some(UnaryFunction::GeluErf);
    }
    let scaled = unary(graph, inner, UnaryFunction::Tanh)?;
    let sum = with_number(graph, scaled, BinaryFunction::Mul, (2.0 / std::f64::consts::PI).sqrt())?;
    let [a, b] = binary(graph, sum, BinaryFunction::Add)?;
    let bent = if a == x { b } else { a };
    let cube = with_number(graph, bent, BinaryFunction::Mul, 0.044_715)?;
    ((a == x || b == x) && is_cube(graph, cube, x)).then_some(UnaryFunction::GeluTanh)
}

fn is_cube(graph: &Graph, cube: Value, x: Value) -> bool {
    if by_number(graph, cube, BinaryFunction::Pow, 3.0) == Some(x) {
        return true;
    }
    let square = |v: Value| binary(graph, v, BinaryFunction::Mul) == Some([x, x]);
    binary(graph, cube, BinaryFunction::Mul).is_some_and(|[a, b]| a == x && square(b) || b == x && square(a))
}

#[cfg(test)]
mod tests {
    use super::Findings;
    use actc_ir::{Evaluator, Interpreter, Op, text};
    use actc_types::Tensor;

    /// What the activation in `body`, over `%x` with constants `%half %one %root %cubic %scale %three`, becomes; that its values
    /// stay within 1e-4 of their range, which the distance of constants allows, is checked.
    fn found(body: &str) -> Vec<String> {
        let numbers = ["half", "one", "root", "inverse", "cubic", "scale", "three", "two"];
        let values = [0.5, 1.0, std::f64::consts::SQRT_2, 0.707_106_8, 0.044_715, 0.797_884_6, 3.0, 2.0];
        let constants: String = numbers
            .iter()
            .zip(values)
            .map(|(name, value)| format!("  %{name} = const @{name} = [{value}] : f32[1]\n"))
            .collect();
        let source = format!("air 1\ngraph @g(%x: f32[5, 8]) {{\n{constants}{body}  return y=%y\n}}\n");
        let mut graph = text::parse(&source, &text::unbound).unwrap();
        let before = graph.clone();
        super::activations(&mut graph, &mut Findings::new(&before, &std::env::temp_dir())).unwrap();
        let graph = graph.compact();
        assert_eq!(actc_ir::verify(&graph), []);
        let x = Tensor::f32(&[5, 8], (0..40).map(|i| (i as f32 - 20.0) / 5.0).collect()).unwrap();
        let run = |g| Interpreter.prepare(g).unwrap().run(vec![x.clone()]).unwrap()[0].data().to_f64();
        for (a, b) in run(&before).iter().zip(run(&graph)) {
            assert!((a - b).abs() <= 1e-4 * 4.0, "{a} became {b}");
        }
        let name = |n: &actc_ir::Node| match &graph.node(*n).op {
            Op::Unary(u) => format!("{:?}", u.function),
            other => other.name().to_owned(),
        };
        graph.order().iter().map(name).filter(|n| n != "const").collect()
    }

    #[test]
    fn forms_that_exporters_write() {
        let erf = "  %0 = div %x, %root : f32[5, 8]\n  %1 = erf %0 : f32[5, 8]\n  %2 = add %1, %one : f32[5, 8]\n";
        for tail in [
            "  %3 = mul %x, %2 : f32[5, 8]\n  %y = mul %3, %half : f32[5, 8]\n",
            "  %3 = mul %half, %x : f32[5, 8]\n  %y = mul %3, %2 : f32[5, 8]\n",
            "  %3 = mul %2, %half : f32[5, 8]\n  %y = mul %x, %3 : f32[5, 8]\n",
        ] {
            assert_eq!(found(&format!("{erf}{tail}")), ["GeluErf"]);
        }
        let tanh = "  %0 = pow %x, %three : f32[5, 8]\n  %1 = mul %0, %cubic : f32[5, 8]\n  %2 = add %x, %1 : f32[5, 8]\n  \
                    %3 = mul %2, %scale : f32[5, 8]\n  %4 = tanh %3 : f32[5, 8]\n  %5 = add %one, %4 : f32[5, 8]\n  \
                    %6 = mul %x, %5 : f32[5, 8]\n  %y = mul %half, %6 : f32[5, 8]\n";
        assert_eq!(found(tanh), ["GeluTanh"]);
        assert_eq!(found("  %0 = sigmoid %x : f32[5, 8]\n  %y = mul %0, %x : f32[5, 8]\n"), ["Silu"]);
    }

    #[test]
    fn what_is_another_function_stays() {
        let other = "  %0 = div %x, %two : f32[5, 8]\n  %1 = erf %0 : f32[5, 8]\n  %2 = add %1, %one : f32[5, 8]\n  \
                     %3 = mul %x, %2 : f32[5, 8]\n  %y = mul %3, %half : f32[5, 8]\n";
        assert_eq!(found(other), ["div", "Erf", "add", "mul", "mul"]);
        assert_eq!(found("  %0 = sigmoid %x : f32[5, 8]\n  %y = mul %0, %0 : f32[5, 8]\n"), ["Sigmoid", "mul"]);
    }
}
