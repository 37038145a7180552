use std::collections::BTreeMap;

use proptest::prelude::*;

use super::text::{escape_help, escape_label, number};
use super::*;
use crate::log::phases::Phase;

/// A reader of the format that knows nothing of the writer: `(name, labels, value)` of each sample, with HELP and TYPE
/// of its family.
#[derive(Debug, Default)]
struct Parsed {
    kinds: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let (mut closed, mut current) = (Vec::new(), String::new());
    for line in text.strip_suffix('\n').unwrap().split('\n') {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            closed.push(std::mem::replace(&mut current, name.to_owned()));
            assert!(!closed.contains(&current), "{current} comes in two places");
            parsed.helps.insert(name.to_owned(), help.to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current);
            parsed.kinds.insert(name.to_owned(), kind.to_owned());
        } else {
            let (name, labels, value) = sample(line);
            assert_eq!(name, current);
            parsed.samples.push((name, labels, value));
        }
    }
    parsed
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        let mut letters = inside.char_indices();
        let mut key = String::new();
        rest = loop {
            match letters.next().unwrap() {
                (_, '=') => {
                    assert_eq!(letters.next().unwrap().1, '"');
                    assert!(labels.insert(std::mem::take(&mut key), quoted(&mut letters)).is_none());
                }
                (_, ',') => {}
                (at, '}') => break &inside[at + 1..],
                (_, letter) => key.push(letter),
            }
        };
    }
    (name.to_owned(), labels, rest.strip_prefix(' ').unwrap().parse().unwrap())
}

fn quoted(letters: &mut std::str::CharIndices<'_>) -> String {
    let mut value = String::new();
    loop {
        match letters.next().unwrap().1 {
            '"' => return value,
            '\\' => value.push(match letters.next().unwrap().1 {
                'n' => '\n',
                letter @ ('\\' | '"') => letter,
                other => panic!("\\{other}"),
            }),
            letter => value.push(letter),
        }
    }
}

fn readings() -> Readings {
    let rank = |ms: f64, resident, straggler_score| RankReadings {
        phases: PhaseTimes([ms, 2.0 * ms, 3.0 * ms, 0.5, 4.0, 0.0, 1.0]),
        memory: Memory { resident, peak: 2 * resident },
        straggler_score,
    };
    Readings {
        run: "runs/demo".into(),
        step: 1200,
        loss: 0.125,
        learning_rate: 1e-3,
        gradient_norm: 0.75,
        cells_per_second: 812.5,
        mfu: Some(0.41),
        checkpoint_step: Some(1000),
        skipped_steps: 2,
        ranks: vec![rank(10.0, 1 << 30, 1.0), rank(20.0, 3 << 30, 0.5)],
    }
}

#[test]
fn the_text_is_the_expected_one() {
    let expected = include_str!("expected.prom").replace("VERSION", env!("CARGO_PKG_VERSION"));
    assert_eq!(render(&readings()), expected);
}

#[test]
fn names_kinds_and_samples_keep_the_rules_of_the_format() {
    let parsed = parse(&render(&readings()));
    assert_eq!(parsed.samples.len(), 9 + 2 * (Phase::COUNT + 3));
    for (name, kind) in &parsed.kinds {
        let letters = |text: &str| text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
        assert!(name.starts_with("syncyte_") && letters(name), "{name}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert!(parsed.helps[name].ends_with('.'), "{name}");
    }
    let mut seen = std::collections::HashSet::new();
    assert!(parsed.samples.iter().all(|(name, labels, _)| seen.insert((name, labels))), "a sample comes twice");
}

#[test]
fn what_is_not_known_is_left_out() {
    let text = render(&Readings { mfu: None, checkpoint_step: None, ranks: Vec::new(), ..readings() });
    for absent in ["mfu", "checkpoint", "rank", "memory"] {
        let lines = text.lines().filter(|line| line.contains(&format!("syncyte_{absent}")) || line.contains("{rank="));
        assert_eq!(lines.count(), 0, "{absent}: {text}");
    }
    assert!(text.contains("syncyte_loss 0.125\n"));
}

#[test]
fn letters_that_would_end_a_value_are_escaped() {
    assert_eq!(escape_label("C:\\run \"7\"\n"), "C:\\\\run \\\"7\\\"\\n");
    assert_eq!(escape_help("a \"b\"\n\\c"), "a \"b\"\\n\\\\c");
}

#[test]
fn numbers_are_written_as_go_reads_them() {
    let found = [f64::NAN, f64::INFINITY, -f64::INFINITY, 1.0, -0.5, 1e-7, 1e300].map(number);
    assert_eq!(found, ["NaN", "+Inf", "-Inf", "1.0", "-0.5", "1e-7", "1e300"]);
}

proptest! {
    #[test]
    fn any_label_and_any_number_are_read_back(
        run in prop_oneof![any::<String>(), "[\\\\\"\nn{},= a]{0,12}"], loss: f64, norm in prop::num::f64::ANY,
    ) {
        let parsed = parse(&render(&Readings { run: run.clone(), loss, gradient_norm: norm, ..readings() }));
        let value = |name: &str| parsed.samples.iter().find(|sample| sample.0 == name).unwrap().2;
        prop_assert_eq!(&parsed.samples[0].1["run"], &run);
        prop_assert!(value("syncyte_loss") == loss || loss.is_nan() && value("syncyte_loss").is_nan());
        prop_assert!(value("syncyte_gradient_norm") == norm || norm.is_nan());
        prop_assert_eq!(value("syncyte_learning_rate"), 1e-3);
    }

    #[test]
    fn an_escaped_label_holds_no_bare_quote_and_no_end_of_line(value in prop_oneof![any::<String>(), "[\\\\\"\n]*"]) {
        let escaped = escape_label(&value);
        prop_assert!(!escaped.contains('\n'));
        prop_assert!(!escaped.replace("\\\\", "").replace("\\\"", "").contains('"'));
        let line = format!("{escaped}\"");
        prop_assert_eq!(quoted(&mut line.char_indices()), value);
    }
}
