//! Samples from arrays that are named like a model's inputs.
//!
//! One rule says what an array is, for all arrays of a file alike:
//!
//! * An axis more than the input has, in front: it counts samples.
//! * The input's own axes, where all inputs have a *batch*: the first axis counts samples, which are run one at a time. An
//!   input has a batch where it has two axes at least, and the first is 1 or a symbol that stands nowhere but in front.
//! * The input's own axes otherwise: the file is one sample.

use actc_ir::TensorType;
use actc_passes::Sample;
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Dim, Result, Symbol, Tensor};
use std::collections::BTreeSet;

/// An input of a model.
pub type Input = (String, TensorType);

fn wrong(code: &'static str, headline: String) -> Diagnostic {
    Diagnostic::request(code, headline)
}

/// The symbol that `dim` is, if it is one alone.
fn alone(dim: &Dim) -> Option<Symbol> {
    match dim.symbols()[..] {
        [symbol] if *dim == Dim::sym(symbol.as_str()) => Some(symbol.clone()),
        _ => None,
    }
}

/// Whether the first axis of all `inputs` counts what does not depend on each other.
fn batched(inputs: &[Input]) -> bool {
    let inner = inputs.iter().flat_map(|(_, ty)| ty.shape.dims().iter().skip(1));
    let inner: BTreeSet<Symbol> = inner.flat_map(|d| d.symbols().into_iter().cloned()).collect();
    inputs.iter().all(|(_, ty)| {
        let first = ty.shape.dims().first().filter(|_| ty.shape.rank() >= 2);
        let apart = |d: &Dim| d.fixed() == Some(1) || alone(d).is_some_and(|symbol| !inner.contains(&symbol));
        first.is_some_and(apart)
    })
}

/// An error where `dims` cannot be those of input `name`; symbols take their values from the first that has them.
fn fits(name: &str, ty: &TensorType, dims: &[u64], bindings: &mut Bindings) -> Result<()> {
    let matches = dims.len() == ty.shape.rank()
        && ty.shape.dims().iter().zip(dims).all(|(dim, found)| match (dim.fixed(), alone(dim)) {
            (Some(n), _) => n == *found,
            (None, Some(symbol)) => *bindings.entry(symbol).or_insert(*found) == *found,
            // The extents of an expression are checked where they are used.
            (None, None) => true,
        });
    match matches {
        true => Ok(()),
        false => Err(wrong("calib-shape", format!("a sample of `{name}` is {dims:?}, expected {ty}"))),
    }
}

/// Part `i` of the first axis of `tensor`, with that axis where `keep`.
fn part(tensor: &Tensor, i: u64, keep: bool) -> Result<Tensor> {
    let inner = &tensor.dims()[1..];
    let count = inner.iter().product::<u64>() as usize;
    let from = i as usize * count;
    let dims = if keep { [&[1], inner].concat() } else { inner.to_vec() };
    Tensor::new(&dims, tensor.data().pick(from..from + count))
}

/// The samples in the `arrays` of one file for a model of `inputs`, as the rule above has it.
pub fn samples(inputs: &[Input], arrays: Vec<(String, Tensor)>) -> Result<Vec<Sample>> {
    let names = || inputs.iter().map(|(n, ty)| format!("`{n}`: {ty}")).collect::<Vec<_>>().join(", ");
    let known = |name: &String| inputs.iter().any(|(n, _)| n == name);
    if let Some((name, _)) = arrays.iter().find(|(name, _)| !known(name)) {
        return Err(
            wrong("calib-input", format!("the model has no input `{name}`")).help(format!("it has {}", names()))
        );
    }
    let mut found = Vec::with_capacity(inputs.len());
    for (name, ty) in inputs {
        let array = arrays.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor);
        let array = array.ok_or_else(|| wrong("calib-input", format!("there is no array `{name}`: {ty}")))?;
        if array.dtype() != ty.dtype {
            let headline = format!("`{name}` is {}, expected {}", array.dtype(), ty.dtype);
            return Err(wrong("calib-dtype", headline).help(format!("save it as {}", ty.dtype)));
        }
        found.push((name, ty, array));
    }
    let more = |n: usize| found.iter().all(|(_, ty, array)| array.dims().len() == ty.shape.rank() + n);
    let (stacked, own) = (more(1), more(0));
    if !stacked && !own {
        let shown: Vec<String> = found.iter().map(|(n, ty, a)| format!("`{n}` is {:?} for {ty}", a.dims())).collect();
        return Err(wrong("calib-shape", format!("the arrays have other axes than the inputs: {}", shown.join(", ")))
            .help("give every array the axes of its input, or one more in front that counts samples"));
    }
    if own && !batched(inputs) {
        let sample: Vec<(String, Tensor)> = found.iter().map(|(n, _, a)| ((*n).clone(), (*a).clone())).collect();
        return checked(inputs, vec![Sample { inputs: sample }]);
    }
    let counts: BTreeSet<u64> = found.iter().map(|(_, _, array)| array.dims()[0]).collect();
    let (Some(count), 1) = (counts.first().copied(), counts.len()) else {
        let shown: Vec<String> = found.iter().map(|(n, _, a)| format!("`{n}`: {}", a.dims()[0])).collect();
        return Err(wrong(
            "calib-ambiguous",
            format!("the arrays disagree on the number of samples: {}", shown.join(", ")),
        )
        .help("the first axis counts samples here, the same number for every input"));
    };
    let sample = |i: u64| {
        let inputs = found.iter().map(|(name, _, array)| Ok(((*name).clone(), part(array, i, own)?)));
        Ok(Sample { inputs: inputs.collect::<Result<_>>()? })
    };
    checked(inputs, (0..count).map(sample).collect::<Result<_>>()?)
}

fn checked(inputs: &[Input], samples: Vec<Sample>) -> Result<Vec<Sample>> {
    for sample in &samples {
        let mut bindings = Bindings::new();
        for ((name, ty), (_, tensor)) in inputs.iter().zip(&sample.inputs) {
            fits(name, ty, tensor.dims(), &mut bindings)?;
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_types::{DType, Shape};

    fn input(name: &str, dims: &[&str]) -> Input {
        let dims = dims.iter().map(|d| Dim::parse(d).unwrap()).collect();
        (name.into(), TensorType::new(DType::F32, Shape(dims)))
    }

    fn array(name: &str, dims: &[u64]) -> (String, Tensor) {
        let count = dims.iter().product::<u64>();
        (name.into(), Tensor::f32(dims, (0..count).map(|i| i as f32).collect()).unwrap())
    }

    fn shapes(
        inputs: &[Input],
        arrays: Vec<(String, Tensor)>,
    ) -> std::result::Result<Vec<Vec<Vec<u64>>>, &'static str> {
        let shape = |s: &Sample| s.inputs.iter().map(|(_, t)| t.dims().to_vec()).collect();
        samples(inputs, arrays).map(|all| all.iter().map(shape).collect()).map_err(|d| d.code)
    }

    #[test]
    fn the_first_axis_counts_samples_where_it_is_a_batch() {
        let image = [input("x", &["1", "3", "4"])];
        assert_eq!(shapes(&image, vec![array("x", &[2, 3, 4])]).unwrap(), [[[1, 3, 4]], [[1, 3, 4]]]);
        assert_eq!(shapes(&image, vec![array("x", &[2, 1, 3, 4])]).unwrap().len(), 2);
        let text = [input("ids", &["B", "S"]), input("mask", &["B", "S"])];
        let arrays = || vec![array("mask", &[3, 7]), array("ids", &[3, 7])];
        assert_eq!(shapes(&text, arrays()).unwrap(), vec![vec![vec![1, 7]; 2]; 3]);
        let apart = vec![array("mask", &[3, 7]), array("ids", &[2, 7])];
        assert_eq!(shapes(&text, apart).unwrap_err(), "calib-ambiguous");
        let all = samples(&text, arrays()).unwrap();
        assert_eq!(all[2].inputs[0].1.as_f32().unwrap()[0], 14.0);
    }

    #[test]
    fn other_files_are_one_sample() {
        // A vector has no batch, and neither has a symbol that stands elsewhere too.
        assert_eq!(shapes(&[input("x", &["S"])], vec![array("x", &[5])]).unwrap(), [[[5]]]);
        assert_eq!(shapes(&[input("x", &["S"])], vec![array("x", &[5, 4])]).unwrap().len(), 5);
        assert_eq!(shapes(&[input("x", &["N", "N"])], vec![array("x", &[2, 2])]).unwrap(), [[[2, 2]]]);
        let rate = [input("x", &["B", "4"]), input("rate", &[])];
        assert_eq!(shapes(&rate, vec![array("x", &[2, 4]), array("rate", &[])]).unwrap(), [[vec![2, 4], vec![]]]);
        assert_eq!(shapes(&rate, vec![array("x", &[6, 2, 4]), array("rate", &[6])]).unwrap().len(), 6);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let image = [input("x", &["1", "3", "4"])];
        for (arrays, code) in [
            (vec![], "calib-input"),
            (vec![array("y", &[1])], "calib-input"),
            (vec![array("x", &[2, 3, 5])], "calib-shape"),
            (vec![array("x", &[12])], "calib-shape"),
            (vec![("x".into(), Tensor::i64(&[1, 3, 4], vec![0; 12]).unwrap())], "calib-dtype"),
        ] {
            assert_eq!(shapes(&image, arrays).unwrap_err(), code);
        }
        let same = [input("x", &["S", "2"]), input("y", &["3", "S"])];
        let arrays = vec![array("x", &[4, 2]), array("y", &[3, 5])];
        assert_eq!(shapes(&same, arrays).unwrap_err(), "calib-shape");
    }
}
