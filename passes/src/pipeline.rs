//! Pipelines: text to passes and back, put in order for `compile`, checked as typed for `opt`.

use crate::facts::Facts;
use crate::pass::{Pass, PassInfo};
use crate::shell;
use actc_types::braced::{Braced, Fields, write_fields};
use actc_types::diagnostic::nearest;
use actc_types::{Diagnostic, Place, Result};
use std::fmt;
use std::ops::Range;

/// A pass of a pipeline with its entry in the table.
pub struct Step {
    /// Its entry in the table.
    pub info: PassInfo,
    /// The configured pass.
    pub pass: Box<dyn Pass>,
    /// Where it stands in [`Pipeline::text`]; `None` where it was put in.
    span: Option<Range<usize>>,
}

/// Passes in the order they run. Prints as the text that makes it again, defaults shown.
pub struct Pipeline {
    text: String,
    steps: Vec<Step>,
}

impl Pipeline {
    /// Reads `clean,owq{bits=3,target=3.25}` (or `owq:bits=3:target=3.25`) with the passes of `table`. An unknown pass or
    /// option is an error that points into the text and names the nearest word.
    pub fn parse(text: &str, table: &[PassInfo]) -> Result<Pipeline> {
        let items = Braced::parse_list(text).map_err(|d| shell::explain(text, table).unwrap_or(d))?;
        let mut steps = Vec::with_capacity(items.len());
        for item in items {
            let span = item.span.clone();
            let Some(info) = table.iter().find(|p| p.name == item.name) else {
                return Err(unknown(text, &item, table));
            };
            let mut fields = Fields::new(text, info.name, item.fields);
            let place = |d: Diagnostic| match d.place {
                Place::Request => d.at(Place::Span { text: text.into(), start: span.start, end: span.end }),
                Place::File(_) | Place::Offset { .. } | Place::Node(_) | Place::Tensor(_) | Place::Span { .. } => d,
            };
            let pass = (info.build)(&mut fields).map_err(place)?;
            fields.finish()?;
            steps.push(Step { info: *info, pass, span: Some(span) });
        }
        Ok(Pipeline { text: text.into(), steps })
    }

    /// The passes in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Puts the pipeline in order: a clean graph first, a missing producer with its defaults inserted, phases in their
    /// order, and within one as typed. What cannot be repaired so is the same error as in [`Pipeline::check`].
    pub fn normalise(mut self, table: &[PassInfo]) -> Result<Pipeline> {
        if !self.steps.iter().any(|s| s.info.gives.meets(Facts::CLEAN))
            && let Some(info) = table.iter().find(|p| p.gives.meets(Facts::CLEAN))
        {
            self.insert(info)?;
        }
        loop {
            let given = self.steps.iter().fold(Facts::NONE, |f, s| f.and(s.info.gives));
            let missing = self.steps.iter().fold(Facts::NONE, |f, s| f.and(s.info.needs)).without(given);
            let producer = missing.each().find_map(|f| table.iter().find(|p| p.gives.meets(f)));
            // What several passes can give is the user's choice.
            let Some(info) = producer.filter(|_| !missing.meets(Facts::QUANTISED)) else { break };
            self.insert(info)?;
        }
        self.steps.sort_by_key(|s| s.info.phase);
        self.check(table)?;
        Ok(self)
    }

    fn insert(&mut self, info: &PassInfo) -> Result<()> {
        let mut fields = Fields::new("", info.name, Vec::new());
        let pass = (info.build)(&mut fields)?;
        self.steps.insert(0, Step { info: *info, pass, span: None });
        Ok(())
    }

    /// Whether the passes can run in the order they stand. The error names the missing fact and the passes that give it.
    pub fn check(&self, table: &[PassInfo]) -> Result<()> {
        let mut have = Facts::NONE;
        for step in &self.steps {
            let name = step.info.name;
            let missing = step.info.needs.without(have);
            if let Some(fact) = missing.each().next() {
                let headline = format!("`{name}` needs {fact}, which nothing before it gives");
                let givers: Vec<String> =
                    table.iter().filter(|p| p.gives.meets(fact)).map(|p| format!("`{}`", p.name)).collect();
                let d = self.at(step, Diagnostic::request("missing-fact", headline));
                return Err(match &givers[..] {
                    [] => d,
                    [one] => d.help(format!("put {one} before it")),
                    many => d.help(format!("put one of {} before it", many.join(", "))),
                });
            }
            let late = step.info.precedes;
            if late.meets(have) {
                let culprit = self.steps.iter().find(|s| s.info.gives.meets(late)).map_or("", |s| s.info.name);
                let headline = format!("`{name}` stands behind `{culprit}`, but has to come before it");
                return Err(self
                    .at(step, Diagnostic::request("pass-order", headline))
                    .help(format!("move `{name}` before `{culprit}`")));
            }
            have = have.and(step.info.gives);
        }
        Ok(())
    }

    fn at(&self, step: &Step, d: Diagnostic) -> Diagnostic {
        match &step.span {
            Some(s) => d.at(Place::Span { text: self.text.clone(), start: s.start, end: s.end }),
            None => d,
        }
    }
}

fn unknown(text: &str, item: &Braced, table: &[PassInfo]) -> Diagnostic {
    if let Some(d) = shell::explain(text, table) {
        return d;
    }
    let d = Diagnostic::request("unknown-pass", format!("unknown pass `{}`", item.name)).at(Place::Span {
        text: text.into(),
        start: item.span.start,
        end: item.span.end,
    });
    match nearest(&item.name, table.iter().map(|p| p.name)) {
        Some(word) => d.help(format!("did you mean `{word}`?")),
        None => d.help(format!("the passes are {}", table.iter().map(|p| p.name).collect::<Vec<_>>().join(", "))),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info.name)?;
        let options = self.pass.options();
        let fields: Vec<(&str, Option<String>)> = options.into_iter().map(|(k, v)| (k, Some(v))).collect();
        write_fields(f, &fields)
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            write!(f, "{}{step}", if i > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Step({self})")
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pipeline({self})")
    }
}
