//! Branches and loops: regions become nested steps.
//!
//! A branch reads its captures where they lie and copies what it gives to the node's results. A loop's carried values lie in
//! the node's results from the start: initial values are copied in, each round reads them there and copies new ones over them
//! when all of them are made. Captures are read where they lie; what is stacked goes to its row at the end of a round.

use super::steps::Steps;
use actc_artifact::{Builtin, BuiltinCall, Step};
use actc_ir::ops::control::Loop;
use actc_ir::{NodeData, Region, Value};
use actc_types::{DType, Dim, Result};

impl Steps<'_, '_> {
    pub(super) fn branch(&mut self, data: &NodeData) -> Result<()> {
        let cond = self.any(data.args[0])?;
        let results = data.results.iter().map(|v| self.buffers.value(*v)).collect::<Result<Vec<u32>>>()?;
        self.tick(&[cond]);
        let mut branches = Vec::new();
        for region in &data.regions {
            for (param, arg) in self.graph.region_params(*region).to_vec().into_iter().zip(&data.args[1..]) {
                let buffer = self.any(*arg)?;
                self.buffers.alias(param, buffer);
            }
            let outside = std::mem::take(&mut self.list);
            // Both branches write the results, so these live from the first one on.
            self.tick(&results);
            self.region(*region);
            for (value, to) in self.graph.region_results(*region).to_vec().into_iter().zip(&results) {
                self.copy_value(value, *to)?;
            }
            branches.push(std::mem::replace(&mut self.list, outside));
        }
        let used = data.args.iter().map(|v| self.any(*v)).collect::<Result<Vec<_>>>()?;
        self.tick(&used);
        let otherwise = branches.pop().unwrap_or_default();
        let then = branches.pop().unwrap_or_default();
        self.list.push(Step::If { cond, then, otherwise });
        Ok(())
    }

    pub(super) fn repeat(&mut self, label: &str, data: &NodeData, op: &Loop) -> Result<()> {
        let trips = self.any(data.args[0])?;
        let results = data.results.iter().map(|v| self.buffers.value(*v)).collect::<Result<Vec<u32>>>()?;
        let (carried, captured) = data.args[1..].split_at(op.carried(data.args.len()));
        for (arg, to) in carried.iter().zip(&results) {
            self.copy_value(*arg, *to)?;
        }
        let (again, stacked) = results.split_at(carried.len());
        for (value, to) in data.results.iter().zip(&results).skip(carried.len()) {
            let call = BuiltinCall {
                bufs: vec![*to],
                dims: vec![self.buffers.bytes(*value)?],
                ..BuiltinCall::new(label, Builtin::Zero)
            };
            self.builtin(call, "rounds that do not come");
        }
        let region: Region = data.regions[0];
        let params: Vec<Value> = self.graph.region_params(region).to_vec();
        let index = self.buffers.scratch(Dim::from(DType::I64.size() as u64));
        self.buffers.alias(params[0], index);
        let captured = captured.iter().map(|v| self.any(*v)).collect::<Result<Vec<u32>>>()?;
        for (param, buffer) in params[1..].iter().zip(again.iter().chain(&captured)) {
            self.buffers.alias(*param, *buffer);
        }
        // What a round reads must outlive all of them.
        let kept: Vec<u32> = results.iter().chain(&captured).copied().chain([index, trips]).collect();
        self.tick(&kept);
        let outside = std::mem::take(&mut self.list);
        self.region(region);
        let given = self.graph.region_results(region).to_vec();
        let mut made = Vec::new();
        for value in &given[..again.len()] {
            let made_in = self.buffers.scratch(self.buffers.bytes(*value)?);
            self.copy_value(*value, made_in)?;
            made.push((made_in, self.buffers.bytes(*value)?));
        }
        for ((value, to), ty) in given[again.len()..].iter().zip(stacked).zip(&op.stacked) {
            let rows = ty.shape.dims().first().cloned().unwrap_or_default();
            let call = BuiltinCall {
                bufs: vec![self.any(*value)?, index, *to],
                dims: vec![rows, self.buffers.bytes(*value)?],
                ..BuiltinCall::new(label, Builtin::Row)
            };
            self.builtin(call, "a row of each round");
        }
        for ((from, bytes), to) in made.into_iter().zip(again) {
            let zero = Dim::from(0);
            self.copy("carried", [from, *to], [&Dim::from(1), &bytes, &zero, &bytes, &zero, &bytes]);
        }
        let body = std::mem::replace(&mut self.list, outside);
        self.tick(&kept);
        let live = again.first().copied().filter(|_| op.guarded);
        self.list.push(Step::Loop { trips, live, index: Some(index), body });
        Ok(())
    }
}
