//! Chat templates: a conversation becomes the text that the model was trained on.
//!
//! Templates are Jinja as Hugging Face renders it: blocks trimmed, `raise_exception` for what a template refuses,
//! `messages`, `add_generation_prompt`, `bos_token` and `eos_token` given, `tools` and `documents` none. A template is
//! code from a model file, so it runs with bounded fuel and sees nothing else; the time of day (`strftime_now`) is not
//! given either, because the same input must give the same text.

use actc_types::{Diagnostic, Result};
use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, context};
use serde::Serialize;

/// Steps that a template may take: thousands of times what real ones need.
const FUEL: u64 = 5_000_000;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Message {
        Message { role: role.into(), content: content.into() }
    }
}

/// A model's chat template, parsed.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl ChatTemplate {
    /// Parses `source`; `bos` and `eos` are the texts of those tokens, empty where the model has none.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<ChatTemplate> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(64);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, format!("the template refuses: {message}")))
        });
        environment.add_filter("tojson", to_json);
        environment.set_unknown_method_callback(method);
        environment.set_formatter(as_python);
        environment.add_template_owned("chat", source.to_owned()).map_err(|e| template_error(&e))?;
        Ok(ChatTemplate { environment, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// The text of `messages`; with `prompt`, the beginning of the assistant's answer is added.
    pub fn render(&self, messages: &[Message], prompt: bool) -> Result<String> {
        let template = self.environment.get_template("chat").map_err(|e| template_error(&e))?;
        let context = context! {
            messages,
            add_generation_prompt => prompt,
            bos_token => self.bos,
            eos_token => self.eos,
            tools => (),
            documents => (),
        };
        template.render(context).map_err(|e| template_error(&e))
    }
}

/// Writes a value as Python does: `True`, `False` and `None`.
fn as_python(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_none() {
        return Ok(out.write_str("None")?);
    }
    match bool::try_from(value.clone()).ok().filter(|_| value.kind() == ValueKind::Bool) {
        Some(true) => Ok(out.write_str("True")?),
        Some(false) => Ok(out.write_str("False")?),
        None => minijinja::escape_formatter(out, state, value),
    }
}

fn template_error(error: &Error) -> Diagnostic {
    let line = error.line().map_or(String::new(), |l| format!(" in line {l}"));
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    Diagnostic::new("chat-template", format!("the chat template fails{line}: {detail}"))
        .help("`--raw` gives the text to the model as it stands")
}

/// `tojson` as Hugging Face has it: nothing escaped for HTML, optionally indented.
fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let failed = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, e.to_string());
    let mut out = Vec::new();
    match indent {
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter)).map_err(failed)?;
        }
        None => {
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)).map_err(failed)?;
        }
    }
    Ok(Value::from(String::from_utf8_lossy(&out).into_owned()))
}

/// Python's separators: `, ` and `: `.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Python's methods of strings and dictionaries that templates use.
fn method(_: &State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return string_method(text, name, args);
    }
    if value.kind() == ValueKind::Map {
        return map_method(value, name, args);
    }
    Err(unknown_method(name))
}

fn unknown_method(name: &str) -> Error {
    Error::new(ErrorKind::UnknownMethod, format!("there is no method `{name}`"))
}

fn string_method(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    /// The characters that `strip` takes off.
    fn strips(set: Option<&str>) -> impl Fn(char) -> bool + '_ {
        move |c| set.map_or(c.is_whitespace(), |set| set.contains(c))
    }
    fn affixes(value: &Value) -> Result<Vec<String>, Error> {
        match value.as_str() {
            Some(one) => Ok(vec![one.to_owned()]),
            None => Ok(value.try_iter()?.map(|v| v.to_string()).collect()),
        }
    }
    Ok(match name {
        "strip" => {
            let (set,): (Option<&str>,) = from_args(args)?;
            Value::from(text.trim_matches(strips(set)))
        }
        "lstrip" => {
            let (set,): (Option<&str>,) = from_args(args)?;
            Value::from(text.trim_start_matches(strips(set)))
        }
        "rstrip" => {
            let (set,): (Option<&str>,) = from_args(args)?;
            Value::from(text.trim_end_matches(strips(set)))
        }
        "startswith" => {
            let (prefix,): (&Value,) = from_args(args)?;
            Value::from(affixes(prefix)?.iter().any(|p| text.starts_with(p.as_str())))
        }
        "endswith" => {
            let (suffix,): (&Value,) = from_args(args)?;
            Value::from(affixes(suffix)?.iter().any(|s| text.ends_with(s.as_str())))
        }
        "split" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            let limit = most.and_then(|m| usize::try_from(m).ok()).map_or(usize::MAX, |m| m.saturating_add(1));
            let parts: Vec<Value> = match separator {
                Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
                Some(s) => text.splitn(limit, s).map(Value::from).collect(),
                None => text.split_whitespace().map(Value::from).collect(),
            };
            Value::from(parts)
        }
        "replace" => {
            let (old, new, most): (&str, &str, Option<i64>) = from_args(args)?;
            match most.and_then(|m| usize::try_from(m).ok()) {
                Some(n) => Value::from(text.replacen(old, new, n)),
                None => Value::from(text.replace(old, new)),
            }
        }
        "upper" => no_arguments(args, || Value::from(text.to_uppercase()))?,
        "lower" => no_arguments(args, || Value::from(text.to_lowercase()))?,
        "capitalize" => no_arguments(args, || {
            let mut chars = text.chars();
            let head: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
            Value::from(head + &chars.as_str().to_lowercase())
        })?,
        "splitlines" => no_arguments(args, || Value::from(text.lines().map(Value::from).collect::<Vec<_>>()))?,
        "join" => {
            let (list,): (&Value,) = from_args(args)?;
            let parts: Vec<String> = list.try_iter()?.map(|v| v.to_string()).collect();
            Value::from(parts.join(text))
        }
        "count" => {
            let (part,): (&str,) = from_args(args)?;
            Value::from(text.matches(part).count())
        }
        "find" => {
            let (part,): (&str,) = from_args(args)?;
            Value::from(text.find(part).map_or(-1, |at| text[..at].chars().count() as i64))
        }
        _ => return Err(unknown_method(name)),
    })
}

fn no_arguments(args: &[Value], result: impl FnOnce() -> Value) -> Result<Value, Error> {
    let () = from_args(args)?;
    Ok(result())
}

fn map_method(map: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match name {
        "get" => {
            let (key, default): (&Value, Option<Value>) = from_args(args)?;
            let found = map.get_item(key)?;
            Ok(if found.is_undefined() { default.unwrap_or(Value::from(())) } else { found })
        }
        "keys" => no_arguments(args, || Value::from(map.try_iter().map_or(Vec::new(), Iterator::collect::<Vec<_>>))),
        "values" | "items" => {
            let () = from_args(args)?;
            let mut all = Vec::new();
            for key in map.try_iter()? {
                let value = map.get_item(&key)?;
                all.push(if name == "values" { value } else { Value::from(vec![key, value]) });
            }
            Ok(Value::from(all))
        }
        _ => Err(unknown_method(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}\
        {{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + \
        message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}\
        {{ '<|im_start|>assistant\n' }}{% endif %}";

    fn render(source: &str, messages: &[Message]) -> Result<String> {
        ChatTemplate::new(source, "<s>", "</s>")?.render(messages, true)
    }

    #[test]
    fn chatml() {
        assert_eq!(
            render(CHATML, &[Message::new("user", "Hi <b>&</b>")]).unwrap(),
            "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHi <b>&</b><|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(
            render(CHATML, &[Message::new("system", "S"), Message::new("user", "U")]).unwrap(),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn blocks_are_trimmed_as_in_jinja() {
        let source = "{{ bos_token }}\n  {% for m in messages %}\n{{ m.content.strip() }}\n  {% endfor %}\nend";
        let messages = [Message::new("user", " a "), Message::new("user", "b")];
        assert_eq!(render(source, &messages).unwrap(), "<s>\na\nb\nend");
    }

    #[test]
    fn python_methods() {
        let cases = [
            ("{{ 'a-b-c'.split('-')[1] }}", "b"),
            ("{{ 'x</think>y'.split('</think>')[-1].lstrip('\\n') }}", "y"),
            ("{{ '  a '.strip() ~ 'b'.upper() }}", "aB"),
            ("{{ 'abc'.startswith('ab') and 'abc'.endswith(['x', 'c']) }}", "True"),
            ("{{ none }} {{ 1 == 2 }}", "None False"),
            ("{{ 'aXbX'.replace('X', '-') }}", "a-b-"),
            ("{{ {'a': 1}.get('b', 2) }}", "2"),
            ("{% for k, v in {'a': 1}.items() %}{{ k }}={{ v }}{% endfor %}", "a=1"),
            ("{{ {'a': [1, 'x<y']} | tojson }}", "{\"a\": [1, \"x<y\"]}"),
            ("{% if tools is none %}no tools{% endif %}", "no tools"),
            ("{% for i in range(5) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ];
        for (source, expected) in cases {
            let text = render(source, &[]).unwrap();
            assert_eq!(text, expected, "{source}");
        }
    }

    #[test]
    fn what_a_template_may_not_do() {
        let cases = [
            "{{ raise_exception('roles must alternate') }}",
            "{{ strftime_now('%d %b %Y') }}",
            "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
            "{% if %}",
            "{{ 'a'.nonsense() }}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{% include 'other' %}",
        ];
        for source in cases {
            let error = render(source, &[]).unwrap_err();
            assert_eq!(error.code, "chat-template", "{source}");
        }
        let refused = render("{{ raise_exception('roles must alternate') }}", &[]).unwrap_err();
        assert!(refused.headline.contains("roles must alternate"), "{refused}");
    }
}
