//! Numbers and names as the page writes them.

use actc_types::diagnostic::one_line;

/// What stands where nothing was measured.
pub(super) const NONE: &str = "–";

/// Three significant digits, without an exponent where that is shorter.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        v if !v.is_finite() => NONE.into(),
        0.0 => "0".into(),
        v if (1e-4..1e6).contains(&v) => {
            let digits = (2 - v.log10().floor() as i32).clamp(0, 6) as usize;
            format!("{value:.digits$}")
        }
        _ => format!("{value:.1e}"),
    }
}

/// The same without zeros at its end: for ticks.
pub(super) fn tick(value: f64) -> String {
    let text = short(value);
    if text.contains('.') && !text.contains('e') {
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    text
}

pub(super) fn percent(value: Option<f64>) -> String {
    value.map_or(NONE.into(), |v| short(100.0 * v))
}

pub(super) fn kilobytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e3)
}

pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

/// Left and right end of the plots.
pub(super) const SPAN: (f64, f64) = (60.0, 950.0);

pub(super) fn or(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { one_line(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 1.0, 0.012345, 123.4, 98765.4, 1e-7, 2.5e9, f64::NAN].map(short);
        assert_eq!([0.01, 10.0, 0.0, 2.5e9, 1.25].map(tick), ["0.01", "10", "0", "2.5e9", "1.25"]);
        assert_eq!(shown, ["0", "1.00", "0.0123", "123", "98765", "1.0e-7", "2.5e9", "–"]);
    }
}
