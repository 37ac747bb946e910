//! The seam between passes and whatever runs graphs for them.
//!
//! Two things implement [`Evaluator`]: the reference interpreter of this crate, and "compile for this machine and open the
//! bytes with the runtime" in the root package. Passes never know which.

use crate::graph::Graph;
use actc_types::{Result, Tensor};

/// Something that can run graphs.
pub trait Evaluator: Send + Sync {
    /// Makes `graph` ready to run; constants are bound now, by slot.
    fn prepare(&self, graph: &Graph) -> Result<Box<dyn Prepared>>;

    /// What it is, for reports: `reference`, or the machine and its threads.
    fn describe(&self) -> String;
}

/// A graph that is ready to run.
pub trait Prepared: Send {
    /// Runs the graph on `inputs`, in the order of [`Graph::inputs`]. Symbols take their values from the inputs' shapes.
    ///
    /// Gives the outputs in the order of [`Graph::outputs`], then each donated state's new value in the order of
    /// [`Graph::donated`]. Inputs are taken by value so that a donated one can be updated in place.
    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>>;
}
