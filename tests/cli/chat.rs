//! Conversations, and how generation ends.

use super::{Place, path, whale};
use std::fs;
use std::io::{Read, Write};
use std::process::{Output, Stdio};

/// The embedded model with a chat template.
fn talker(place: &Place) {
    let model = place.path("model");
    fs::create_dir(&model).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(whale().join(file), model.join(file)).unwrap();
    }
    let config = fs::read_to_string(whale().join("tokenizer_config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["chat_template"] = "{% for m in messages %}{{ '(' ~ m.role ~ ') ' ~ m.content ~ '. ' }}{% endfor %}\
        {% if add_generation_prompt %}{{ '(assistant) The' }}{% endif %}"
        .into();
    fs::write(model.join("tokenizer_config.json"), config.to_string()).unwrap();
    place.run(&["compile", path(&model), "-o", "talk.actc"]).ok();
}

fn feed(place: &Place, args: &[&str], input: &[u8]) -> Output {
    let mut child =
        place.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn turns_follow_each_other_and_what_was_read_stays_read() {
    let place = Place::new();
    talker(&place);
    let chat = ["generate", "talk.actc", "--chat", "-n", "6", "--timings"];
    let output = feed(&place, &chat, b"What is the Union?\n\nAnd the whale?\r\nYes");
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{told}");
    let answers: Vec<&str> = said.lines().collect();
    assert_eq!(answers.len(), 3, "{said}");
    // Each answer is what the whole conversation, read at once, is followed by.
    let mut conversation = String::new();
    for (turn, answer) in ["What is the Union?", "And the whale?", "Yes"].iter().zip(&answers) {
        conversation.push_str(&format!("(user) {turn}. (assistant) The"));
        let once = place.run(&["generate", "talk.actc", "--raw", "-p", &conversation, "-n", "6"]).ok();
        assert_eq!(once, format!("{answer}\n"), "{conversation}");
        conversation.truncate(conversation.len() - " The".len());
        conversation.push_str(&format!(" {answer}. "));
    }
    let prompts: Vec<usize> =
        told.lines().filter_map(|l| l.strip_prefix("prompt ")?.split(' ').next()?.parse().ok()).collect();
    let whole = actc_tokens(&place, &conversation);
    assert_eq!(prompts.len(), 3, "{told}");
    assert!(prompts.iter().sum::<usize>() <= whole + 6, "{prompts:?} of {whole}: turns are read once");
    // With a prompt there is one turn; `-` reads it from standard input.
    let one = place.run(&["generate", "talk.actc", "--chat", "-p", "What is the Union?", "-n", "6"]).ok();
    assert_eq!(one, format!("{}\n", answers[0]));
    let piped = feed(&place, &["generate", "talk.actc", "-", "-n", "6"], b"What is the Union?");
    assert_eq!(text(&piped.stdout), one);
}

/// Number of tokens of `text`.
fn actc_tokens(place: &Place, text: &str) -> usize {
    let run = place.run(&["generate", "talk.actc", "--raw", "-p", text, "-n", "1", "--timings"]);
    run.ok();
    let said = run.stderr();
    said.lines().find_map(|l| l.strip_prefix("prompt ")?.split(' ').next()?.parse().ok()).expect("timings")
}

#[test]
fn wrong_prompts_are_refused() {
    let place = Place::new();
    place.compile("a.actc", &[]).ok();
    place.run(&["generate", "a.actc"]).fails(2, "prompt-missing");
    place.run(&["generate", "a.actc", "--chat", "-p", "a"]).fails(2, "no-chat-template");
    place.run(&["generate", "a.actc", "--chat"]).fails(2, "no-chat-template");
    place.run(&["generate", "a.actc", "-p", "a", "--temp=-1"]).fails(2, "sampling");
    place.run(&["generate", "a.actc", "-p", "a", "--top-p", "0"]).fails(2, "sampling");
    place.run(&["generate", "a.actc", "-p", "a b c d e f g h", "-c", "3"]).fails(2, "context-full");
    let output = feed(&place, &["generate", "a.actc", "-"], b"ab\xff");
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("error[prompt-utf8]"));
    assert_eq!(place.run(&["generate", "a.actc", "-p", "a", "-f", "b"]).output.status.code(), Some(2));
    assert_eq!(place.run(&["generate", "a.actc", "-p", "a", "--chat", "--raw"]).output.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_text_cleanly() {
    let place = Place::new();
    place.compile("a.actc", &[]).ok();
    let mut child = place
        .command(&["generate", "a.actc", "-p", "The", "-n", "4000", "-c", "4096"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(text(&rest).ends_with('\n'), "the last line is whole");
    let said = text(&output.stderr);
    assert!(said.lines().all(|l| l.starts_with("the model was made for")), "{said}");
}
