//! Parsing: recursive descent over [`super::lex`], types inferred and compared with what is written.

use super::lex::Lexer;
use crate::constant::Const;
use crate::graph::Graph;
use crate::handle::{Region, Value};
use crate::op::Op;
use crate::ops::control::If;
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::diagnostic::nearest;
use actc_types::{DType, Diagnostic, Dim, Encoding, Narrowing, Overflow, Place, Result, Shape, TensorData};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Finds the stored constant for a name and digest.
pub type Bind<'a> = dyn Fn(&str, &str) -> Result<Const> + 'a;

/// Deepest nesting of regions.
const DEPTH: usize = 32;

/// A weight source without weights: every digest is an error.
pub fn unbound(name: &str, _digest: &str) -> Result<Const> {
    Err(Diagnostic::request("air-unbound", format!("constant `{name}` is bound by digest and no weights are given"))
        .help("pass the model that holds the weights with `--weights MODEL`"))
}

/// Reads a graph; constants that print by digest come from `bind`.
pub fn parse(text: &str, bind: &Bind<'_>) -> Result<Graph> {
    let mut lexer = Lexer::new(text);
    if !(lexer.keyword("air") && lexer.keyword("1")) {
        return Err(lexer.error("expected `air 1`, the version line"));
    }
    lexer.expect("graph")?;
    lexer.expect("@")?;
    let graph = Graph::new(lexer.word()?);
    let mut parser = Parser { lexer, made_up: 0, graph, names: BTreeMap::new(), bind };
    parser.graph()?;
    if !parser.lexer.at_end() {
        return Err(parser.lexer.error("expected the end"));
    }
    Ok(parser.graph)
}

/// Reads an op by itself, such as `slice{axis=1, start=0, len=S}`. Of `if` and `loop` the types of results are not known then.
pub fn parse_op(text: &str) -> Result<Op> {
    let mut lexer = Lexer::new(text);
    let name = lexer.word()?;
    let op = read_op(&mut lexer, 0, &name)?;
    if lexer.at_end() { Ok(op) } else { Err(lexer.error("expected the end")) }
}

/// Most elements of all constants of a text that are made up, not written out: a line of text must not take memory for a
/// model.
const MADE_UP: u64 = 1 << 22;

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// Elements made up so far.
    made_up: u64,
    graph: Graph,
    names: BTreeMap<String, Value>,
    bind: &'a Bind<'a>,
}

impl Parser<'_> {
    fn graph(&mut self) -> Result<()> {
        self.lexer.expect("(")?;
        if !self.lexer.take(")") {
            loop {
                let name = self.lexer.value()?;
                self.lexer.expect(":")?;
                let ty = self.ty()?;
                let plain = name[1..].strip_prefix('"').unwrap_or(&name[1..]);
                let value = self.graph.input(plain, ty);
                self.define(name, value)?;
                if self.lexer.take(")") {
                    break;
                }
                self.lexer.expect(",")?;
            }
        }
        self.lexer.expect("{")?;
        let body = self.graph.body();
        self.nodes(body, 0)?;
        if !self.lexer.take("}") {
            loop {
                if self.lexer.keyword("donate") {
                    let old = self.use_of()?;
                    self.lexer.expect("->")?;
                    let new = self.use_of()?;
                    self.graph.donate(old, new);
                } else {
                    let name = self.lexer.word()?;
                    self.lexer.expect("=")?;
                    let value = self.use_of()?;
                    self.graph.output(name, value);
                }
                if self.lexer.take("}") {
                    break;
                }
                self.lexer.expect(",")?;
            }
        }
        Ok(())
    }

    fn define(&mut self, name: String, value: Value) -> Result<()> {
        match self.names.insert(name.clone(), value) {
            None => Ok(()),
            Some(_) => Err(self.lexer.error(format!("`{name}` is defined twice"))),
        }
    }

    fn use_of(&mut self) -> Result<Value> {
        self.lexer.skip();
        let start = self.lexer.position();
        let name = self.lexer.value()?;
        self.names.get(&name).copied().ok_or_else(|| {
            let error = self.lexer.error_at(start, format!("`{name}` is not defined here"));
            match nearest(&name, self.names.keys().map(String::as_str)) {
                Some(word) => error.help(format!("did you mean `{word}`?")),
                None => error,
            }
        })
    }

    /// Nodes up to and including the word `return`.
    fn nodes(&mut self, region: Region, depth: usize) -> Result<()> {
        if depth > DEPTH {
            return Err(self.lexer.error(format!("regions nest deeper than {DEPTH}")));
        }
        while !self.lexer.keyword("return") {
            self.node(region, depth)?;
        }
        Ok(())
    }

    fn node(&mut self, region: Region, depth: usize) -> Result<()> {
        let mut names = vec![self.lexer.value()?];
        while self.lexer.take(",") {
            names.push(self.lexer.value()?);
        }
        self.lexer.expect("=")?;
        self.lexer.skip();
        let start = self.lexer.position();
        let name = self.lexer.word()?;
        let results = if name == "const" {
            let constant = self.constant()?;
            let id = self.graph.add_const(constant);
            vec![self.graph.const_node(region, id)]
        } else {
            self.op(region, depth, start, &name)?
        };
        if results.len() != names.len() {
            return Err(self
                .lexer
                .error_at(start, format!("`{name}` has {} results, {} named", results.len(), names.len())));
        }
        names.into_iter().zip(results).try_for_each(|(name, value)| self.define(name, value))
    }

    fn op(&mut self, region: Region, depth: usize, start: usize, name: &str) -> Result<Vec<Value>> {
        let mut op = read_op(&mut self.lexer, start, name)?;
        let mut args = Vec::new();
        self.lexer.skip();
        if self.lexer.text()[self.lexer.position()..].starts_with('%') {
            args.push(self.use_of()?);
            while self.lexer.take(",") {
                args.push(self.use_of()?);
            }
        }
        let mut regions = Vec::new();
        while self.lexer.take("{") {
            regions.push(self.region(depth)?);
        }
        self.lexer.expect(":")?;
        let mut types = vec![self.ty()?];
        while self.lexer.take(",") {
            types.push(self.ty()?);
        }
        if matches!(op, Op::If(_)) {
            op = Op::If(If { results: types.clone() });
        }
        if let Op::Loop(l) = &mut op {
            l.stacked = types.get(l.carried(args.len())..).unwrap_or(&[]).to_vec();
        }
        let span = Place::Span { text: self.lexer.text().into(), start, end: self.lexer.position() };
        let origin = if self.lexer.take("@") { self.lexer.word()? } else { String::new() };
        let results = self.graph.add_in(region, op, &args, regions, origin).map_err(|d| d.at(span.clone()))?;
        let inferred: Vec<&TensorType> = results.iter().map(|v| self.graph.ty(*v)).collect();
        if inferred.len() != types.len() || !inferred.iter().zip(&types).all(|(a, b)| *a == b) {
            let list: Vec<String> = inferred.iter().map(ToString::to_string).collect();
            let headline = format!("the type of `{name}` here is {}", list.join(", "));
            return Err(Diagnostic::request("air-type", headline).at(span));
        }
        Ok(results)
    }

    fn region(&mut self, depth: usize) -> Result<Region> {
        self.lexer.expect("|")?;
        let outer = std::mem::take(&mut self.names);
        let mut params = Vec::new();
        if !self.lexer.take("|") {
            loop {
                let name = self.lexer.value()?;
                self.lexer.expect(":")?;
                params.push((name, self.ty()?));
                if self.lexer.take("|") {
                    break;
                }
                self.lexer.expect(",")?;
            }
        }
        let types: Vec<TensorType> = params.iter().map(|(_, ty)| ty.clone()).collect();
        let (region, values) = self.graph.add_region(&types);
        for ((name, _), value) in params.into_iter().zip(values) {
            self.define(name, value)?;
        }
        self.nodes(region, depth + 1)?;
        let mut results = Vec::new();
        if !self.lexer.take("}") {
            loop {
                results.push(self.use_of()?);
                if self.lexer.take("}") {
                    break;
                }
                self.lexer.expect(",")?;
            }
        }
        self.graph.set_region_results(region, results);
        self.names = outer;
        Ok(region)
    }

    fn ty(&mut self) -> Result<TensorType> {
        self.lexer.skip();
        let start = self.lexer.position();
        let name = self.lexer.word()?;
        let dtype =
            DType::parse(&name).ok_or_else(|| self.lexer.error_at(start, format!("unknown element type `{name}`")))?;
        self.lexer.expect("[")?;
        let list = self.lexer.until(']')?;
        let dims = list.split(',').filter(|d| !d.trim().is_empty());
        let shape = dims.map(|d| Dim::parse(d.trim())).collect::<Result<Vec<Dim>>>();
        Ok(TensorType::new(dtype, Shape(shape.map_err(|d| self.lexer.error_at(start, d.headline))?)))
    }

    fn constant(&mut self) -> Result<Const> {
        self.lexer.expect("@")?;
        let start = self.lexer.position();
        let name = self.lexer.word()?;
        self.lexer.expect("=")?;
        let data = self.data()?;
        self.lexer.expect(":")?;
        let ty = self.ty()?;
        let place = |d: Diagnostic| match d.place {
            Place::Request => d.at(Place::Tensor(name.clone())),
            _ => d,
        };
        if matches!(data, Data::Rng(..) | Data::Iota) {
            // Shapes that overflow are the constant's own error.
            let count = ty.shape.as_fixed().and_then(|d| d.iter().try_fold(1u64, |n, d| n.checked_mul(*d)));
            let count = count.filter(|n| *n < 1 << 48).unwrap_or(0);
            self.made_up = self.made_up.saturating_add(count);
            if self.made_up > MADE_UP {
                let headline =
                    format!("constants without data have {} elements, {MADE_UP} can be made up", self.made_up);
                return Err(Diagnostic::new("air-made-up", headline).at(Place::Tensor(name)));
            }
        }
        let constant = match data {
            Data::Inline(values) => {
                let product = |d: Vec<u64>| d.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
                if ty.shape.as_fixed().and_then(product) != Some(values.len() as u64) {
                    return Err(self.lexer.error_at(start, format!("{} values for {ty}", values.len())));
                }
                let bytes =
                    inline(ty.dtype, &values).ok_or_else(|| self.lexer.error_at(start, "bad number in the list"))?;
                let parts = vec![(actc_types::Role::Data, Bytes::from(bytes))];
                Const::new(name.clone(), ty, Encoding::Dense, parts).map_err(place)?
            }
            Data::Rng(seed, scale) => Const::rng(name.clone(), ty, seed, scale).map_err(place)?,
            Data::Iota => Const::iota(name.clone(), ty).map_err(place)?,
            Data::Digest(hex) => {
                let encoding = self.encoding()?;
                let constant = (self.bind)(&name, &hex)?;
                if constant.ty != ty || constant.encoding != encoding || constant.name != name {
                    let headline =
                        format!("constant is {} {}, the text says {ty} {encoding}", constant.ty, constant.encoding);
                    return Err(Diagnostic::new("air-bind", headline).at(Place::Tensor(name)));
                }
                constant
            }
        };
        Ok(constant)
    }

    fn encoding(&mut self) -> Result<Encoding> {
        // An encoding stands on the line of its constant; the next line starts with `%` or `return`.
        let rest = &self.lexer.text()[self.lexer.position()..];
        let line = rest.split('\n').next().unwrap_or("").trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(Encoding::Dense);
        }
        let name = self.lexer.word()?;
        let fields = self.lexer.fields()?;
        let mut fields = Fields::new(self.lexer.text(), name.clone(), fields);
        let encoding = Encoding::read(&name, &mut fields)?;
        fields.finish()?;
        Ok(encoding)
    }

    fn data(&mut self) -> Result<Data> {
        if self.lexer.take("[") {
            let list = self.lexer.until(']')?;
            return Ok(Data::Inline(list.split(',').map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()).collect()));
        }
        self.lexer.skip();
        let start = self.lexer.position();
        let name = self.lexer.word()?;
        let fields = self.lexer.fields()?;
        let mut fields = Fields::new(self.lexer.text(), name.clone(), fields);
        let data = match name.as_str() {
            "rng" => {
                let seed = fields.number("seed")?;
                Data::Rng(fields.need("seed", seed)?, fields.number("scale")?.unwrap_or(1.0))
            }
            "iota" => Data::Iota,
            "digest" => {
                let hex = fields.text("hex")?;
                Data::Digest(fields.need("hex", hex)?)
            }
            _ => return Err(self.lexer.error_at(start, format!("`{name}` is no source of data"))),
        };
        fields.finish()?;
        Ok(data)
    }
}

/// The op called `name`, which stands at `start`, with the fields that come next.
fn read_op(lexer: &mut Lexer<'_>, start: usize, name: &str) -> Result<Op> {
    let fields = lexer.fields()?;
    Op::read(lexer.text(), name, fields)?.ok_or_else(|| {
        let error = lexer.error_at(start, format!("unknown op `{name}`"));
        match nearest(name, Op::NAMES.iter().copied()) {
            Some(word) => error.help(format!("did you mean `{word}`?")),
            None => error,
        }
    })
}

enum Data {
    Inline(Vec<String>),
    Rng(u64, f32),
    Iota,
    Digest(String),
}

fn inline(dtype: DType, values: &[String]) -> Option<Vec<u8>> {
    if dtype == DType::I64 {
        let values: Option<Vec<i64>> = values.iter().map(|v| v.parse().ok()).collect();
        return Some(TensorData::I64(values?).to_le_bytes());
    }
    if dtype == DType::F32 {
        let values: Option<Vec<f32>> = values.iter().map(|v| v.parse().ok()).collect();
        return Some(TensorData::F32(values?).to_le_bytes());
    }
    let values = values.iter().map(|v| v.parse().ok()).collect::<Option<Vec<f64>>>()?;
    if let DType::Narrow(n) = dtype {
        // An infinity is one.
        let narrowing = Narrowing { overflow: Overflow::Special, ..Narrowing::default() };
        return Some(values.iter().map(|x| n.code(*x, narrowing)).collect());
    }
    Some(TensorData::from_f64(dtype, &values).to_le_bytes())
}
