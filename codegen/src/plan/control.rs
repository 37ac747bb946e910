//! Branches and loops: regions become nested steps.
//!
//! A branch reads its captures where they lie and copies what it gives to the node's results. A loop's carried values lie in
//! the node's results from the start: initial values are copied in, each round reads them there and copies new ones over them
//! when all of them are made.

use super::steps::Steps;
use actc_artifact::Step;
use actc_ir::{NodeData, Region, Value};
use actc_types::{DType, Dim, Result};

impl Steps<'_, '_> {
    pub(super) fn branch(&mut self, data: &NodeData) -> Result<()> {
        let cond = self.buffers.dense(&mut self.shared.tensors, data.args[0])?;
        let results = data.results.iter().map(|v| self.buffers.value(*v)).collect::<Result<Vec<u32>>>()?;
        self.tick(&[cond]);
        let mut branches = Vec::new();
        for region in &data.regions {
            for (param, arg) in self.graph.region_params(*region).to_vec().into_iter().zip(&data.args[1..]) {
                let buffer = self.buffers.dense(&mut self.shared.tensors, *arg)?;
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
        let used =
            data.args.iter().map(|v| self.buffers.dense(&mut self.shared.tensors, *v)).collect::<Result<Vec<_>>>()?;
        self.tick(&used);
        let otherwise = branches.pop().unwrap_or_default();
        let then = branches.pop().unwrap_or_default();
        self.list.push(Step::If { cond, then, otherwise });
        Ok(())
    }

    pub(super) fn repeat(&mut self, data: &NodeData) -> Result<()> {
        let trips = self.buffers.dense(&mut self.shared.tensors, data.args[0])?;
        let results = data.results.iter().map(|v| self.buffers.value(*v)).collect::<Result<Vec<u32>>>()?;
        for (arg, to) in data.args[1..].iter().zip(&results) {
            self.copy_value(*arg, *to)?;
        }
        let region: Region = data.regions[0];
        let params: Vec<Value> = self.graph.region_params(region).to_vec();
        let index = self.buffers.scratch(Dim::from(DType::I64.size() as u64));
        self.buffers.alias(params[0], index);
        for (param, buffer) in params[1..].iter().zip(&results) {
            self.buffers.alias(*param, *buffer);
        }
        let carried: Vec<u32> = results.iter().copied().chain([index, trips]).collect();
        self.tick(&carried);
        let outside = std::mem::take(&mut self.list);
        self.region(region);
        let mut made = Vec::new();
        for value in self.graph.region_results(region).to_vec() {
            let made_in = self.buffers.scratch(self.buffers.bytes(value)?);
            self.copy_value(value, made_in)?;
            made.push((made_in, self.buffers.bytes(value)?));
        }
        for ((from, bytes), to) in made.into_iter().zip(&results) {
            let zero = Dim::from(0);
            self.copy("carried", [from, *to], [&Dim::from(1), &bytes, &zero, &bytes, &zero, &bytes]);
        }
        let body = std::mem::replace(&mut self.list, outside);
        self.tick(&carried);
        self.list.push(Step::Loop { trips, index: Some(index), body });
        Ok(())
    }
}
