//! Norms, rotary embedding, attention over a cache and elementwise chains.

use super::steps::{Steps, overflow};
use actc_ir::ops::attention::Attention;
use actc_ir::ops::rope::Rope;
use actc_ir::{Node, NodeData, Value};
use actc_types::Result;

impl Steps<'_, '_> {
    pub(super) fn rms_norm(&mut self, _label: &str, _data: &NodeData, _eps: f64) -> Result<()> {
        Err(overflow())
    }
    pub(super) fn layer_norm(&mut self, _label: &str, _data: &NodeData, _eps: f64) -> Result<()> {
        Err(overflow())
    }
    pub(super) fn rope(&mut self, _label: &str, _data: &NodeData, _rope: &Rope) -> Result<()> {
        Err(overflow())
    }
    pub(super) fn attention_kernel(&mut self, _label: &str, _data: &NodeData, _a: &Attention) -> Result<()> {
        Err(overflow())
    }
    pub(super) fn elementwise(&mut self, _nodes: &[Node], _output: Value) -> Result<()> {
        Err(overflow())
    }
}
