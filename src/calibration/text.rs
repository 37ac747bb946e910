//! Calibration text: what the user gives, or the built-in text.

use super::{DESCRIPTION, TEXT};
use crate::text::{ChatTemplate, Message, Tokenizer};
use actc_types::{Diagnostic, Place, Result};
use std::io::Read;
use std::path::Path;

/// Text to calibrate on: documents that follow each other.
#[derive(Clone, Debug)]
pub struct CalibrationText {
    /// What it is, in words, without paths.
    pub description: String,
    /// The documents in order.
    pub documents: Vec<String>,
    digest: blake3::Hasher,
}

impl CalibrationText {
    /// The built-in text.
    pub fn builtin() -> CalibrationText {
        let mut text = CalibrationText::empty(DESCRIPTION.into());
        text.push(TEXT.into());
        text
    }

    fn empty(description: String) -> CalibrationText {
        CalibrationText { description, documents: Vec::new(), digest: blake3::Hasher::new() }
    }

    fn push(&mut self, document: String) {
        // Lengths keep different cuts of the same text apart.
        self.digest.update(&(document.len() as u64).to_le_bytes());
        self.digest.update(document.as_bytes());
        self.documents.push(document);
    }

    /// Digest of all documents.
    pub fn digest(&self) -> blake3::Hash {
        self.digest.finalize()
    }

    /// The files at `paths`: `.txt` is one document, `.jsonl` one per line with a string `text` or a list `messages`
    /// (which needs the model's chat template), `-` is text from standard input.
    pub fn read<P: AsRef<Path>>(paths: &[P], template: Option<&ChatTemplate>) -> Result<CalibrationText> {
        let count = paths.len();
        let mut all =
            CalibrationText::empty(if count == 1 { "one text file".into() } else { format!("{count} text files") });
        for path in paths {
            let path = path.as_ref();
            let shown = path.display().to_string();
            let failed = |e: std::io::Error| {
                Diagnostic::request("calib-file", format!("cannot read the calibration file: {e}"))
                    .at(Place::File(shown.clone()))
            };
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
            match extension.as_str() {
                _ if shown == "-" => {
                    let mut bytes = Vec::new();
                    std::io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
                    all.push(utf8(bytes, &shown)?);
                }
                "txt" | "md" => all.push(utf8(std::fs::read(path).map_err(failed)?, &shown)?),
                "jsonl" => {
                    let text = utf8(std::fs::read(path).map_err(failed)?, &shown)?;
                    for document in documents(&text, &shown, template)? {
                        all.push(document);
                    }
                }
                _ => {
                    return Err(Diagnostic::request("calib-format", "not a calibration file that is known")
                        .at(Place::File(shown))
                        .help(
                            "give `.txt` (one stream), `.jsonl` with `text` or `messages`, or `-` for standard input",
                        ));
                }
            }
        }
        Ok(all)
    }

    /// The ids of all documents, one after the other.
    pub fn encode(&self, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        for document in &self.documents {
            ids.extend(tokenizer.encode(document)?);
        }
        Ok(ids)
    }
}

fn utf8(bytes: Vec<u8>, shown: &str) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| {
        let offset = e.utf8_error().valid_up_to() as u64;
        Diagnostic::request("calib-utf8", "the text is not UTF-8").at(Place::Offset { file: shown.into(), offset })
    })
}

fn documents(text: &str, shown: &str, template: Option<&ChatTemplate>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut offset = 0u64;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let place = Place::Offset { file: shown.into(), offset };
        offset += line.len() as u64;
        if line.trim().is_empty() {
            continue;
        }
        let wrong =
            |what: String| Diagnostic::request("calib-jsonl", format!("line {number} {what}")).at(place.clone());
        let value: serde_json::Value = serde_json::from_str(line).map_err(|e| wrong(format!("is no JSON: {e}")))?;
        if let Some(text) = value["text"].as_str() {
            found.push(text.to_owned());
        } else if let Some(messages) = value["messages"].as_array() {
            let template = template.ok_or_else(|| {
                wrong("has messages, but the model has no chat template".into()).help("give lines with `text`")
            })?;
            let messages = messages
                .iter()
                .map(|m| Some(Message::new(m["role"].as_str()?, m["content"].as_str()?)))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| wrong("has a message without the strings `role` and `content`".into()))?;
            found.push(template.render(&messages, false)?);
        } else {
            return Err(wrong("has neither a string `text` nor a list `messages`".into()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_documents_and_errors_name_the_line() {
        let template =
            ChatTemplate::new("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}", "", "").unwrap();
        let text = "{\"text\": \"a\"}\n\n{\"messages\": [{\"role\": \"user\", \"content\": \"b\"}]}\n";
        assert_eq!(documents(text, "f", Some(&template)).unwrap(), ["a", "<user>b"]);
        for (text, place) in [("{\"text\": \"a\"}\n{", 14), ("{\"text\": 3}", 0), ("{\"messages\": [{}]}", 0)] {
            let error = documents(text, "f", Some(&template)).unwrap_err();
            assert_eq!(error.code, "calib-jsonl");
            assert_eq!(error.place, Place::Offset { file: "f".into(), offset: place });
        }
        assert!(documents("{\"messages\": []}", "f", None).is_err());
    }

    #[test]
    fn the_digest_tells_cuts_apart() {
        let text = |documents: &[&str]| {
            let mut all = CalibrationText::empty(String::new());
            documents.iter().for_each(|d| all.push((*d).into()));
            all.digest()
        };
        assert_ne!(text(&["ab", "c"]), text(&["a", "bc"]));
        assert_eq!(text(&["ab"]), text(&["ab"]));
    }
}
