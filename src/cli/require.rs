//! `--require`: conditions on the quality of a compile, such as `kl<0.1,top1>=0.8`.

use actc_types::diagnostic::nearest;
use actc_types::{Diagnostic, Place};
use std::fmt;

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Kl,
    Top1,
    PplRatio,
    Cosine,
    Error,
    Worst,
}

impl Measure {
    const ALL: [(Measure, &str); 6] = [
        (Measure::Kl, "kl"),
        (Measure::Top1, "top1"),
        (Measure::PplRatio, "ppl_ratio"),
        (Measure::Cosine, "cosine"),
        (Measure::Error, "error"),
        (Measure::Worst, "worst"),
    ];

    /// Whether it is one of language models, or of outputs of other models, whichever `text` says.
    pub(super) fn is_of(self, text: bool) -> bool {
        match self {
            Measure::Kl | Measure::Top1 | Measure::Worst => true,
            Measure::PplRatio => text,
            Measure::Cosine | Measure::Error => !text,
        }
    }

    fn name(self) -> &'static str {
        Measure::ALL.iter().find(|(m, _)| *m == self).map_or("", |(_, name)| name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Relation {
    /// Longer ones first: `<=` is not `<` and a number.
    const ALL: [(Relation, &str); 4] =
        [(Relation::AtMost, "<="), (Relation::AtLeast, ">="), (Relation::Below, "<"), (Relation::Above, ">")];
}

/// One condition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Condition {
    pub(super) measure: Measure,
    relation: Relation,
    bound: f64,
}

impl Condition {
    /// Whether `value` meets it; no number meets nothing.
    pub(super) fn holds(&self, value: f64) -> bool {
        match self.relation {
            Relation::Below => value < self.bound,
            Relation::AtMost => value <= self.bound,
            Relation::Above => value > self.bound,
            Relation::AtLeast => value >= self.bound,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relation = Relation::ALL.iter().find(|(r, _)| *r == self.relation).map_or("", |(_, sign)| sign);
        write!(f, "{}{relation}{}", self.measure.name(), self.bound)
    }
}

/// Conditions separated by commas; all must hold.
pub(super) fn parse(text: &str) -> Result<Vec<Condition>, Diagnostic> {
    let mut start = 0;
    text.split(',')
        .map(|part| {
            let span = Place::Span { text: text.into(), start, end: start + part.len() };
            start += part.len() + 1;
            condition(part.trim()).map_err(|d| d.at(span))
        })
        .collect()
}

fn condition(part: &str) -> Result<Condition, Diagnostic> {
    let wrong = |what: String| {
        Diagnostic::request("require-syntax", what)
            .help("a condition is `kl`, `top1`, `ppl_ratio`, `cosine`, `error` or `worst`, then `<`, `<=`, `>` or `>=` and a number")
    };
    let found = Relation::ALL.iter().find_map(|(relation, sign)| Some((*relation, part.split_once(sign)?)));
    let (relation, (name, bound)) = found.ok_or_else(|| wrong(format!("`{part}` compares nothing")))?;
    let name = name.trim();
    let measure = Measure::ALL.iter().find(|(_, n)| *n == name).map(|(m, _)| *m).ok_or_else(|| {
        match nearest(name, Measure::ALL.iter().map(|(_, n)| *n)) {
            Some(word) => wrong(format!("unknown measure `{name}`")).help(format!("did you mean `{word}`?")),
            None => wrong(format!("unknown measure `{name}`")),
        }
    })?;
    let bound = bound.trim().parse().ok().filter(|b: &f64| b.is_finite());
    let bound = bound.ok_or_else(|| wrong(format!("`{part}` has no number behind the sign")))?;
    Ok(Condition { measure, relation, bound })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_read_and_hold() {
        let all = parse("kl<0.1, top1>=0.8").unwrap();
        assert_eq!(all.iter().map(ToString::to_string).collect::<Vec<_>>(), ["kl<0.1", "top1>=0.8"]);
        assert!(all[0].holds(0.09) && !all[0].holds(0.1) && !all[0].holds(f64::NAN));
        assert!(all[1].holds(0.8) && !all[1].holds(0.79));
        assert!(parse("ppl_ratio<=1.3").unwrap()[0].holds(1.3));
    }

    #[test]
    fn errors_point_at_the_condition() {
        for (text, start, end) in [("kl<0.1,tpo1>2", 7, 13), ("kl", 0, 2), ("kl<", 0, 3), ("kl<inf", 0, 6), ("", 0, 0)]
        {
            let error = parse(text).unwrap_err();
            assert_eq!(error.code, "require-syntax");
            assert_eq!(error.place, Place::Span { text: text.into(), start, end }, "{text}");
        }
    }
}
