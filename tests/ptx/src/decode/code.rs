//! A kernel's body as code: registers numbered, variables placed, labels resolved. Device functions are expanded where they
//! are called, with registers and local memory of their own, so that "the lowest instruction first" also holds through calls.

use super::form::{Form, Touched};
use super::place::{Place, Scopes};
use super::{Inst, Kernel};
use crate::machine::warp::{Pred, Reg, Truth};
use crate::memory::shared::RESERVED;
use crate::op::control::Control;
use crate::op::{self, Op};
use crate::report::{LoadError, Space};
use crate::text::{Function, Item, Module as Text, Operand, Raw, Storage, Variable};
use crate::ty::Type;
use std::collections::{HashMap, HashSet};

/// Deepest chain of calls.
const MAX_DEPTH: usize = 16;
/// Most instructions of a kernel with its calls expanded.
const MAX_CODE: usize = 4 << 20;

/// A jump whose label is looked for when the body has ended.
struct Fixup {
    inst: usize,
    /// Among the targets of `brx.idx`.
    slot: usize,
    path: Vec<u32>,
    label: String,
    line: u32,
}

pub(crate) struct Code<'a> {
    text: &'a Text,
    pub(crate) scopes: Scopes,
    /// Where the scopes of the function that is expanded begin.
    pub(crate) from: usize,
    /// Whether it is the kernel itself, whose parameters are the launch's.
    pub(crate) outermost: bool,
    calls: Vec<String>,
    code: Vec<Inst>,
    labels: HashMap<(u32, String), u32>,
    fixups: Vec<Fixup>,
    tables: HashMap<String, Vec<String>>,
    regs: u32,
    preds: u32,
    shared: u64,
    /// Addresses of the shared variables that bodies declare, by line and name.
    of_bodies: HashMap<(u32, String), u64>,
    local: u64,
    places: Vec<(u32, String)>,
}

pub(crate) fn kernel(
    function: &Function,
    text: &Text,
    variables: &HashMap<String, (u64, u64)>,
) -> Result<Kernel, LoadError> {
    // Register 0 and predicate 0 are `_`: what is written there is never read.
    let mut code = Code {
        text,
        scopes: Scopes::default(),
        from: 1,
        outermost: true,
        calls: vec![function.name.clone()],
        code: Vec::new(),
        labels: HashMap::new(),
        fixups: Vec::new(),
        tables: HashMap::new(),
        regs: 1,
        preds: 1,
        shared: RESERVED as u64,
        of_bodies: HashMap::new(),
        local: 0,
        places: Vec::new(),
    };
    code.scopes.open();
    for (name, (address, _)) in variables {
        code.scopes.add(name.clone(), Place::Memory { space: Space::Global, address: *address });
    }
    let items = function.body.as_deref().ok_or_else(|| LoadError::syntax(function.line, "a kernel without a body"))?;
    code.place_shared(items);
    code.scopes.open();
    let (mut params, mut end) = (Vec::new(), 0usize);
    for param in &function.params {
        let offset = end.next_multiple_of(param.align);
        params.push((offset, param.bytes));
        end = offset + param.bytes;
        code.scopes.add(param.name.clone(), Place::Memory { space: Space::Param, address: offset as u64 });
    }
    code.body(items, None);
    code.push(function.line, None, Op::Control(Control::Exit), Touched::default());
    code.scopes.close();
    code.resolve();
    code.keep_touched();
    if code.local > 512 << 10 || code.shared > 1 << 30 {
        code.places.push((function.line, "too much local or shared memory".to_owned()));
    }
    if !code.places.is_empty() {
        return Err(LoadError { places: code.places });
    }
    let shared = code.shared - RESERVED as u64;
    Ok(Kernel {
        name: function.name.clone(),
        params,
        param_bytes: end,
        shared: shared as u32,
        local: code.local.next_multiple_of(16) as u32,
        regs: code.regs as usize,
        preds: code.preds as usize,
        most: function.most,
        exactly: function.exactly,
        code: code.code,
    })
}

fn declared(item: &Item) -> Option<&Variable> {
    match item {
        Item::Variable(variable) => Some(variable),
        Item::Registers { .. }
        | Item::Label { .. }
        | Item::Targets { .. }
        | Item::Instruction(_)
        | Item::Open
        | Item::Close => None,
    }
}

fn mentions(items: &[Item], name: &str) -> bool {
    items.iter().any(|item| matches!(item, Item::Instruction(raw) if raw.operands.iter().any(|o| o.names(name))))
}

impl Code<'_> {
    /// Shared variables of the module that the kernel names, of its body and of device functions, each once; behind them all
    /// begin those of unknown size.
    fn place_shared(&mut self, items: &[Item]) {
        let text = self.text;
        let functions = || text.functions.iter().filter(|f| !f.entry).filter_map(|f| f.body.as_deref());
        let shared = |v: &&Variable| v.storage == Storage::Shared;
        for variable in text.variables.iter().filter(shared).filter(|v| !v.external) {
            if mentions(items, &variable.name) || functions().any(|body| mentions(body, &variable.name)) {
                let address = self.next_shared(variable);
                self.scopes.add(variable.name.clone(), Place::Memory { space: Space::Shared, address });
            }
        }
        for variable in functions().chain([items]).flatten().filter_map(declared).filter(shared) {
            let address = self.next_shared(variable);
            self.of_bodies.insert((variable.line, variable.name.clone()), address);
        }
        let unsized_ones = || text.variables.iter().filter(shared).filter(|v| v.external);
        let align = unsized_ones().map(|v| v.align as u64).max();
        self.shared = self.shared.next_multiple_of(align.map_or(1, |a| a.max(16)));
        for variable in unsized_ones() {
            self.scopes.add(variable.name.clone(), Place::Memory { space: Space::Shared, address: self.shared });
        }
    }

    fn next_shared(&mut self, variable: &Variable) -> u64 {
        let address = self.shared.next_multiple_of(variable.align as u64);
        self.shared = address + variable.bytes as u64;
        address
    }

    fn place_local(&mut self, variable: &Variable) -> u64 {
        let address = self.local.next_multiple_of(variable.align as u64);
        self.local = address + variable.bytes as u64;
        address
    }

    fn push(&mut self, line: u32, guard: Option<Truth>, op: Op, touched: Touched) {
        self.code.push(Inst { line, guard, op, touched });
    }

    /// Of what instructions touch, keeps the registers of products of groups; those products know theirs themselves.
    fn keep_touched(&mut self) {
        let of_group = |inst: &Inst| if let Op::Group(group) = &inst.op { group.registers() } else { Vec::new() };
        let registers: HashSet<Reg> = self.code.iter().flat_map(of_group).collect();
        for inst in &mut self.code {
            let other = !matches!(inst.op, Op::Group(_));
            inst.touched.retain(|reg| other && registers.contains(&reg));
        }
    }

    /// The target that the text names.
    pub(crate) fn target(&self) -> &str {
        &self.text.target
    }

    fn fault(&mut self, line: u32, what: String) {
        self.places.push((line, what));
    }

    /// Appends the code of a body; `end` is where `ret` of a device function goes.
    fn body(&mut self, items: &[Item], end: Option<&str>) {
        for item in items {
            if self.code.len() > MAX_CODE {
                return self.fault(0, "the kernel is too long".to_owned());
            }
            match item {
                Item::Open => self.scopes.open(),
                Item::Close => self.scopes.close(),
                Item::Registers { line, ty, names } => {
                    for name in names {
                        match name.count {
                            None => self.register(*line, name.text.clone(), *ty),
                            Some(count) => {
                                (0..count).for_each(|i| self.register(*line, format!("{}{i}", name.text), *ty))
                            }
                        }
                    }
                }
                Item::Variable(v) => match v.storage {
                    Storage::Shared => {
                        let address = self.of_bodies.get(&(v.line, v.name.clone())).copied().unwrap_or_default();
                        self.scopes.add(v.name.clone(), Place::Memory { space: Space::Shared, address });
                    }
                    Storage::Local | Storage::Param => {
                        let address = self.place_local(v);
                        self.scopes.add(v.name.clone(), Place::Memory { space: Space::Local, address });
                    }
                    Storage::Global | Storage::Const => {
                        self.fault(v.line, format!("`{}` is declared in a body", v.name))
                    }
                },
                Item::Label { name } => self.label(name),
                Item::Targets { name, labels } => {
                    self.tables.insert(name.clone(), labels.clone());
                }
                Item::Instruction(raw) => self.instruction(raw, end),
            }
        }
    }

    fn label(&mut self, name: &str) {
        let scope = self.scopes.path(self.from).last().copied().unwrap_or_default();
        self.labels.insert((scope, name.to_owned()), self.code.len() as u32);
    }

    fn register(&mut self, line: u32, name: String, ty: Type) {
        if ty.bits() > 64 {
            return self.fault(line, "registers of 128 bits".to_owned());
        }
        let place = if ty == Type::Pred {
            self.preds += 1;
            Place::Pred(Pred(self.preds - 1))
        } else {
            self.regs += 1;
            Place::Reg(Reg(self.regs - 1), ty)
        };
        self.scopes.add(name, place);
    }

    fn guard(&mut self, raw: &Raw) -> Result<Option<Truth>, String> {
        let Some((name, negated)) = &raw.guard else { return Ok(None) };
        match self.scopes.find(name, self.from) {
            Some(Place::Pred(pred)) => Ok(Some(Truth::Pred { pred, negated: *negated })),
            Some(Place::Reg(..) | Place::Memory { .. }) | None => Err(format!("`{name}` is no predicate")),
        }
    }

    fn instruction(&mut self, raw: &Raw, end: Option<&str>) {
        if let Err(what) = self.try_instruction(raw, end) {
            self.fault(raw.line, format!("`{}`: {what}", raw.opcode.join(".")));
        }
    }

    fn try_instruction(&mut self, raw: &Raw, end: Option<&str>) -> Result<(), String> {
        let guard = self.guard(raw)?;
        match raw.name() {
            "call" => return self.call(raw, guard),
            "bra" => {
                let Some(Operand::Name(label)) = raw.operands.first() else {
                    return Err("a label is expected".to_owned());
                };
                self.jump(raw.line, guard, label.clone());
                return Ok(());
            }
            "brx" => {
                let mut form = Form::new(raw, self);
                let (index, table) = form.table()?;
                let touched = form.touched();
                let labels = self.tables.get(&table).cloned().ok_or_else(|| format!("no targets `{table}`"))?;
                let inst = self.code.len();
                let table = Control::Table { index, to: vec![0; labels.len()] };
                self.push(raw.line, guard, Op::Control(table), touched);
                for (slot, label) in labels.into_iter().enumerate() {
                    self.fix(inst, slot, label, raw.line);
                }
                return Ok(());
            }
            "ret" => {
                match end {
                    Some(end) => self.jump(raw.line, guard, end.to_owned()),
                    None => self.push(raw.line, guard, Op::Control(Control::Exit), Touched::default()),
                }
                return Ok(());
            }
            _ => {}
        }
        let mut form = Form::new(raw, self);
        let op = op::decode(&mut form)?;
        let touched = form.touched();
        self.push(raw.line, guard, op, touched);
        Ok(())
    }

    fn fix(&mut self, inst: usize, slot: usize, label: String, line: u32) {
        let path = self.scopes.path(self.from);
        self.fixups.push(Fixup { inst, slot, path, label, line });
    }

    fn jump(&mut self, line: u32, guard: Option<Truth>, label: String) {
        let inst = self.code.len();
        self.push(line, guard, Op::Control(Control::Jump { to: 0 }), Touched::default());
        self.fix(inst, 0, label, line);
    }

    fn call(&mut self, raw: &Raw, guard: Option<Truth>) -> Result<(), String> {
        let mut operands = raw.operands.as_slice();
        let results =
            operands.first().and_then(Operand::list).inspect(|_| operands = &operands[1..]).unwrap_or_default();
        let Some((Operand::Name(name), rest)) = operands.split_first() else {
            return Err("no function is named".to_owned());
        };
        let arguments = rest.first().and_then(Operand::list).unwrap_or_default();
        let text = self.text;
        let named = |f: &&Function| f.name == *name && !f.entry;
        let function = text
            .functions
            .iter()
            .filter(named)
            .find(|f| f.body.is_some())
            .or_else(|| text.functions.iter().find(named));
        let function = function.ok_or_else(|| format!("no function `{name}`"))?;
        let Some(body) = &function.body else {
            return if name == "__assertfail" {
                self.push(raw.line, guard, Op::Control(Control::Trap), Touched::default());
                Ok(())
            } else {
                Err(format!("`{name}` has no body"))
            };
        };
        if self.calls.contains(name) || self.calls.len() >= MAX_DEPTH {
            return Err(format!("`{name}` calls itself, or calls are too deep"));
        }
        if results.len() != function.results.len() || arguments.len() != function.params.len() {
            return Err(format!("`{name}` has other parameters"));
        }
        let mut bound = Vec::new();
        for (given, wanted) in results.iter().chain(arguments).zip(function.results.iter().chain(&function.params)) {
            let Operand::Name(given) = given else {
                return Err("an argument has to be a `.param` variable".to_owned());
            };
            match self.scopes.find(given, self.from) {
                Some(place @ Place::Memory { space: Space::Local, .. }) => bound.push((wanted.name.clone(), place)),
                _ => return Err(format!("`{given}` is no `.param` variable")),
            }
        }
        let outer = (self.from, self.outermost);
        self.from = self.scopes.depth();
        self.outermost = false;
        self.scopes.open();
        bound.into_iter().for_each(|(name, place)| self.scopes.add(name, place));
        self.calls.push(name.clone());
        // No label of PTX text has a space.
        let end = "the end";
        if let Some(Truth::Pred { pred, negated }) = guard {
            self.jump(raw.line, Some(Truth::Pred { pred, negated: !negated }), end.to_owned());
        }
        self.body(body, Some(end));
        self.label(end);
        self.calls.pop();
        self.scopes.close();
        (self.from, self.outermost) = outer;
        Ok(())
    }

    fn resolve(&mut self) {
        for Fixup { inst, slot, path, label, line } in std::mem::take(&mut self.fixups) {
            let found = path.iter().rev().find_map(|scope| self.labels.get(&(*scope, label.clone())));
            let Some(target) = found.copied() else {
                self.fault(line, format!("no label `{label}`"));
                continue;
            };
            if let Op::Control(control) = &mut self.code[inst].op {
                control.point(slot, target);
            }
        }
    }
}
