//! The time of each step on the device: events of the driver between launches.

use super::driver::{Event, Stream};
use actc_types::Result;

/// Events that are held at most; more launches than that are waited for on the way.
const MOST: usize = 1024;

/// Nanoseconds of each leaf step of a run.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    events: Vec<Event>,
    /// For each event in use, in order, the step that ended there; none where the time before it is nobody's.
    marks: Vec<Option<usize>>,
    pub times: Vec<u64>,
}

impl Clock {
    /// Forgets the last run; the next has `leaves` steps.
    pub(crate) fn begin(&mut self, leaves: usize) {
        self.marks.clear();
        self.times.clear();
        self.times.resize(leaves, 0);
    }

    /// Says that the time since the last mark is that of step `leaf`, or nobody's.
    pub(crate) fn mark(&mut self, stream: &Stream, leaf: Option<usize>) -> Result<()> {
        if self.marks.len() == MOST {
            self.collect()?;
            self.mark(stream, None)?;
        }
        if self.events.len() == self.marks.len() {
            self.events.push(Event::new(stream.context())?);
        }
        stream.record(&self.events[self.marks.len()])?;
        self.marks.push(leaf);
        Ok(())
    }

    /// Waits for the last mark, and adds up the times between marks.
    pub(crate) fn collect(&mut self) -> Result<()> {
        if let Some(last) = self.marks.len().checked_sub(1) {
            self.events[last].wait()?;
        }
        for (i, leaf) in self.marks.iter().enumerate().skip(1) {
            if let Some(leaf) = leaf {
                self.times[*leaf] += self.events[i - 1].nanoseconds_to(&self.events[i])?;
            }
        }
        self.marks.clear();
        Ok(())
    }
}
