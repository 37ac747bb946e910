//! The constants that a program stores, once for each order of bits that its devices want.

use actc_ir::Const;
use actc_types::Order;
use std::collections::BTreeMap;

/// A stored tensor: a constant as the graph has it, or with its bits in the order of another device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTensor {
    /// The constant's name.
    pub constant: String,
    /// The order, where it is not the constant's own.
    pub order: Option<Order>,
}

impl StoredTensor {
    /// Its name in the manifest: the constant's, which the portable graph names, or that with the order behind it.
    pub fn name(&self) -> String {
        match self.order {
            None => self.constant.clone(),
            Some(order) => format!("{}@{}", self.constant, order.name()),
        }
    }
}

/// The stored tensors, in the order of first use.
#[derive(Debug, Default)]
pub struct TensorTable {
    indices: BTreeMap<String, u32>,
    /// Each once.
    pub order: Vec<StoredTensor>,
}

impl TensorTable {
    /// The tensor that holds constant `name` as the graph has it.
    pub fn index(&mut self, name: &str) -> u32 {
        self.place(StoredTensor { constant: name.into(), order: None })
    }

    /// The tensor that holds `constant` in `order`.
    pub fn index_in(&mut self, constant: &Const, order: Order) -> u32 {
        let other = constant.encoding.order().is_some_and(|own| own != order);
        self.place(StoredTensor { constant: constant.name.clone(), order: other.then_some(order) })
    }

    fn place(&mut self, tensor: StoredTensor) -> u32 {
        let next = self.order.len() as u32;
        *self.indices.entry(tensor.name()).or_insert_with(|| {
            self.order.push(tensor);
            next
        })
    }
}
