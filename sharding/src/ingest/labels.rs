//! The parser of perturbation labels: every spelling of a condition becomes one canonical set of targets.
//!
//! Guarantee: `parse(parse(x).name) == parse(x)`, so a canonical name stands for itself. Labels are joined by `+`;
//! `_` separates too, but only where every part is a known symbol or a control word, since symbols may contain it, and
//! only in members of up to 64 parts. Reading takes time in proportion to a small power of the length, however a label
//! is made up.
//! Members that are control words are dropped; nothing left means control.

use std::collections::HashSet;

use crate::labels::Perturbation;

/// Parts around `_` up to which a member may be several symbols.
const MOST_PARTS: usize = 64;

/// Words for an unperturbed cell, in the compact spelling of [`compact`].
const CONTROL_WORDS: &[&str] = &[
    "control",
    "controls",
    "ctrl",
    "ctl",
    "nt",
    "ntc",
    "nontarget",
    "nontargeting",
    "nontargetingcontrol",
    "neg",
    "negctrl",
    "negcontrol",
    "negativecontrol",
    "unperturbed",
    "untreated",
    "scramble",
    "scrambled",
    "safetargeting",
    "vehicle",
    "dmso",
    "mock",
];

/// Reads labels, knowing the symbols of a data set.
#[derive(Clone, Debug, Default)]
pub struct LabelParser {
    controls: HashSet<String>,
    measured: HashSet<String>,
    singles: HashSet<String>,
    strip_guide_suffix: bool,
}

impl LabelParser {
    /// A parser that also takes `controls` for control words, exactly as spelled but for upper and lower case.
    pub fn new(controls: &[String], strip_guide_suffix: bool) -> Self {
        let controls = controls.iter().map(|c| c.trim().to_lowercase()).collect();
        Self { controls, strip_guide_suffix, ..Self::default() }
    }

    /// Makes measured genes known symbols.
    #[must_use]
    pub fn with_genes<'a>(mut self, genes: impl IntoIterator<Item = &'a String>) -> Self {
        self.measured.extend(genes.into_iter().cloned());
        self
    }

    /// Makes every target that occurs in `labels` by itself or between `+` signs a known symbol.
    #[must_use]
    pub fn with_labels<'a>(mut self, labels: impl IntoIterator<Item = &'a str>) -> Self {
        for token in labels.into_iter().flat_map(|label| label.split('+')) {
            let target = self.strip(token.trim());
            if !target.is_empty() && !target.contains('_') && !self.is_control(target) {
                let target = target.to_owned();
                self.singles.insert(target);
            }
        }
        self
    }

    /// The condition that a label stands for.
    pub fn parse(&self, label: &str) -> Perturbation {
        if self.is_control(label.trim()) {
            return Perturbation::control();
        }
        let mut targets = Vec::new();
        for token in label.split('+') {
            self.add(token.trim(), &mut targets);
        }
        Perturbation::of(targets)
    }

    fn add(&self, token: &str, targets: &mut Vec<String>) {
        let target = self.strip(token);
        if target.is_empty() || self.is_control(target) {
            return;
        }
        let several = target.matches('_').count() < MOST_PARTS;
        match several.then(|| self.split(target, &mut HashSet::new())).flatten() {
            Some(parts) => targets.extend(parts.into_iter().filter(|p| !self.is_control(p)).map(Into::into)),
            None => targets.push(target.into()),
        }
    }

    /// Parts of a token around `_`, if all of them are known; longer symbols are tried first. A remainder found to have
    /// no such parts is not tried again: control words hold each other, and there are ever so many ways to cut them.
    fn split<'a>(&self, token: &'a str, hopeless: &mut HashSet<&'a str>) -> Option<Vec<&'a str>> {
        if self.is_known(token) {
            return Some(vec![token]);
        }
        if hopeless.contains(token) {
            return None;
        }
        let found = token.rmatch_indices('_').find_map(|(at, _)| {
            let (head, tail) = (&token[..at], self.strip(&token[at + 1..]));
            if !self.is_known(head) {
                return None;
            }
            let mut parts = vec![head];
            parts.extend(self.split(tail, hopeless)?);
            Some(parts)
        });
        if found.is_none() {
            hopeless.insert(token);
        }
        found
    }

    fn is_known(&self, symbol: &str) -> bool {
        self.measured.contains(symbol) || self.singles.contains(symbol) || self.is_control(symbol)
    }

    /// Whether a member is a control word. A measured gene of that name is a gene, unless the user says otherwise.
    pub fn is_control(&self, member: &str) -> bool {
        if self.controls.contains(&member.to_lowercase()) {
            return true;
        }
        if self.measured.contains(member) {
            return false;
        }
        let word = compact(member);
        let bare = word.trim_end_matches(|c: char| c.is_ascii_digit());
        // Numbered controls (`NegCtrl0`, `non-targeting_00023`), but not short words: NT5 could be a gene.
        CONTROL_WORDS.contains(&word.as_str()) || (bare.len() > 3 && CONTROL_WORDS.contains(&bare))
    }

    /// Cuts guide suffixes (`_1`, `g2`, `_sg3`) while there are any, if the parser was told to.
    fn strip<'a>(&self, token: &'a str) -> &'a str {
        let mut target = token;
        while self.strip_guide_suffix && !self.measured.contains(target) {
            let Some(shorter) = without_suffix(target) else { break };
            target = shorter.trim_end();
        }
        target
    }
}

fn without_suffix(token: &str) -> Option<&str> {
    let bare = token.trim_end_matches(|c: char| c.is_ascii_digit());
    if bare.len() == token.len() {
        return None;
    }
    let stem = ["_sg", "-sg", "_g", "-g", "sg", "g", "_", "."].into_iter().find_map(|mark| bare.strip_suffix(mark))?;
    (!stem.is_empty()).then_some(stem)
}

/// Lower case without the marks that spellings differ by.
fn compact(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, ' ' | '-' | '_' | '.')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parser(strip: bool) -> LabelParser {
        LabelParser::new(&["AAVS1".into()], strip).with_genes(&["NKX2_1".into(), "STAT2".into()]).with_labels([
            "KLF1",
            "MAP2K6",
            "KLF1+MAP2K6",
            "AHR_KLF1",
            "ctrl",
            "ZAP70_1",
        ])
    }

    #[test]
    fn every_spelling_of_a_condition_is_one_condition() {
        let table = [
            ("KLF1", "KLF1"),
            ("KLF1+ctrl", "KLF1"),
            ("ctrl+KLF1", "KLF1"),
            ("KLF1+control", "KLF1"),
            ("KLF1_ctrl", "KLF1"),
            ("KLF1_NegCtrl0", "KLF1"),
            (" KLF1 + MAP2K6 ", "KLF1+MAP2K6"),
            ("MAP2K6+KLF1", "KLF1+MAP2K6"),
            ("MAP2K6_KLF1", "KLF1+MAP2K6"),
            ("KLF1+KLF1", "KLF1"),
            ("AHR_KLF1", "AHR_KLF1"),
            ("NKX2_1", "NKX2_1"),
            ("NKX2_1_KLF1", "KLF1+NKX2_1"),
            ("ZAP70_1", "ZAP70_1"),
            ("STAT2g2", "STAT2g2"),
            ("aavs1", "control"),
            ("control", "control"),
            ("CTRL+ctrl", "control"),
            ("non-targeting", "control"),
            ("Non_Targeting_0012", "control"),
            ("NT", "control"),
            ("NTC", "control"),
            ("NT5", "NT5"),
        ];
        for (label, want) in table {
            assert_eq!(parser(false).parse(label).name, want, "{label}");
        }
    }

    #[test]
    fn guide_suffixes_are_cut_only_when_asked() {
        let table = [
            ("ZAP70_1", "ZAP70"),
            ("STAT2g2", "STAT2"),
            ("NTg4", "control"),
            ("STAT2_sg3+KLF1_2", "KLF1+STAT2"),
            ("NKX2_1", "NKX2_1"),
            ("STAT2", "STAT2"),
            ("MAP2K6", "MAP2K6"),
            ("KLF1_MAP2K6_2", "KLF1+MAP2K6"),
        ];
        for (label, want) in table {
            assert_eq!(parser(true).parse(label).name, want, "{label}");
        }
    }

    #[test]
    fn a_label_that_can_be_cut_in_very_many_ways_is_read_at_once() {
        // `neg`, `ctrl` and `neg_ctrl` are control words each.
        let label = format!("{}KLF9", "neg_ctrl_".repeat(30));
        assert_eq!(parser(false).parse(&label).name, label);
        assert_eq!(parser(false).parse(&label.replace("KLF9", "KLF1")).name, "KLF1");
        let long = "A_".repeat(100_000);
        assert_eq!(parser(true).parse(&long).name, long);
    }

    #[test]
    fn a_measured_gene_is_no_control_word_unless_the_user_says_so() {
        let genes = vec!["NEG".to_owned()];
        assert_eq!(LabelParser::new(&[], false).with_genes(&genes).parse("NEG").name, "NEG");
        assert_eq!(LabelParser::new(&["neg".into()], false).with_genes(&genes).parse("NEG").name, "control");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_canonical_name_parses_to_itself(
            labels in proptest::collection::vec("(KLF1|AHR|NKX2_1|STAT2g2|ctrl|NT|A|B_1|g|_|[A-C0-2_+. g-]{0,8})([+_](KLF1|A|B|ctrl|1))?", 1..6),
            strip in any::<bool>(),
        ) {
            let parser = parser(strip).with_labels(labels.iter().map(String::as_str));
            for label in &labels {
                let once = parser.parse(label);
                prop_assert_eq!(parser.parse(&once.name), once, "{}", label);
            }
        }
    }
}
