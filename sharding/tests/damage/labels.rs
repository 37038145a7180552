//! Labels of perturbations of every shape.

use syncyte_sharding::ingest::LabelParser;
use syncyte_sharding::labels::Perturbation;

use crate::campaign;
use crate::mutation::one_of;

const WORDS: [&str; 22] = [
    "KLF1",
    "MAP2K6",
    "NKX2",
    "1",
    "ctrl",
    "neg",
    "non",
    "targeting",
    "NT",
    "NTC",
    "control",
    "g2",
    "sg3",
    "_g",
    ".",
    " ",
    "-",
    "µ",
    "İ",
    "ß",
    "\u{0}",
    "A",
];

#[test]
fn any_label_is_read_in_time_and_its_canonical_name_stands_for_itself() {
    let genes: Vec<String> = ["NKX2_1", "A_A", "A", "KLF1", "neg"].map(String::from).to_vec();
    campaign::run("labels::any_label_is_read_in_time_and_its_canonical_name_stands_for_itself", |random| {
        let label = |random: &mut syncyte_sharding::philox::Philox| {
            // Mostly short ones, and some of thousands of parts.
            let longest = *one_of(random, &[4, 12, 60, 3000]);
            let words = *one_of(random, &[2, 5, WORDS.len()]);
            let first = random.below((WORDS.len() - words + 1) as u64) as usize;
            let marks: [&str; 5] = *one_of(random, &[["_"; 5], ["_", "_", "+", "", "_"]]);
            let mut text = String::new();
            for _ in 0..=random.below(longest) {
                text += *one_of(random, &WORDS[first..first + words]);
                text += *one_of(random, &marks);
            }
            // An unknown symbol at the end undoes every way to cut what comes before it.
            if random.below(2) == 0 {
                text += "QX7";
            }
            text
        };
        let labels: Vec<String> = (0..=random.below(4)).map(|_| label(random)).collect();
        let controls = [label(random).chars().take(6).collect()];
        let parser = LabelParser::new(&controls, random.below(2) == 0).with_genes(&genes[..random.below(6) as usize]);
        let parser = parser.with_labels(labels.iter().map(String::as_str));
        for label in &labels {
            let once = parser.parse(label);
            assert_eq!(once.is_control(), once == Perturbation::control());
            assert!(once.targets.is_sorted());
            assert_eq!(parser.parse(&once.name), once, "{label:?}");
        }
    });
}
