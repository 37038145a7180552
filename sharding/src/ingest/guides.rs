//! Marks that tell the guides of one target apart: prefixes (`sg`), numbers (`_1`, `g2`, `_sg1`, `-1`, `.2`) and plasmid
//! identifiers (`_pDS032`).
//!
//! Guarantee: one mark is cut at a time, and always the same one of a label; a mark that gene symbols have too (`NKX2-1`,
//! `Nrg1`, `AC010198.1`) is told from the others, so that nobody cuts it without a reason in the data.

/// How sure it is that a mark is one of guides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strength {
    /// No gene symbol ends (or begins) so.
    Sure,
    /// Gene symbols do, too: it is one where several labels have the rest in common, or the rest is a measured gene.
    Doubtful,
    /// Many gene symbols do: it is one only where the rest is a measured gene.
    Unlikely,
}

/// Words for a guide, longest first.
const WORDS: [&str; 7] = ["sgRNA", "sgrna", "gRNA", "grna", "guide", "sg", "g"];
/// Prefixes, longest first.
const PREFIXES: [&str; 5] = ["sgRNA", "sgrna", "gRNA", "grna", "sg"];
/// Most letters of the initials in a plasmid identifier.
const MOST_INITIALS: usize = 3;

/// What is left when a label's prefix or last mark is cut off.
pub(super) fn cut(label: &str) -> Option<(&str, Strength)> {
    if let Some(stem) = without_prefix(label).or_else(|| without_plasmid(label)) {
        return Some((stem, Strength::Sure));
    }
    let (stem, strength) = without_number(label)?;
    let stem = stem.trim_end();
    (!stem.is_empty()).then_some((stem, strength))
}

/// `sgGENE1`, `sg_GENE1`, `sgRNA-GENE1`: a prefix in small letters before a symbol that begins otherwise.
fn without_prefix(label: &str) -> Option<&str> {
    PREFIXES.iter().find_map(|prefix| {
        let rest = label.strip_prefix(prefix)?;
        let symbol = rest.trim_start_matches(['_', '-', ' ']);
        let joined = symbol.len() == rest.len();
        let begins = symbol.chars().next()?;
        // A bare number is the guide's, not a symbol.
        let is_symbol = symbol.contains(|c: char| !c.is_ascii_digit());
        (is_symbol && (!joined || begins.is_ascii_uppercase())).then_some(symbol)
    })
}

/// `GENE1_pDS032`, `neg_ctrl_pMJ144-1`.
fn without_plasmid(label: &str) -> Option<&str> {
    let (stem, plasmid) = label.rsplit_once('_')?;
    let plasmid = plasmid.strip_prefix('p')?;
    let initials = plasmid.bytes().take_while(u8::is_ascii_uppercase).count();
    let (number, copy) = plasmid[initials..].split_once('-').unwrap_or((&plasmid[initials..], "1"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plasmid =
        (1..=MOST_INITIALS).contains(&initials) && number.len() >= 2 && is_number(number) && is_number(copy);
    (is_plasmid && !stem.is_empty()).then_some(stem)
}

fn without_number(label: &str) -> Option<(&str, Strength)> {
    let bare = label.trim_end_matches(|c: char| c.is_ascii_digit());
    if bare.len() == label.len() {
        return None;
    }
    let open = bare.strip_suffix(['_', '-']);
    for word in WORDS {
        let before = open.unwrap_or(bare).strip_suffix(word);
        if let Some(stem) = before.and_then(|before| before.strip_suffix(['_', '-', ' '])) {
            return Some((stem, Strength::Sure));
        }
    }
    if let Some(stem) = bare.strip_suffix("sg").or_else(|| bare.strip_suffix('g')) {
        // `STAT2g2` is a guide's, `Nrg1` and `Isg15` are genes of the mouse.
        let like_mouse = stem.ends_with(|c: char| c.is_lowercase()) || stem.len() < 2;
        return Some((stem, if like_mouse { Strength::Unlikely } else { Strength::Sure }));
    }
    if let Some(stem) = bare.strip_suffix('_') {
        return Some((stem, if is_numbered_family(stem) { Strength::Unlikely } else { Strength::Sure }));
    }
    let stem = bare.strip_suffix(['-', '.'])?;
    Some((stem, if is_numbered_family(stem) { Strength::Unlikely } else { Strength::Doubtful }))
}

/// Whether `SYMBOL-N` with this beginning is how a family of genes is numbered (`NKX2-1`, `KRTAP5-1`, `IGHV3-23`,
/// `MIR24-1`), or a clone (`AC010198.1`, `RP11-34P13.7`): several of these are several genes, not guides of one.
fn is_numbered_family(stem: &str) -> bool {
    const FAMILIES: [&str; 21] = [
        "NKX", "KRTAP", "IGHV", "IGKV", "IGLV", "IGHD", "TRAV", "TRBV", "TRGV", "TRDV", "TRBJ", "MIR", "SNORD",
        "SNORA", "RNU", "ERV", "AC", "AL", "AP", "RP", "TTTY",
    ];
    FAMILIES.iter().any(|family| {
        let begins = stem.get(..family.len()).is_some_and(|head| head.eq_ignore_ascii_case(family));
        begins && (*family == "ERV" || stem[family.len()..].starts_with(|c: char| c.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_of_guides_are_known_and_those_that_symbols_have_are_doubtful() {
        use Strength::{Doubtful, Sure, Unlikely};
        let table = [
            ("ZAP70_1", Some(("ZAP70", Sure))),
            ("STAT2g2", Some(("STAT2", Sure))),
            ("STAT2_sg3", Some(("STAT2", Sure))),
            ("GENE1_g2", Some(("GENE1", Sure))),
            ("GENE1-sgRNA-2", Some(("GENE1", Sure))),
            ("sgGENE1-1", Some(("GENE1-1", Sure))),
            ("sgRNA_GENE1", Some(("GENE1", Sure))),
            ("GENE1-1", Some(("GENE1", Doubtful))),
            ("GENE1.2", Some(("GENE1", Doubtful))),
            ("NKX2-1", Some(("NKX2", Unlikely))),
            ("NKX2_1", Some(("NKX2", Unlikely))),
            ("Nrg1", Some(("Nr", Unlikely))),
            ("Isg15", Some(("I", Unlikely))),
            ("GENE1_pDS032", Some(("GENE1", Sure))),
            ("3x_neg_ctrl_pMJ144-1", Some(("3x_neg_ctrl", Sure))),
            ("63(mod)_pBA580", Some(("63(mod)", Sure))),
            ("HLA-A", None),
            ("MT-CO1", None),
            ("H2-K1", None),
            ("STAT2", None),
            ("SGK1", None),
            ("sgk1", None),
            ("TP53", None),
            ("sg1", None),
            ("g2", None),
            ("_1", None),
            ("A_pB", None),
        ];
        for (label, want) in table {
            assert_eq!(cut(label), want, "{label}");
        }
    }
}
