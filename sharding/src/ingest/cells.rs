//! The labels and tables of all cells of an import, before and after quality control.

use std::collections::{BTreeSet, HashMap};

use super::ImportOptions;
use super::columns::ALL;
use super::error::IngestError;
use super::inputs::Input;
use super::labels::LabelParser;
use super::tables;
use crate::frame::{Column, Frame};
use crate::genes;
use crate::labels::{CONTROL, Labels, Perturbation};

/// Labels named in an error, at most.
const NAMED_LABELS: usize = 20;

/// Labels of every cell of all inputs, one after the other.
pub(super) struct Cells {
    pub(super) labels: Labels,
    /// Whether the cell has a perturbation label, or needs none.
    pub(super) labelled: Vec<bool>,
}

impl Cells {
    /// Parses the labels of all inputs together, so that a condition has one name in all of them.
    pub(super) fn parse(inputs: &[Input], options: &ImportOptions) -> Result<Self, IngestError> {
        let spelled: Vec<Option<&str>> =
            inputs.iter().flat_map(|i| &i.labels.perturbation).map(Option::as_deref).collect();
        let parser = LabelParser::new(&options.control, options.strip_guide_suffix)
            .with_genes(inputs.iter().flat_map(|input| &input.var.index))
            .with_labels(spelled.iter().copied().flatten());
        let mut parsed: HashMap<&str, Perturbation> = inputs
            .iter()
            .flat_map(|input| &input.labels.known)
            .map(|known| (known.name.as_str(), known.clone()))
            .collect();
        for label in spelled.iter().copied().flatten() {
            parsed.entry(label).or_insert_with(|| parser.parse(label));
        }
        require_controls(inputs, &spelled, &parsed, options)?;
        let mut labelled = Vec::with_capacity(spelled.len());
        for input in inputs {
            labelled.extend(labelled_cells(input, options.drop_unlabelled)?);
        }
        let names = spelled.iter().map(|label| label.map_or(CONTROL, |label| parsed[label].name.as_str()));
        let (perturbations, perturbation) = code(names, Some(CONTROL));
        let by_name: HashMap<&str, &Perturbation> = parsed.values().map(|p| (p.name.as_str(), p)).collect();
        let perturbations = perturbations
            .iter()
            .map(|name| by_name.get(name.as_str()).map_or_else(Perturbation::control, |&p| p.clone()))
            .collect();
        let (contexts, context) = code(inputs.iter().flat_map(|i| &i.labels.context).map(String::as_str), None);
        let batch_names = batches(inputs);
        let (batches, batch) = code(batch_names.iter().map(String::as_str), None);
        let (kinds, kind) = code(inputs.iter().flat_map(|i| &i.labels.kind).map(String::as_str), None);
        let labels = Labels { perturbations, perturbation, contexts, context, batches, batch, kinds, kind };
        Ok(Self { labels, labelled })
    }

    /// Number of targets of every perturbation code.
    pub(super) fn n_targets(&self) -> Vec<usize> {
        self.labels.perturbations.iter().map(|p| p.targets.len()).collect()
    }

    /// Labels of some cells; what none of them bears is left out.
    pub(super) fn labels_of(&self, cells: &[usize]) -> Labels {
        let all = &self.labels;
        let (kept, perturbation) = recode(&all.perturbation, cells, all.perturbations.len(), true);
        let (kept_contexts, context) = recode(&all.context, cells, all.contexts.len(), false);
        let (kept_batches, batch) = recode(&all.batch, cells, all.batches.len(), false);
        let (kept_kinds, kind) = recode(&all.kind, cells, all.kinds.len(), false);
        let pick = |names: &[String], kept: &[usize]| kept.iter().map(|&at| names[at].clone()).collect();
        Labels {
            perturbations: kept.iter().map(|&at| all.perturbations[at].clone()).collect(),
            perturbation,
            contexts: pick(&all.contexts, &kept_contexts),
            context,
            batches: pick(&all.batches, &kept_batches),
            batch,
            kinds: pick(&all.kinds, &kept_kinds),
            kind,
        }
    }
}

/// Which cells have a label; all do where the input names no perturbation at all.
fn labelled_cells(input: &Input, drop: bool) -> Result<Vec<bool>, IngestError> {
    let Some(column) = &input.labels.columns.perturbation else { return Ok(vec![true; input.obs.index.len()]) };
    let labelled: Vec<bool> = input.labels.perturbation.iter().map(Option::is_some).collect();
    match labelled.iter().position(|&l| !l) {
        Some(first) if !drop => Err(IngestError::Unlabelled {
            input: input.source.name(),
            column: column.clone(),
            count: labelled.iter().filter(|&&l| !l).count(),
            cell: input.obs.index[first].clone(),
        }),
        _ => Ok(labelled),
    }
}

/// Refuses labels without a control, and control labels that no cell bears.
fn require_controls(
    inputs: &[Input],
    spelled: &[Option<&str>],
    parsed: &HashMap<&str, Perturbation>,
    options: &ImportOptions,
) -> Result<(), IngestError> {
    if inputs.iter().all(|input| input.labels.columns.perturbation.is_none()) && options.control.is_empty() {
        return Ok(());
    }
    let borne = |wanted: &String| {
        parsed.keys().any(|label| {
            label.trim().eq_ignore_ascii_case(wanted)
                || label.split('+').any(|part| part.trim().eq_ignore_ascii_case(wanted))
        })
    };
    let absent: Vec<String> = options.control.iter().filter(|wanted| !borne(wanted)).cloned().collect();
    if absent.is_empty() && parsed.values().any(Perturbation::is_control) {
        return Ok(());
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for label in spelled.iter().copied().flatten() {
        *counts.entry(label).or_default() += 1;
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let found = counts.into_iter().take(NAMED_LABELS).map(|(label, cells)| format!("{label} ({cells})")).collect();
    Err(IngestError::NoControl { wanted: absent, found })
}

/// Batches; those of several inputs are told apart by the input's name.
fn batches(inputs: &[Input]) -> Vec<String> {
    let several = inputs.len() > 1;
    let name = |input: &Input, batch: &String| match (several, batch.as_str()) {
        (false, _) => batch.clone(),
        (true, ALL) => input.stem.clone(),
        (true, batch) => format!("{}:{batch}", input.stem),
    };
    inputs.iter().flat_map(|input| input.labels.batch.iter().map(move |batch| name(input, batch))).collect()
}

/// Distinct names, sorted but for `first`, and the code of every value.
fn code<'a>(values: impl Iterator<Item = &'a str> + Clone, first: Option<&'a str>) -> (Vec<String>, Vec<u32>) {
    let distinct: BTreeSet<&str> = values.clone().filter(|&value| Some(value) != first).collect();
    let names: Vec<&str> = first.into_iter().chain(distinct).collect();
    let codes: HashMap<&str, u32> = names.iter().enumerate().map(|(at, &name)| (name, at as u32)).collect();
    let coded = values.map(|value| codes[value]).collect();
    (names.into_iter().map(Into::into).collect(), coded)
}

/// Codes in use among `cells`, and the codes of these cells in terms of them. `keep_first` keeps code 0 in any case.
fn recode(codes: &[u32], cells: &[usize], n: usize, keep_first: bool) -> (Vec<usize>, Vec<u32>) {
    let mut used = vec![false; n];
    for &cell in cells {
        used[codes[cell] as usize] = true;
    }
    if keep_first && n > 0 {
        used[0] = true;
    }
    let kept: Vec<usize> = (0..n).filter(|&code| used[code]).collect();
    let mut fresh = vec![0; n];
    for (new, &old) in kept.iter().enumerate() {
        fresh[old] = new as u32;
    }
    (kept, cells.iter().map(|&cell| fresh[codes[cell] as usize]).collect())
}

/// The table of all cells, those of several inputs marked by a column `dataset`.
pub(super) fn table(inputs: &[Input], make_unique: bool, notices: &mut Vec<String>) -> Frame {
    let several = inputs.len() > 1;
    let frames = inputs.iter().map(|input| {
        let mut frame = input.obs.clone();
        if several && frame.column("dataset").is_none() {
            let names = vec![Some(input.stem.clone()); frame.index.len()];
            frame.columns.push(Column { name: "dataset".into(), data: tables::categorical(&names) });
        }
        frame
    });
    let mut all = tables::concat(frames.collect());
    let repeated = genes::duplicates(&all.index);
    let Some(example) = repeated.first() else { return all };
    let (n, cells) =
        (repeated.len(), if repeated.len() == 1 { "name of cells occurs" } else { "names of cells occur" });
    if make_unique {
        genes::make_unique(&mut all.index);
        notices.push(format!("{n} {cells} more than once ({example} …); the later ones were numbered"));
    } else {
        notices.push(format!("{n} {cells} more than once ({example} …); --make-unique numbers them"));
    }
    all
}
