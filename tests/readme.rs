//! Every command line of the README is one that the program takes.

use std::fs;

use syncyte_tests::{run, skip, turn, workspace_root};

/// Command lines of the `sh` blocks of a Markdown text, with continued lines joined and comments cut off.
fn command_lines(markdown: &str) -> Vec<String> {
    let (mut lines, mut in_block, mut line) = (Vec::new(), false, String::new());
    for text in markdown.lines() {
        if text.trim_start().starts_with("```") {
            in_block = !in_block && text.trim() == "```sh";
            continue;
        }
        if !in_block {
            continue;
        }
        let text = text.split(" #").next().unwrap_or_default().trim();
        match text.strip_suffix('\\') {
            Some(head) => line.push_str(head),
            None => lines.push(std::mem::take(&mut line) + text),
        }
    }
    lines
}

/// The parts of a line that are commands of ours, as words: pipes and `&&` end a command, `--` starts another.
fn commands(line: &str) -> Vec<Vec<String>> {
    let parts = line.split(" | ").flat_map(|part| part.split(" && ")).flat_map(|part| part.split(" -- "));
    let words = parts.map(|part| words(part.split(" > ").next().unwrap_or_default()));
    words.filter(|words| words.first().is_some_and(|program| program.ends_with("syncyte"))).collect()
}

/// Words of a command, where quotes hold blanks together.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for letter in text.trim().chars() {
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_line_of_the_readme_is_accepted() {
    let _turn = turn("every_command_line_of_the_readme_is_accepted");
    let text = fs::read_to_string(workspace_root().join("README.md")).unwrap_or_default();
    let lines = command_lines(&text);
    if lines.is_empty() {
        skip("command lines of the README: it has no sh block yet");
        return;
    }
    for line in lines {
        for command in commands(&line) {
            // Options are checked from left to right, so help is given only when all before it are known.
            let outcome = run(command[1..].iter().map(String::as_str).chain(["--help"]));
            assert_eq!(outcome.code, Some(0), "`{line}`: {}", outcome.stderr);
        }
    }
}

#[test]
fn a_block_of_commands_is_read_as_a_shell_would() {
    let text = "text\n```sh\nsyncyte a \\\n  --set 'k = v' # why\nmake | syncyte launch -n 2 -- syncyte b\n```\n```toml\nsyncyte c\n```\n";
    let found: Vec<_> = command_lines(text).iter().flat_map(|line| commands(line)).collect();
    assert_eq!(found, [words("syncyte a --set 'k = v'"), words("syncyte launch -n 2"), words("syncyte b")]);
    assert_eq!(found[0][3], "k = v");
}

#[test]
fn an_option_that_does_not_exist_is_found_even_before_help() {
    let _turn = turn("an_option_that_does_not_exist_is_found_even_before_help");
    assert_eq!(run(["pretrain", "--sett", "a=b", "--help"]).code, Some(2));
    assert_eq!(run(["store", "split", "s.zarr", "--scheme", "none", "--help"]).code, Some(2));
    assert_eq!(run(["store", "split", "s.zarr", "--scheme", "cells", "--help"]).code, Some(0));
}
