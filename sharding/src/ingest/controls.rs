//! Words for an unperturbed cell.
//!
//! Guarantee: a word counts whatever guide number, prefix or suffix it bears (`NO-TARGET_g1`, `sgNT-2`,
//! `3x_neg_ctrl_pMJ144-1`), in upper or lower case; a measured gene is no control unless the user says so. Words that the
//! user gives replace the built-in ones, all but `control` itself: a store calls its controls so, and nothing else can be.

use std::collections::HashSet;

use super::guides;
use crate::labels::CONTROL;

/// Built-in words in the compact spelling of [`compact`], by the kind of control that they name.
const BUILT_IN: [(&str, &[&str]); 5] = [
    ("control", &["control", "controls", "ctrl", "ctl", "neg", "negctrl", "negcontrol", "negativecontrol"]),
    (
        "non-targeting",
        &[
            "nt",
            "ntc",
            "nontarget",
            "nontargeting",
            "nontargetingcontrol",
            "nontargetingcontrolguideforhuman",
            "nontargetingcontrolguideformouse",
            "notarget",
            "notargeting",
            "scramble",
            "scrambled",
        ],
    ),
    ("safe-targeting", &["safetargeting", "safetarget"]),
    ("untreated", &["unperturbed", "untreated"]),
    ("vehicle", &["vehicle", "dmso", "mock"]),
];
/// Kind of a word that the user gave.
pub(super) const AS_GIVEN: &str = "as given";
/// A longer member is no control word: none is, with all its marks.
const LONGEST: usize = 96;

/// The words in force.
#[derive(Clone, Debug, Default)]
pub(super) struct ControlWords {
    /// What the user gave, in lower case; empty for the built-in words.
    own: HashSet<String>,
}

impl ControlWords {
    /// The user's words, or the built-in ones where there is none.
    pub(super) fn new(own: &[String]) -> Self {
        Self { own: own.iter().map(|word| word.trim().to_lowercase()).collect() }
    }

    /// The kind of control that a member of a label names, if it names one.
    pub(super) fn kind(&self, member: &str, is_gene: impl Fn(&str) -> bool) -> Option<&'static str> {
        let own = |form: &str| self.own.contains(&form.to_lowercase()).then_some(AS_GIVEN);
        if let Some(kind) = own(member) {
            return Some(kind);
        }
        if member == CONTROL {
            return Some("control");
        }
        if member.len() > LONGEST {
            return None;
        }
        let mut form = Some(member);
        while let Some(text) = form {
            let unnumbered = text.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['_', '-', '.', ' ']);
            if is_gene(text) || is_gene(unnumbered) {
                return None;
            }
            let found = if self.own.is_empty() { built_in(text) } else { own(text) };
            if found.is_some() {
                return found;
            }
            form = guides::cut(text).map(|(stem, _)| stem).or_else(|| without_marks(text));
        }
        None
    }
}

/// Cuts what only controls bear: a multiplicity (`3x_`), a small or capital `SG`.
fn without_marks(text: &str) -> Option<&str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let many = text[digits..].strip_prefix(['x', 'X']).filter(|_| digits > 0);
    let guide = || text.get(..2).filter(|head| head.eq_ignore_ascii_case("sg")).map(|_| &text[2..]);
    let rest = many.or_else(guide)?.trim_start_matches(['_', '-', ' ']);
    (!rest.is_empty()).then_some(rest)
}

fn built_in(text: &str) -> Option<&'static str> {
    let word = compact(text);
    let bare = word.trim_end_matches(|c: char| c.is_ascii_digit());
    // Numbered controls (`NegCtrl0`, `non-targeting00023`), but not short words: NT5 could be a gene.
    let numbered = bare.len() > 3;
    let names = |words: &&[&str]| words.contains(&word.as_str()) || (numbered && words.contains(&bare));
    BUILT_IN.iter().find(|(_, words)| names(words)).map(|&(kind, _)| kind)
}

/// Lower case without the marks that spellings differ by.
fn compact(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, ' ' | '-' | '_' | '.')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_words_are_known_under_numbers_prefixes_and_suffixes() {
        let words = ControlWords::default();
        let kind = |label: &str| words.kind(label, |gene| ["NEG", "NT5", "CTRL"].contains(&gene));
        for (label, want) in [
            ("NO-TARGET_g1", "non-targeting"),
            ("safe-targeting_2", "safe-targeting"),
            ("3x_neg_ctrl_pMJ144-1", "control"),
            ("sgNT-1", "non-targeting"),
            ("SGNT", "non-targeting"),
            ("sgCtrl_sg2", "control"),
            ("NT_5", "non-targeting"),
            ("NTg4", "non-targeting"),
            ("Non_Targeting_0012", "non-targeting"),
            ("NonTargetingControlGuideForHuman_0007", "non-targeting"),
            ("NegCtrl0", "control"),
            ("ctrl.2", "control"),
            ("DMSO", "vehicle"),
        ] {
            assert_eq!(kind(label), Some(want), "{label}");
        }
        for label in ["NEG", "NEG_1", "CTRL-2", "NT5", "GENE1", "ctrlA", "", "sg", "x", "MOCKINGBIRD", "CTL1", "µ"] {
            assert_eq!(kind(label), None, "{label}");
        }
    }

    #[test]
    fn words_that_the_user_gives_replace_the_built_in_ones() {
        let words = ControlWords::new(&["AAVS1".into(), "A_2".into()]);
        let kind = |label: &str| words.kind(label, |gene| ["AAVS1", "NOC2L-1"].contains(&gene)).is_some();
        assert!(kind("aavs1") && kind("AAVS1") && kind("A_2") && kind("a_2_sg1") && kind("sgaavs1_g3"));
        assert!(kind("control"), "the name that a store gives its controls");
        assert!(!kind("Control") && !kind("NT") && !kind("A_3") && !kind("AAVS12"));
    }
}
