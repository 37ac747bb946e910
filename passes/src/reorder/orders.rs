//! New orders of classes, and a graph that has them.

use super::classes::{Classes, Part};
use super::permute::{fits, permute};
use crate::quantize::encode::{decode, dense};
use actc_ir::{ConstId, Graph, Value};
use actc_types::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// New orders of classes, each by the position of its class: at place `i` stands the channel that stood at `order[i]`.
#[derive(Debug)]
pub struct Orders<'c> {
    classes: &'c Classes,
    by_class: BTreeMap<usize, Vec<u32>>,
    /// Constants whose elements become f32 where their storage cannot hold a new order.
    unpacked: BTreeSet<ConstId>,
}

/// New orders of the rows and of the columns of a matrix, where they are not the old ones.
type Both = (Option<Vec<u32>>, Option<Vec<u32>>);

impl<'c> Orders<'c> {
    /// The orders `by_class`; classes that are held have none.
    pub fn new(classes: &'c Classes, by_class: BTreeMap<usize, Vec<u32>>) -> Orders<'c> {
        for (class, order) in &by_class {
            let class = &classes.all()[*class];
            assert!(class.held.is_none() && order.len() == class.width, "an order of a class that may have one");
        }
        Orders { classes, by_class, unpacked: BTreeSet::new() }
    }

    /// The same, where elements of the constants `unpacked` become f32 if their storage cannot hold a new order exactly: as
    /// they are before they are rounded anew.
    #[must_use]
    pub(super) fn unpacking(self, unpacked: BTreeSet<ConstId>) -> Orders<'c> {
        Orders { unpacked, ..self }
    }

    /// The new order of `extent` elements that `parts` stand at, each of whose elements is `each` elements; none where it is
    /// the old one.
    fn along(&self, extent: usize, parts: impl Iterator<Item = (Part, usize)>) -> Option<Vec<u32>> {
        let moved: Vec<(Part, usize, &Vec<u32>)> =
            parts.filter_map(|(p, each)| Some((p, p.inner * each, self.by_class.get(&p.class)?))).collect();
        if moved.is_empty() {
            return None;
        }
        // Parts are digits of an element's number.
        let source = |i: usize| {
            moved.iter().fold(i, |at, (part, inner, order)| {
                let digit = i / inner % part.width;
                at - digit * inner + order[digit] as usize * inner
            }) as u32
        };
        Some((0..extent).map(source).collect())
    }

    /// The new order of the elements of axis `axis` of `value`, each of them `each` side by side; none where it is the old one.
    pub fn of_value(&self, graph: &Graph, value: Value, axis: usize, each: usize) -> Option<Vec<u32>> {
        let extent = graph.ty(value).shape.dims()[axis].fixed()? as usize * each;
        self.along(extent, self.classes.of_value(value, axis).into_iter().map(|p| (p, each)))
    }

    /// The new orders of the constant `id` as a matrix.
    fn of_constant(&self, graph: &Graph, id: ConstId) -> Result<Both> {
        let constant = graph.const_data(id);
        let (rows, cols) = constant.matrix()?;
        let dims = constant.fixed_dims()?;
        let each = |axis: usize| dims[axis + 1..].iter().product::<u64>() as usize;
        let parts = |axis: usize| self.classes.of_constant(id, axis).into_iter().map(move |p| (p, each(axis)));
        Ok(match dims.len() {
            0 => (None, None),
            1 => (None, self.along(cols, parts(0))),
            rank => {
                let first = self.classes.of_constant(id, 0).into_iter().map(|p| (p, 1));
                (self.along(rows, first), self.along(cols, (1..rank).flat_map(parts)))
            }
        })
    }

    /// The constants that change, in their order.
    fn constants(&self) -> BTreeSet<ConstId> {
        self.by_class.keys().flat_map(|c| &self.classes.all()[*c].members).map(|m| m.constant).collect()
    }

    /// An error where a constant of `graph` cannot be permuted exactly.
    pub fn check(&self, graph: &Graph) -> Result<()> {
        for id in self.constants() {
            if let (_, Some(cols)) = self.of_constant(graph, id)?
                && !self.unpacked.contains(&id)
            {
                fits(graph.const_data(id), &cols)?;
            }
        }
        Ok(())
    }

    /// Permutes the constants of `graph`, each once, exactly; nothing is changed where one cannot be. What is stored anew
    /// lies in files of `work`; one constant at a time is held in memory.
    pub fn apply(&self, graph: &mut Graph, work: &Path) -> Result<()> {
        self.check(graph)?;
        for id in self.constants() {
            let (rows, cols) = self.of_constant(graph, id)?;
            if rows.is_none() && cols.is_none() {
                continue;
            }
            let constant = graph.const_data(id);
            let inexact = cols.as_deref().is_some_and(|cols| fits(constant, cols).is_err());
            if inexact && self.unpacked.contains(&id) {
                let (values, _) = decode(constant)?;
                let unpacked = dense(constant, &values, work)?;
                graph.retype_const(id, permute(&unpacked, rows.as_deref(), cols.as_deref(), work)?)?;
            } else {
                graph.set_const(id, permute(constant, rows.as_deref(), cols.as_deref(), work)?)?;
            }
        }
        Ok(())
    }
}
