//! The parser of perturbation labels: every spelling of a condition becomes one canonical set of targets.
//!
//! Guarantee: `parse(parse(x).name) == parse(x)`, so a canonical name stands for itself. Labels are joined by `+`;
//! `|`, `,`, `;` and `_` separate too, but only where every part is a known symbol or a control word, since names may
//! contain them, and `_` only in members of up to 64 parts. Reading takes time in proportion to a small power of the
//! length, however a label is made up.
//! Members that are control words are dropped; nothing left means control.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::controls::ControlWords;
use super::guides::{self, Strength};
use crate::labels::Perturbation;

/// Parts around `_` up to which a member may be several symbols.
const MOST_PARTS: usize = 64;
/// Marks that may join symbols.
const SEPARATORS: [char; 3] = ['|', ',', ';'];

/// Reads labels, knowing the symbols of a data set.
#[derive(Clone, Debug, Default)]
pub struct LabelParser {
    controls: ControlWords,
    measured: HashSet<String>,
    strip_guide_suffix: bool,
    /// Every member of the labels seen.
    members: BTreeSet<String>,
    /// What several of them have in common but for a mark that gene symbols have too.
    shared_stems: HashSet<String>,
    singles: HashSet<String>,
}

impl LabelParser {
    /// A parser for which `controls` are the control words, exactly as spelled but for upper and lower case and marks of
    /// guides; the built-in words where there is none.
    pub fn new(controls: &[String], strip_guide_suffix: bool) -> Self {
        Self { controls: ControlWords::new(controls), strip_guide_suffix, ..Self::default() }
    }

    /// Makes measured genes known symbols.
    #[must_use]
    pub fn with_genes<'a>(mut self, genes: impl IntoIterator<Item = &'a String>) -> Self {
        self.measured.extend(genes.into_iter().cloned());
        self.learn();
        self
    }

    /// Makes every target that occurs in `labels` by itself or between `+` signs a known symbol.
    #[must_use]
    pub fn with_labels<'a>(mut self, labels: impl IntoIterator<Item = &'a str>) -> Self {
        self.members.extend(labels.into_iter().flat_map(members).map(Into::into));
        self.learn();
        self
    }

    /// Learns stems and symbols from the members seen.
    fn learn(&mut self) {
        let mut stems: HashMap<&str, usize> = HashMap::new();
        let marked: BTreeSet<&str> = self.members.iter().map(|member| self.without_sure_marks(member)).collect();
        for text in marked {
            if let Some((stem, Strength::Doubtful)) = self.cut(text) {
                *stems.entry(stem).or_default() += 1;
            }
        }
        self.shared_stems = stems.into_iter().filter(|&(_, labels)| labels > 1).map(|(stem, _)| stem.into()).collect();
        let is_single = |target: &&str| {
            !target.is_empty() && !target.contains('_') && !has_separator(target) && !self.is_control(target)
        };
        self.singles = self.members.iter().map(|member| self.strip(member)).filter(is_single).map(Into::into).collect();
    }

    /// The condition that a label stands for.
    pub fn parse(&self, label: &str) -> Perturbation {
        if self.is_control(label.trim()) {
            return Perturbation::control();
        }
        let mut targets = Vec::new();
        for member in members(label) {
            self.add(member, &mut targets);
        }
        Perturbation::of(targets)
    }

    fn add(&self, member: &str, targets: &mut Vec<String>) {
        if self.is_control(member) {
            return;
        }
        if has_separator(member) && !self.measured.contains(member) {
            match self.combination(member) {
                Some(parts) => targets.extend(parts.into_iter().map(Into::into)),
                None => targets.push(member.into()),
            }
            return;
        }
        match self.symbols(member) {
            Some(parts) => targets.extend(parts.into_iter().map(Into::into)),
            None => targets.push(self.strip(member).into()),
        }
    }

    /// Symbols of a member with separators, if all its parts are known.
    fn combination<'a>(&self, member: &'a str) -> Option<Vec<&'a str>> {
        let parts = member.split(SEPARATORS).map(str::trim).filter(|part| !part.is_empty());
        let symbols = parts.map(|part| self.symbols(part)).collect::<Option<Vec<_>>>()?;
        (!symbols.is_empty()).then(|| symbols.into_iter().flatten().collect())
    }

    /// Whether a label looks like a combination, but not all its parts are known, so that it stands for itself.
    pub(super) fn is_opaque(&self, label: &str) -> bool {
        let opaque =
            |member: &str| has_separator(member) && !self.is_control(member) && self.combination(member).is_none();
        !self.is_control(label.trim()) && members(label).any(opaque)
    }

    /// Whether a label is made up of measured genes, and control words beside them.
    pub(super) fn names_genes(&self, label: &str) -> bool {
        let targets = self.parse(label).targets;
        !targets.is_empty() && targets.iter().all(|target| self.measured.contains(target))
    }

    /// The known symbols in a member without separators; none where it is a control word.
    fn symbols<'a>(&self, member: &'a str) -> Option<Vec<&'a str>> {
        let target = self.strip(member);
        if target.is_empty() || self.is_control(target) {
            return Some(Vec::new());
        }
        let several = target.matches('_').count() < MOST_PARTS;
        let mut parts = several.then(|| self.split(target, &mut HashSet::new())).flatten()?;
        parts.retain(|part| !self.is_control(part));
        Some(parts)
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
        self.control_kind(member).is_some()
    }

    /// The kind of control that a member names, if it is a control word.
    pub(super) fn control_kind(&self, member: &str) -> Option<&'static str> {
        self.controls.kind(member, |symbol| self.measured.contains(symbol))
    }

    /// Members of a label that are measured genes, but control words too.
    pub(super) fn genes_like_controls<'a>(&self, label: &'a str) -> Vec<&'a str> {
        let like =
            |member: &&str| self.control_kind(member).is_none() && self.controls.kind(member, |_| false).is_some();
        members(label).filter(like).collect()
    }

    /// Kinds of control that a whole label names; none where it is no control.
    pub(super) fn control_kinds(&self, label: &str) -> BTreeSet<&'static str> {
        match self.control_kind(label.trim()) {
            Some(kind) => BTreeSet::from([kind]),
            None => members(label).filter_map(|member| self.control_kind(member)).collect(),
        }
    }

    /// Labels that look like guides, by what they have in common, where that is a measured gene or several have it.
    pub(super) fn guides<'a>(&self, labels: impl IntoIterator<Item = &'a str>) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
        let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for member in labels.into_iter().flat_map(members) {
            if !has_separator(member) && !self.is_control(member) {
                found.entry(self.without_marks(member)).or_default().insert(member);
            }
        }
        found.retain(|stem, members| {
            members.iter().any(|member| member != stem) && (members.len() > 1 || self.measured.contains(*stem))
        });
        found
    }

    /// Cuts marks of guides while there are any, if the parser was told to.
    fn strip<'a>(&self, member: &'a str) -> &'a str {
        if self.strip_guide_suffix { self.without_marks(member) } else { member }
    }

    fn without_marks<'a>(&self, member: &'a str) -> &'a str {
        let mut target = member;
        while let Some((stem, strength)) = self.cut(target) {
            let meant = match strength {
                Strength::Sure => true,
                Strength::Doubtful => self.shared_stems.contains(stem) || self.measured.contains(stem),
                Strength::Unlikely => self.measured.contains(stem),
            };
            if !meant {
                break;
            }
            target = stem;
        }
        target
    }

    fn without_sure_marks<'a>(&self, member: &'a str) -> &'a str {
        let mut target = member;
        while let Some((stem, Strength::Sure)) = self.cut(target) {
            target = stem;
        }
        target
    }

    /// As [`guides::cut`], but a measured gene is left as it is.
    fn cut<'a>(&self, target: &'a str) -> Option<(&'a str, Strength)> {
        if self.measured.contains(target) { None } else { guides::cut(target) }
    }
}

/// The members of a label, which `+` joins.
fn members(label: &str) -> impl Iterator<Item = &str> {
    label.split('+').map(str::trim)
}

fn has_separator(member: &str) -> bool {
    member.contains(SEPARATORS)
}
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parser(strip: bool) -> LabelParser {
        LabelParser::new(&[], strip).with_genes(&["NKX2_1".into(), "STAT2".into()]).with_labels([
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
            ("control", "control"),
            ("CTRL+ctrl", "control"),
            ("non-targeting", "control"),
            ("Non_Targeting_0012", "control"),
            ("NT", "control"),
            ("NTC", "control"),
            ("NT5", "NT5"),
            ("KLF1|MAP2K6", "KLF1+MAP2K6"),
            ("MAP2K6, KLF1", "KLF1+MAP2K6"),
            ("KLF1;STAT2|NKX2_1", "KLF1+NKX2_1+STAT2"),
            ("KLF1|ctrl", "KLF1"),
            ("ctrl;NT_2", "control"),
            ("KLF1|", "KLF1"),
            ("KLF1|QX7", "KLF1|QX7"),
            ("2,4-D", "2,4-D"),
            ("ctrl|QX7", "ctrl|QX7"),
            ("QX7|KLF1+KLF1", "KLF1+QX7|KLF1"),
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
    fn marks_that_symbols_have_too_are_cut_where_the_data_give_a_reason() {
        let genes = ["GENE1", "NKX2-1", "HLA-A", "MIR21"].map(String::from);
        let labels = [
            "sgGENE1-1",
            "sgGENE1-2",
            "GENE1.2",
            "NKX2-1",
            "NKX2-1-1",
            "NKX2-2",
            "NKX2-5",
            "Nrg1",
            "Nrg2g1",
            "H2-K1",
            "sgZAP70-1",
            "ZAP70-2",
            "sgKLF1-7",
            "MIR21-1",
            "AC010198.1",
            "AC010198.2",
            "MT-CO1",
            "HLA-A-3",
            "KLF1_pDS032",
        ];
        let parser = LabelParser::new(&[], true).with_genes(&genes).with_labels(labels);
        let table = [
            ("sgGENE1-1", "GENE1"),
            ("GENE1.2", "GENE1"),
            ("NKX2-1", "NKX2-1"),
            ("NKX2-1-1", "NKX2-1"),
            ("NKX2-2", "NKX2-2"),
            ("Nrg1", "Nrg1"),
            ("Nrg2g1", "Nrg2"),
            ("H2-K1", "H2-K1"),
            ("sgZAP70-1", "ZAP70"),
            ("ZAP70-2", "ZAP70"),
            ("sgKLF1-7", "KLF1-7"),
            ("MIR21-1", "MIR21"),
            ("AC010198.1", "AC010198.1"),
            ("MT-CO1", "MT-CO1"),
            ("HLA-A-3", "HLA-A"),
            ("KLF1_pDS032", "KLF1"),
            ("sgGENE1-1|GENE1_2, HLA-A_g1", "GENE1+HLA-A"),
        ];
        for (label, want) in table {
            assert_eq!(parser.parse(label).name, want, "{label}");
        }
    }

    #[test]
    fn labels_that_look_like_guides_are_told_by_their_gene() {
        let parser = LabelParser::new(&[], false).with_genes(&["GENE1".into(), "STAT2".into(), "NKX2-1".into()]);
        let labels = ["sgGENE1-1", "sgGENE1-2", "STAT2_g1", "ZAP70_1", "NT_1", "NT_2", "NKX2-1", "KLF1_1", "KLF1_2"];
        let parser = parser.with_labels(labels);
        let found = parser.guides(labels);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["GENE1", "KLF1", "STAT2"]);
        assert_eq!(found["GENE1"], BTreeSet::from(["sgGENE1-1", "sgGENE1-2"]));
    }

    #[test]
    fn a_label_that_can_be_cut_in_very_many_ways_is_read_at_once() {
        // `neg`, `ctrl` and `neg_ctrl` are control words each.
        let label = format!("{}KLF9", "neg_ctrl_".repeat(30));
        assert_eq!(parser(false).parse(&label).name, label);
        assert_eq!(parser(false).parse(&label.replace("KLF9", "KLF1")).name, "KLF1");
        let long = "A_".repeat(100_000);
        assert_eq!(parser(true).parse(&long).name, long);
        assert_eq!(parser(true).parse(&"A,".repeat(100_000)).name, "A,".repeat(100_000));
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
            labels in proptest::collection::vec("(KLF1|AHR|NKX2_1|STAT2g2|ctrl|NT|A|B_1|g|_|[A-C0-2_+. gs|,;-]{0,8})([+_|,;-](KLF1|A|B|ctrl|1))?", 1..6),
            strip in any::<bool>(),
        ) {
            let parser = parser(strip).with_labels(labels.iter().map(String::as_str));
            for label in &labels {
                let once = parser.parse(label);
                prop_assert_eq!(parser.parse(&once.name), once, "{}", label);
            }
        }

        #[test]
        fn measured_symbols_stay_and_their_guides_are_cut_down_to_them(
            symbols in proptest::collection::btree_set("[A-Z][A-Z0-9]{1,4}(-[A-Z0-9]{1,3}|[0-9]{1,2}|\\.[0-9])?", 1..8),
            marks in proptest::collection::vec("(sg|sg_|sgRNA-)?/(_[0-9]{1,3}|_g[0-9]|_sg[0-9]{1,2}|-[0-9]|\\.[0-9]|g[0-9]|_pDS[0-9]{3})", 8),
            plain in any::<bool>(),
        ) {
            let symbols: Vec<String> = symbols.into_iter().collect();
            let bare = LabelParser::new(&[], true).with_genes(&symbols);
            let guides: Vec<String> = symbols.iter().zip(&marks).map(|(symbol, mark)| mark.replace('/', symbol)).collect();
            let seen = symbols.iter().filter(|_| plain).chain(&guides);
            let parser = bare.with_labels(seen.map(String::as_str));
            for (symbol, guide) in symbols.iter().zip(&guides) {
                if parser.is_control(symbol) {
                    continue;
                }
                prop_assert_eq!(&parser.parse(symbol).name, symbol);
                // What is itself a measured gene is that gene, whatever else it could be.
                let nested = symbols.iter().any(|other| other != symbol && guide.contains(other.as_str()));
                prop_assert!(nested || parser.parse(guide).name == *symbol, "{} from {}", guide, symbol);
            }
        }

        #[test]
        fn a_real_symbol_that_is_not_measured_is_no_guide_by_itself(
            symbol in "(HLA-(A|DRA|DQB1)|NKX(2-[1-6]|6-[1-3]|3-1)|MT-(CO1|ND4L)|H2-K1|KRTAP[1-9]-[1-9]|[A-Z]{3}[0-9]-AS[12]|IGHV[1-7]-[0-9]{1,2}|RP11-[0-9]{2,3}[A-Z][0-9]{1,2}\\.[0-9]|AC[0-9]{6}\\.[0-9]|Nrg[1-4]|Hmg20[ab]|Tg|[A-Z][a-z]{2}[0-9])",
            others in proptest::collection::vec("(KLF1|AHR)(_g[12]|-[12])|NKX2-[1-6]|IGHV[1-7]-[1-3]|Nrg[1-4](g1)?", 0..6),
        ) {
            let labels = others.iter().map(String::as_str).chain([symbol.as_str()]);
            let parser = LabelParser::new(&[], true).with_labels(labels);
            prop_assert_eq!(parser.parse(&symbol).name, symbol);
        }
    }
}
